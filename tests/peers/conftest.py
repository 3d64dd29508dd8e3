"""Servers of any stack for the length of a test, requests sent at once, and PostgreSQL asked what it saw."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from served import PATIENCE_S, site_on, until

from pooldemo.sweep import stacks
from pooldemo.sweep.measure.observe import get
from pooldemo.sweep.measure.process import Ledger
from pooldemo.sweep.measure.server import Server

Key = tuple[Any, ...]

STATES = "SELECT state FROM pg_stat_activity WHERE application_name = %s OR starts_with(application_name, %s)"


@dataclass(frozen=True)
class Answer:
    """One answer: its status, its text, and when it was there, in seconds after the first of its burst was sent."""

    status: int
    text: str
    at_s: float


@dataclass(frozen=True)
class Crowd:
    """Requests that could not end: how many were at work at once, on how many connections in all; the answers that came
    all the same, and all answers once they could."""

    working: int
    connections: int
    early: list[Answer]
    answers: list[Answer]


@dataclass(frozen=True)
class Running:
    """A server under test, and PostgreSQL asked about its connections on a connection of its own."""

    server: Server
    slots: int
    database_url: str

    def get(self, path: str) -> Answer:
        return self.at_once(1, path)[0]

    def at_once(self, number: int, path: str) -> list[Answer]:
        """`number` requests sent at once, each on a connection of its own; the answers in the order they came."""
        started_s = time.monotonic()

        def ask(_: int) -> Answer:
            status, body = get(self.server.url, path, timeout_s=PATIENCE_S)
            return Answer(status, body.decode(), time.monotonic() - started_s)

        with ThreadPoolExecutor(number) as threads:
            return sorted(threads.map(ask, range(number)), key=lambda answer: answer.at_s)

    def crowd(self, number: int, working: int, answered: int = 0) -> "Crowd":
        """`number` requests that want a connection and keep it, while a lock lets none of them end: looked at as soon
        as `working` of them are at work in PostgreSQL and `answered` others were refused, however long that takes."""
        with closing(psycopg2.connect(self.database_url)) as other, ThreadPoolExecutor(number) as users:
            try:
                other.cursor().execute("LOCK TABLE pooldemo_row IN EXCLUSIVE MODE")
                sent = [users.submit(self.get, "/lock/?ms=0") for _ in range(number)]
                until(lambda: self.connections().count("active") >= working)
                until(lambda: sum(each.done() for each in sent) >= answered)
                time.sleep(0.2)  # for one too many to show itself: what is as it should be passes without it
                states = self.connections()
                early = [each.result() for each in sent if each.done()]
            finally:
                other.rollback()
            return Crowd(states.count("active"), len(states), early, [each.result() for each in sent])

    def connections(self) -> list[str]:
        """The state of each connection that PostgreSQL has of this server's: active, idle, idle in transaction."""
        connection = psycopg2.connect(self.database_url)
        try:
            with connection.cursor() as cursor:
                name = self.server.application_name
                cursor.execute(STATES, [name, f"{name}/"])
                return [state for (state,) in cursor.fetchall()]
        finally:
            connection.close()

    def wait_for_connections(self, fits: Callable[[list[str]], bool]) -> list[str]:
        """The states as soon as they fit; after PATIENCE_S as they are. A backend ends some time after its client."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not fits(states := self.connections()) and time.monotonic() < deadline_s:
            time.sleep(0.02)
        return states


class Fleet:
    """Servers by stack, size, workers and knobs. What is ordered ahead starts at once, so that imports overlap."""

    def __init__(self, database_url: str, folder: Path) -> None:
        self._database_url, self._folder = database_url, folder
        self._servers: dict[Key, Running] = {}

    def order(self, stack: str, size: int, workers: int = 1, **knobs: int) -> Running:
        """The server, starting or started; `knobs` are variables of its environment."""
        key = (stack, size, workers, *sorted(knobs.items()))
        if key not in self._servers:
            found = stacks.get(stack)
            found = replace(found, env=dict(found.env) | {name: str(value) for name, value in knobs.items()})
            number = len(self._servers)
            ledger = Ledger(self._folder / str(number))  # one each: they are stopped by several threads
            name = f"test-{os.getpid()}-{stack}-{number}"
            server = Server(found, size, workers, 64, site_on(self._database_url), ledger, name)
            self._servers[key] = Running(server, size * workers, self._database_url)
        return self._servers[key]

    def get(self, stack: str, size: int, workers: int = 1, **knobs: int) -> Running:
        """The same when it serves. Blocks until then."""
        running = self.order(stack, size, workers, **knobs)
        running.server.wait_ready(PATIENCE_S)
        return running

    def some(self, stack: str) -> Running:
        """Any server of that stack without knobs, starting or started: the first ordered, else a new one of size 4."""
        return self.order(*next((key for key in self._servers if key[0] == stack and len(key) == 3), (stack, 4)))

    def stop(self) -> None:
        with ThreadPoolExecutor(max(1, len(self._servers))) as threads:
            list(threads.map(lambda running: running.server.__exit__(), self._servers.values()))


@pytest.fixture(scope="session")
def fleet(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(database_url, tmp_path_factory.mktemp("fleet"))
    try:
        yield fleet
    finally:
        fleet.stop()
