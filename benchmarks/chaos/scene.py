"""One stack under load, one fault, and what came of it. Everything that it starts is gone when it returns or raises."""

import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

from benchmarks.chaos import outcome
from benchmarks.chaos.leader import Leader
from benchmarks.chaos.outcome import Outcome
from benchmarks.chaos.proxy import Proxy
from benchmarks.chaos.watch import Watch
from benchmarks.stacks.database import sql
from benchmarks.sweeps import site_on
from pooldemo.sweep import stacks
from pooldemo.sweep.facts import Plan
from pooldemo.sweep.measure import observe
from pooldemo.sweep.measure.load import Load
from pooldemo.sweep.measure.process import Ledger
from pooldemo.sweep.measure.server import Server
from pooldemo.sweep.measure.target import TrialError
from pooldemo.sweep.stacks.stack import Stack

WORKERS, SIZE, USERS, MS = 2, 5, 40, 100.0
POOL_TIMEOUT_S = 12
UNDER_FAULT = "benchmarks.chaos.site:application"
READY_S = 240.0  # the machine may do ten other things meanwhile
SETTLE_S = 1.0  # until every user has been served
BEFORE_S, AFTER_S = 2.0, 3.0  # what is watched before the fault, and when all slots work again
RUNNING_S = 2.0  # by then no query may run any more that nobody waits for
RECOVERY_S = 12.0  # for every slot to work again; a worker takes two seconds to start, on a busy machine more
USERS_FILE = Path(__file__).with_name("users.py")
SUPERUSER = "postgres"
PASSWORD_FILE = "CHAOS_PASSWORD_FILE"  # names the file from which the site under fault takes its password
# Without a constraint, so that a double would be seen.
LEDGER_SQL = "CREATE TABLE IF NOT EXISTS chaos_ledger (id bigint, part integer)"
LOG_SQL = (
    "ALTER SYSTEM SET log_statement = 'mod'",
    "ALTER SYSTEM SET log_line_prefix = '%n [%p] '",  # the time of the epoch, the process
    "SELECT pg_reload_conf()",
)


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong. `happen` blocks for as long as it lasts.

    `proxied`: the server reaches PostgreSQL through the scene's proxy. `workers_end`: it ends gunicorn's workers, whose
    requests nobody can answer. `logins`: those that log in are counted too while it lasts. `password`: the server takes
    its password from the scene's file. `led`: at first it is led to a primary of which PostgreSQL is the standby.
    `sheds`: its pools have OVERLOAD "shed", and may refuse.
    """

    name: str
    about: str
    happen: Callable[["Scene"], None]
    proxied: bool = False
    workers_end: bool = False
    logins: bool = False
    password: bool = False
    led: bool = False
    sheds: bool = False


class Scene:
    """What a fault may lay hands on: PostgreSQL, the server under test, the network between them, other clients."""

    def __init__(
        self,
        postgresql: Any,
        stack: Stack,
        proxy: Proxy | None,
        ledger: Ledger,
        stop: ExitStack,
        password: Path | None = None,
        leader: Leader | None = None,
        sheds: bool = False,
    ) -> None:
        self.postgresql, self.stack, self._ledger, self._stop = postgresql, stack, ledger, stop
        self.password, self.leader = password, leader
        self._proxy, self._sheds = proxy, sheds
        self.admin_url: str = postgresql.place.url(SUPERUSER, "pooldemo")
        self.name = f"chaos-{stack.name}-{os.getpid()}-{time.monotonic_ns() % 10**6}"
        self._port = 0
        self._cursor: Any = None
        self.serve()

    @property
    def proxy(self) -> Proxy:
        if self._proxy is None:
            raise RuntimeError("bug: this fault is not marked as proxied")
        return self._proxy

    @property
    def port(self) -> int:
        return self._port

    def serve(self) -> None:
        """Start the server under test, for the second time on the same port."""
        url = f"postgresql://pooldemo@127.0.0.1:{self._proxy.port}/pooldemo" if self._proxy else self.postgresql.url
        if self._sheds:
            url += ("&" if "?" in url else "?") + "OVERLOAD=shed"
        more = {PASSWORD_FILE: str(self.password)} if self.password else {}
        with patch.dict(os.environ, more, POOL_TIMEOUT=str(POOL_TIMEOUT_S)):
            self.server = Server(
                self.stack, SIZE, WORKERS, USERS, site_on(url, UNDER_FAULT), self._ledger, self.name, self._port
            )
        self._stop.enter_context(self.server)
        self._port = self.server.port
        self.server.wait_ready(READY_S)

    @property
    def master(self) -> psutil.Process:
        """gunicorn's first process."""
        return psutil.Process(self.server.pid)

    def postgres_processes(self) -> list[psutil.Process]:
        """The server's own process and its children."""
        parent = psutil.Process(self.postgresql.status().pid)
        return [parent, *parent.children()]

    @contextmanager
    def passwords_asked(self) -> Iterator[None]:
        """PostgreSQL lets the servers' role in with its password alone, until the block ends."""
        access: Path = self.postgresql.place.data / "pg_hba.conf"
        usual = access.read_text()
        try:
            access.write_text(f"local all pooldemo scram-sha-256\n{usual}")
            self._reload()
            yield
        finally:
            access.write_text(usual)
            self._reload()

    def _reload(self) -> None:
        with self.sql() as cursor:
            cursor.execute("SELECT pg_reload_conf()")

    @contextmanager
    def sql(self) -> Iterator[Any]:
        """A cursor of the superuser's. Inside another such block it is the same one: nobody logs in."""
        if self._cursor is not None:
            yield self._cursor
            return
        with sql(self.admin_url) as cursor:
            self._cursor = cursor
            try:
                yield cursor
            finally:
                self._cursor = None


