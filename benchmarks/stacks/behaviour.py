"""What each stack does when something happens to it: run, not asserted. Each has SLOTS connections to use, if it has a
limit at all, and a server that stays up from one thing to the next, as in life.
"""

import json
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.stacks.clients import Outcome, clients, wait
from benchmarks.stacks.database import sql
from benchmarks.sweeps import APPLICATION, site_on
from pooldemo.sweep import stacks
from pooldemo.sweep.measure.observe import Connections, Poll
from pooldemo.sweep.measure.process import Ledger
from pooldemo.sweep.measure.server import Server
from pooldemo.sweep.measure.target import TrialError
from pooldemo.sweep.stacks.stack import ROOT, Stack

SLOTS = 4
TAKES_S = 150  # all of it, about
CROWD = 40  # requests that meet a cold server
FULL_S = 34.0  # how long all slots stay taken: longer than the 30 s for which most wait by default
NAMED = "application_name = %s OR starts_with(application_name, %s)"
END = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE ({NAMED}) AND query LIKE '%%pg_sleep%%'"


@dataclass
class Behaviour:
    """What one stack did. Outcomes are counted by kind; connections are what PostgreSQL showed.

    `cold_peak`: connections when CROWD requests met a server that had just started; `cold`: their outcomes.
    `held_died`: outcomes of those whose backend was ended in mid-query, `waiters` of those who waited behind them;
    `left_after_deaths`: how many of SLOTS requests at once were then answered together. `after_restart`: outcomes of
    two requests by each of SLOTS clients, one by one, after PostgreSQL was restarted under idle connections, and
    `left_after_restart` as above. `full`: how a request ended that met a full server, and after how many seconds.
    `zone`: the session's time zone as its application finds it, where the server's own is not UTC; `hours_wrong` by
    how much what Django then reads as now is wrong (None: not a Django site).
    """

    stack: str
    cold_peak: int = 0
    cold: dict[str, int] = field(default_factory=dict)
    held_died: dict[str, int] = field(default_factory=dict)
    waiters: dict[str, int] = field(default_factory=dict)
    left_after_deaths: int = 0
    after_restart: dict[str, int] = field(default_factory=dict)
    left_after_restart: int = 0
    full: str = ""
    full_s: float = 0.0
    zone: str = ""
    hours_wrong: int | None = None


def observe(names: list[str], postgresql: Any, folder: Path) -> list[dict[str, Any]]:
    """Start each stack in turn and see it cold; then let the rest happen to all of them at once. Blocks for minutes."""
    with ExitStack() as stop:
        subjects = []
        for number, name in enumerate(names):
            subject = Subject(name, postgresql.url, folder / str(number))
            stop.callback(subject.stop)
            subject.cold()
            subjects.append(subject)
        with ThreadPoolExecutor(len(subjects)) as threads:

            def each(what: str) -> None:
                list(threads.map(lambda subject: getattr(subject, what)(), subjects))

            each("deaths")
            each("warm")
            postgresql.stop(force=True)
            postgresql.ensure()
            each("restart")
            each("full")
        for subject in subjects:  # each starts an interpreter
            subject.zone()
        return [asdict(subject.seen) for subject in subjects]


class Subject:
    """One server, and what it was seen to do."""

    def __init__(self, name: str, database_url: str, folder: Path) -> None:
        self.seen = Behaviour(name)
        self._url = database_url
        self._stack = stacks.get(name)
        self._server = Server(self._stack, SLOTS, 1, CROWD, site_on(database_url), Ledger(folder))
        self._port = self._server.port
        try:
            self._server.wait_ready()
        except TrialError:
            self.stop()
            raise

    def stop(self) -> None:
        self._server.__exit__()

    def cold(self) -> None:
        seen = Connections(self._url, *self._server.names)
        try:
            with Poll(seen.look, 0.005), clients(self._port, CROWD) as crowd:
                self.seen.cold = count(crowd.ask("/slow/?ms=200"))
            self.seen.cold_peak = seen.peak or 0
        finally:
            seen.close()

    def deaths(self) -> None:
        with clients(self._port, 2 * SLOTS) as eight:
            holders = eight.send("/slow/?ms=2000", slice(SLOTS))
            time.sleep(0.7)
            waiters = eight.send("/slow/?ms=50", slice(SLOTS, None))
            time.sleep(0.3)
            name = self._server.application_name
            with sql(self._url) as cursor:
                cursor.execute(END, [name, f"{name}/"])
            self.seen.held_died, self.seen.waiters = count(wait(holders)), count(wait(waiters))
        self.seen.left_after_deaths = self._left()

    def warm(self) -> None:
        """Leave idle connections, of clients that stay: some stacks have one for each."""
        self._stayed = clients(self._port, SLOTS)
        self._four = self._stayed.__enter__()
        self._four.ask("/slow/?ms=200")

    def restart(self) -> None:
        self.seen.after_restart = count(self._four.in_turn("/fast/", 2))
        self._stayed.__exit__(None, None, None)
        self.seen.left_after_restart = self._left()

    def full(self) -> None:
        with clients(self._port, SLOTS + 1, FULL_S + 4) as five:
            five.send(f"/slow/?ms={FULL_S * 1000:.0f}", slice(SLOTS))
            time.sleep(1)
            (outcome,) = five.ask("/fast/", slice(SLOTS, None))
        self.seen.full, self.seen.full_s = outcome.kind, round(outcome.after_s, 1)

    def zone(self) -> None:
        """Asked inside the application's own environment, by a process of its own."""
        env = psutil.Process(next(iter(self._server.cpu_s()))).environ()
        command = [self._stack.python, "-m", "benchmarks.stacks.zone", application_of(self._stack).split(":")[0]]
        done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise RuntimeError(f"{self._stack.name}: {done.stderr}")
        self.seen.zone, self.seen.hours_wrong = json.loads(done.stdout.splitlines()[-1])

    def _left(self) -> int:
        """How many of SLOTS requests at once are answered together: all of them, when no slot was lost."""
        with clients(self._port, SLOTS) as four:
            four.ask("/fast/")  # who had died unnoticed is found out here, not below
            outcomes = four.ask("/slow/?ms=400")
        first_s = min((each.after_s for each in outcomes if each.ok), default=0.0)
        return sum(each.ok and each.after_s < first_s + 0.3 for each in outcomes)


def application_of(stack: Stack) -> str:
    """What its server serves, `peers.upool:app` for instance."""
    return next((part for part in stack.command if part.startswith("peers.")), APPLICATION)


def count(outcomes: list[Outcome]) -> dict[str, int]:
    return dict(Counter(each.kind for each in outcomes).most_common())
