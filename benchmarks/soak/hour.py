"""The soak itself: both pool modes side by side on one PostgreSQL, users, trouble, and a look every five seconds."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import psycopg2

from benchmarks.chaos.outcome import wrong_rows
from benchmarks.chaos.scene import LEDGER_SQL, Scene
from benchmarks.soak.trouble import troubles, youngest
from benchmarks.soak.users import Users
from benchmarks.stacks.database import own_postgresql, sql
from pooldemo.sweep import stacks
from pooldemo.sweep.measure import observe
from pooldemo.sweep.measure.process import Ledger
from pooldemo.sweep.stacks.stack import ROOT

MODES = ("request", "transaction")
SAMPLE_S = 5.0
TROUBLE_S = 40.0
COUNT_SQL = "SELECT count(*) FROM pg_stat_activity WHERE starts_with(application_name, %s)"
IDLE_S = 20.0  # for every slot to come home when nobody asks any more

Samples = list[tuple[float, float]]


@dataclass
class Site:
    """One mode's site and what was seen of it: `samples` by quantity, (seconds since the start, value)."""

    mode: str
    scene: Scene
    users: Users
    elder: psutil.Process
    samples: dict[str, Samples] = field(default_factory=lambda: defaultdict(list))

    def look(self, at_s: float) -> None:
        """Note what the worker has that lives through the hour, what PostgreSQL counts, how long requests took."""
        self.samples["memory_mb"].append((at_s, self.elder.memory_info().rss / 2**20))
        self.samples["descriptors"].append((at_s, self.elder.num_fds()))
        if latencies := self.users.take():
            self.samples["latency_ms"].append((at_s, median(latencies)))
        try:
            with self.scene.sql() as cursor:
                cursor.execute(COUNT_SQL, [f"{self.scene.name}/"])
                self.samples["connections"].append((at_s, cursor.fetchone()[0]))
        except psycopg2.Error:  # PostgreSQL is just being restarted
            pass

    def taken(self) -> int:
        """Slots that are taken, or waited for, though nobody asks. Blocks for IDLE_S at most."""
        deadline_s = time.monotonic() + IDLE_S
        while True:
            answer = json.loads(observe.get(self.scene.server.url, "/pool/", 5)[1])
            stats = [pool["stats"] for worker in answer["workers"] for pool in worker["pools"].values()]
            left = sum(each["pool_size"] - each["pool_available"] + each["requests_waiting"] for each in stats)
            if not left or time.monotonic() > deadline_s:
                return int(left)
            time.sleep(1)


@dataclass(frozen=True)
class Result:
    """What a soak saw of one mode. `wrong` rows of `acknowledged`, slots `taken` at the end, how requests ended."""

    mode: str
    seconds: float
    rate: float
    samples: dict[str, Samples]
    answers: dict[str, int]
    acknowledged: int
    wrong: int
    taken: int
    elder_lived: bool
    troubles: dict[str, int]


def soak(seconds: float, rate: float, folder: Path, say: Callable[[str], None]) -> list[Result]:
    """Run it. Blocks for so long and half a minute; Ctrl-C ends it early, with what was seen. Raises TrialError when a
    site does not start."""
    processes = Ledger(folder / "run")
    with tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as place, ExitStack() as stop:
        Path(place).chmod(0o711)  # root's stand-in must come in
        postgresql = stop.enter_context(own_postgresql(Path(place) / "local"))
        with sql(postgresql.url) as cursor:
            cursor.execute(LEDGER_SQL)
        migrate = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
        subprocess.run(migrate, cwd=ROOT, env=os.environ | {"DATABASE_URL": postgresql.url}, check=True)
        password = Path(place) / "password"
        password.write_text("first")
        with sql(postgresql.place.url("postgres", "pooldemo")) as cursor:
            cursor.execute("ALTER ROLE pooldemo PASSWORD 'first'")
        sites = [_site(mode, rate, number, postgresql, processes, password, stop) for number, mode in enumerate(MODES)]
        stop.enter_context(sites[0].scene.passwords_asked())
        happened: Counter[str] = Counter()
        began_s = time.monotonic()
        with ExitStack() as load:
            for site in sites:
                load.enter_context(site.users)
            try:
                _go_through(sites, seconds, happened, say)
            except KeyboardInterrupt:
                seconds = time.monotonic() - began_s
                say(f"interrupted after {seconds:.0f} s: what was seen until then is told")
                postgresql.ensure()  # that may have been what was going wrong
        rows = _rows(postgresql)
        acknowledged = [number for site in sites for number in site.users.acknowledged]
        say(f"{len(acknowledged)} acknowledged writes, {len(rows)} in the ledger")
        wrong = wrong_rows(rows, acknowledged)
        results = [
            Result(
                site.mode, seconds, rate, dict(site.samples), dict(site.users.answers.most_common()),
                len(site.users.acknowledged), wrong, site.taken(), site.elder.is_running(), dict(happened),
            )
            for site in sites
        ]  # fmt: skip
    processes.close()
    return results


def _site(
    mode: str, rate: float, seed: int, postgresql: Any, processes: Ledger, password: Path, stop: ExitStack
) -> Site:
    stack = {"request": "pooldemo", "transaction": "pooldemo-transaction"}[mode]
    scene = Scene(postgresql, stacks.get(stack), None, processes, stop, password)
    while len(workers := scene.master.children()) < 2:
        time.sleep(0.1)
    elder = next(each for each in workers if each.pid != youngest(scene).pid)
    return Site(mode, scene, Users(scene.port, rate, seed), elder)


def _go_through(sites: list[Site], seconds: float, happened: Counter[str], say: Callable[[str], None]) -> None:
    began_s = time.monotonic()
    next_look_s, next_trouble_s, ahead = SAMPLE_S, TROUBLE_S, troubles()
    while (at_s := time.monotonic() - began_s) < seconds:
        if at_s >= next_look_s:
            next_look_s += SAMPLE_S
            for site in sites:
                site.look(at_s)
        if at_s >= next_trouble_s and at_s < seconds - 10:
            next_trouble_s += TROUBLE_S
            trouble = next(ahead)
            happened[trouble.__name__] += 1
            say(f"{at_s:6.0f} s: {trouble([site.scene for site in sites])}; {_told(sites)}")
        time.sleep(0.2)


def _told(sites: list[Site]) -> str:
    last = {
        name: [f"{site.samples[name][-1][1]:.0f}" for site in sites if site.samples[name]] for name in sites[0].samples
    }
    return ", ".join(f"{name} {'/'.join(values)}" for name, values in last.items())


def _rows(postgresql: Any) -> dict[int, list[int]]:
    rows: dict[int, list[int]] = defaultdict(list)
    with sql(postgresql.place.url("postgres", "pooldemo")) as cursor:
        cursor.execute("SELECT id, part FROM chaos_ledger")
        for number, part in cursor.fetchall():
            rows[number].append(part)
    return rows