def prepare(postgresql: Any) -> None:
    """Make the ledger, and let PostgreSQL log each write as it begins."""
    with sql(postgresql.url) as cursor:
        cursor.execute(LEDGER_SQL)
    with sql(postgresql.place.url(SUPERUSER, "pooldemo")) as cursor:
        for statement in LOG_SQL:
            cursor.execute(statement)


def run(fault: Fault, stack_name: str, postgresql: Any, ledger: Ledger, before_s: float = BEFORE_S,
        after_s: float = AFTER_S) -> Outcome:  # fmt: skip
    """Let `fault` happen to a stack under load. Blocks for ten seconds or so and as long as the fault lasts.

    Raises TrialError when the server or Locust cannot be started.
    """
    with ExitStack() as stop:
        folder = Path(stop.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        leader = stop.enter_context(Leader(postgresql)) if fault.led else None
        path = leader.path if leader else str(postgresql.place.sockets[0])
        proxy = stop.enter_context(Proxy(path)) if fault.proxied else None
        stack = stacks.get(stack_name)
        plan = Plan(stacks=(stack_name,), ms=MS, users=USERS, workers=WORKERS, duration_s=60)
        password = folder / "password" if fault.password else None
        if password:
            password.write_text("unused")
        scene = Scene(postgresql, stack, proxy, ledger, stop, password, leader, fault.sheds)
        load = stop.enter_context(Load(plan, scene.server.url, folder, ledger, locustfile=USERS_FILE))
        watch = stop.enter_context(Watch(scene.admin_url, scene.name, SIZE, proxy.clients if proxy else None))
        load.go()
        time.sleep(SETTLE_S + before_s)
        watch.cap = WORKERS * SIZE
        # PostgreSQL does not tell whose login it is: none but the servers' shall be seen.
        with scene.sql() if fault.logins else nullcontext():
            watch.with_logins = fault.logins
            began_at_s = time.time()
            fault.happen(scene)
            ended_at_s = time.time()
            watch.with_logins = False
        time.sleep(RUNNING_S)
        running = watch.still_running()
        while watch.most_at_work(time.time() - 1) < WORKERS * SIZE and time.time() < ended_at_s + RECOVERY_S:
            time.sleep(0.1)
        time.sleep(after_s)
        load.check()
        until_s = time.time()
        requests = outcome.read(load.finish())
        at_work = watch.most_at_work(until_s - 1.5)
        lost, notes = _lost(scene, watch, at_work)
        lived_until_s = max(began_at_s, proxy.cut_at_s if proxy else 0.0)  # PostgreSQL's log knows of no network
        return outcome.outcome_of(
            fault.name,
            stack_name,
            requests,
            outcome.Moments(before_s, began_at_s, ended_at_s, until_s),
            begun=lambda failed: outcome.had_begun(failed, _log(postgresql, leader), lived_until_s),
            gone=lambda each: fault.workers_end and each.outcome.startswith(outcome.GONE),
            refused=lambda each: fault.sheds and each.outcome == "503 PoolFull",
            rows=lambda: _rows(scene),
            notes=notes,
            above=max(0, max(watch.peaks.values(), default=0) - SIZE, watch.most),
            above_s=round(max([*watch.above_s.values(), watch.most_s]), 2),
            lost=lost,
            running=running,
        )


def _lost(scene: Scene, watch: Watch, at_work: int) -> tuple[int, list[str]]:
    """The slots that did no work at the end of the load; or that the pool, idle again, says are taken."""
    missing = max(0, WORKERS * SIZE - at_work)
    if scene.stack.pool_path is None:
        return missing, []
    deadline_s = time.monotonic() + 5
    while True:
        try:
            _, body = observe.get(scene.server.url, scene.stack.pool_path, timeout_s=5)
        except OSError as error:
            raise TrialError(f"{scene.stack.name} does not answer after the fault: {error}") from error
        pools = [pool["stats"] for worker in json.loads(body)["workers"] for pool in worker["pools"].values()]
        capacity = sum(pool["pool_max"] for pool in pools)
        opened, idle = sum(pool["pool_size"] for pool in pools), sum(pool["pool_available"] for pool in pools)
        waiting, seen = sum(pool["requests_waiting"] for pool in pools), watch.connections()
        whole = capacity == WORKERS * SIZE and opened == idle == seen and not waiting
        if whole or time.monotonic() > deadline_s:
            break
        time.sleep(0.25)  # the other worker's word is a second old
    said = f"/pool/: {capacity} slots, {opened} open, {idle} idle, {waiting} waiting; PostgreSQL: {seen}"
    return max(missing, WORKERS * SIZE - capacity, opened - idle), [] if whole else [said]


def _log(postgresql: Any, leader: Leader | None) -> bytes:
    """PostgreSQL's log, its leader's first; a start begins a new one and keeps the last."""
    paths = (*([leader.log] if leader else []), postgresql.log.with_suffix(".log.old"), postgresql.log)
    return b"".join(path.read_bytes() for path in paths if path.exists())


def _rows(scene: Scene) -> dict[int, list[int]]:
    """The ledger, emptied for the next."""
    rows: dict[int, list[int]] = defaultdict(list)
    with scene.sql() as cursor:
        cursor.execute("DELETE FROM chaos_ledger RETURNING id, part")
        for number, part in cursor.fetchall():
            rows[number].append(part)
    return rows
