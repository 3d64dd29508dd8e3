"""The fleet under load, one fault, and what came of it, by the witnesses of benchmarks/chaos.

Requests come through the balancer; each writes two rows, and is answered with 200 only when they are there.
"""

import contextlib
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.chaos import outcome
from benchmarks.chaos.outcome import FULL, Outcome
from benchmarks.chaos.scene import LEDGER_SQL, RUNNING_S, UNDER_FAULT, USERS_FILE
from benchmarks.chaos.watch import Watch
from benchmarks.fleet.services import ADDRESS, Fleet
from pooldemo.sweep.facts import Plan
from pooldemo.sweep.measure.load import Load
from pooldemo.sweep.measure.process import Ledger

WEBS, WORKERS, SIZE, USERS, MS = 2, 2, 3, 24, 200.0
WAYS = ("straight", "pgbouncer")  # to PostgreSQL
POOL_SIZE = 8  # PgBouncer's, fewer than the slots of all workers
MAX_CONNECTIONS = 40
POOL_TIMEOUT_S = 30  # the compose file's
MOMENT_S = 0.5  # in which a fault that is over at once has reached all that it reaches
NAME = "fleet"
SETTLE_S, BEFORE_S, AFTER_S, RECOVERY_S = 1.5, 2.0, 2.0, 15.0
LOGGING = ("-c", "log_statement=mod", "-c", "log_line_prefix=%n [%p] ")  # as outcome.had_begun reads it


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong; `happen` blocks for as long as it lasts. `way`: on this way to PostgreSQL alone.

    `workers_end`: it ends workers, whose requests nobody can answer. `sheds`: the fleet may refuse, for it is full.
    """

    name: str
    about: str
    happen: Callable[["Scene"], None]
    way: str = ""
    workers_end: bool = False
    sheds: bool = False


class Scene:
    """What a fault may lay hands on: a fleet whose hosts reach PostgreSQL on one way."""

    def __init__(self, fleet: Fleet, way: str) -> None:
        self.fleet, self.way = fleet, way

    @property
    def cap(self) -> int:
        """The most connections that PostgreSQL may see."""
        return WEBS * WORKERS * SIZE if self.way == "straight" else POOL_SIZE

    def serve(self, number: int) -> None:
        """Start a web host."""
        self.fleet.web(number, UNDER_FAULT, DATABASE_BY=self.way, PGAPPNAME=NAME)

    def postgresql(self) -> None:
        """Start PostgreSQL."""
        self.fleet.db(*LOGGING)

    def taken(self) -> dict[str, int]:
        """What the pools of all hosts say of themselves, added up."""
        found: dict[str, int] = defaultdict(int)
        for number in range(1, WEBS + 1):
            answer = json.loads(self.fleet.get(self.fleet.port[f"WEB{number}"], "/pool/") or '{"workers": []}')
            for pool in (pool["stats"] for worker in answer["workers"] for pool in worker["pools"].values()):
                found["slots"] += pool["pool_max"]
                found["taken"] += pool["pool_size"] - pool["pool_available"]
                found["waiting"] += pool["requests_waiting"]
        return found


@contextlib.contextmanager
def scene(way: str) -> Iterator[Scene]:
    """A fleet, serving; gone after the block."""
    with tempfile.TemporaryDirectory(prefix="fleet-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # the services' account must come in
        environment = {
            "MAX_CONNS": str(SIZE), "WEB_CONCURRENCY": str(WORKERS), "POOL_TIMEOUT": str(POOL_TIMEOUT_S),
            "MAX_CONNECTIONS": str(MAX_CONNECTIONS), "POOL_SIZE": str(POOL_SIZE),
        }  # fmt: skip
        fleet = Fleet(folder, WEBS, **environment)
        made = Scene(fleet, way)
        try:
            fleet.begin(*LOGGING)
            with fleet.sql() as cursor:
                cursor.execute(LEDGER_SQL)
            for number in range(1, WEBS + 1):
                made.serve(number)
            fleet.wait_up()
            yield made
        finally:
            fleet.stop()


def run(fault: Fault, scene: Scene, ledger: Ledger) -> Outcome:
    """Let `fault` happen under load. Blocks for ten seconds or so and as long as the fault lasts."""
    fleet = scene.fleet
    plan = Plan(ms=MS, users=USERS, duration_s=90)
    with contextlib.ExitStack() as stop:
        folder = Path(stop.enter_context(tempfile.TemporaryDirectory(prefix="fleet-load-")))
        url = f"http://{ADDRESS}:{fleet.port['BALANCER']}"
        load = stop.enter_context(Load(plan, url, folder, ledger, locustfile=USERS_FILE))
        watch = stop.enter_context(Watch(fleet.url, NAME, SIZE))
        log_begins = len(fleet.log("db").encode())
        load.go()
        time.sleep(SETTLE_S + BEFORE_S)
        began_at_s = time.time()
        fault.happen(scene)
        ended_at_s = time.time()
        time.sleep(RUNNING_S)
        running = watch.still_running()
        while watch.most_at_work(time.time() - 1) < FULL * scene.cap and time.time() < ended_at_s + RECOVERY_S:
            time.sleep(0.1)
        time.sleep(AFTER_S)
        load.check()
        until_s = time.time()
        requests = outcome.read(load.finish())
    lost, notes = _lost(scene)
    log = (fleet.folder / "db.log").read_bytes()[log_begins:]
    found = outcome.outcome_of(
        fault.name,
        scene.way,
        requests,
        outcome.Moments(BEFORE_S, began_at_s, ended_at_s, until_s),
        begun=lambda failed: outcome.had_begun(failed, log, min(ended_at_s, began_at_s + MOMENT_S)),
        gone=lambda each: fault.workers_end and each.outcome in ("502", "503", "504"),  # the balancer's
        refused=lambda each: fault.sheds and each.outcome == "503",
        rows=lambda: _rows(fleet),
        notes=notes,
        above=max(0, watch.most_at_once - scene.cap),
        above_s=0.0,
        lost=lost,
        running=running,
    )
    return replace(found, above=max(0, found.above - left_behind(fault, scene.way, found.begun)))


def left_behind(fault: Fault, way: str, begun: int) -> int:
    """How many of the connections above the cap are nobody's who serves: of the dead, whose queries had `begun`.

    PgBouncer opens another one as soon as a client has died; PostgreSQL still works on that one's query. Straight there
    is no such excuse: the slots come back with another worker, which takes longer to start than a query.
    """
    return begun if way == "pgbouncer" and fault.workers_end else 0


def _lost(scene: Scene) -> tuple[int, list[str]]:
    """The slots that the pools say are taken when nobody asks, or do not have any more."""
    deadline_s = time.monotonic() + 8
    while True:
        found = scene.taken()
        lost = max(found["taken"], found["waiting"], WEBS * WORKERS * SIZE - found["slots"])
        if not lost or time.monotonic() > deadline_s:
            return lost, [f"/pool/: {dict(found)}"] if lost else []
        time.sleep(0.25)


def _rows(fleet: Fleet) -> dict[int, list[int]]:
    """The ledger, emptied for the next."""
    rows: dict[int, list[int]] = defaultdict(list)
    with fleet.sql() as cursor:
        cursor.execute("DELETE FROM chaos_ledger RETURNING id, part")
        for number, part in cursor.fetchall():
            rows[number].append(part)
    return rows
