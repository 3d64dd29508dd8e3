"""What a request costs on a whole server: a `SELECT 1` through gunicorn and Django, asked by more clients than slots.

All servers run at the same time and are asked in turn, a moment each, so that whatever else the machine does meets all
of them. CPU is the server's own, PostgreSQL's and the clients' are not in it.
"""

import random
import select
import socket
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from benchmarks.sweeps import APPLICATION, site_on
from pooldemo.management.checkout import checked_out, label
from pooldemo.sweep import stacks
from pooldemo.sweep.measure.process import Ledger
from pooldemo.sweep.measure.server import Server
from pooldemo.sweep.stacks.stack import Stack

CLIENTS, SLOTS, TURN_S = 50, 10, 1.0
REFERENCE, FLOOR, OURS, RIVAL = "persistent", "a fair hand-off, nothing else", "pooldemo", "django-db-geventpool"
PSYCOPG2, PSYCOPG3 = "psycopg2", "psycopg 3"
WHO_ASKS = (
    "The requests are sent by this project's own client ([its code](../benchmarks/pool/requests.py)) and not by wrk. "
    "Like wrk it keeps its connections, and asks again as soon as it has an answer."
)
_LIMIT_S = 20.0  # for one answer
_REQUEST = b"GET /fast/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@dataclass
class Asked:
    """What one server did in its turns: a number each."""

    cpu_us: list[float] = field(default_factory=list)  # of a request
    rps: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Subject:
    """What is asked, and where it stands in the table."""

    driver: str
    name: str
    stack: Stack
    module: str = APPLICATION


@contextmanager
def ready(beside: str = "") -> Iterator[list[Subject]]:
    """Those that this machine can run, and our pool at the commit `beside`, while the block runs; says which it cannot.

    Raises ValueError where `beside` is no commit.
    """
    found = list(_subjects(label(beside) if beside else ""))
    missing = {subject: subject.stack.missing() for subject in found}
    for subject, what in missing.items():
        if what:
            print(f"{subject.name} on {subject.driver}: {what}", file=sys.stderr)
    with checked_out([subject.stack.name for subject in found]):
        yield [subject for subject in found if not missing[subject]]


def _subjects(beside: str) -> Iterator[Subject]:
    persistent, ours3 = stacks.get(REFERENCE), stacks.get("pooldemo-psycopg3")
    theirs = stacks.get("geventpool")
    persistent3, theirs3 = (
        replace(each, venv=ours3.venv, modules=(*each.modules, *ours3.modules)) for each in (persistent, theirs)
    )
    yield Subject(PSYCOPG2, REFERENCE, persistent)
    yield Subject(PSYCOPG2, FLOOR, persistent, "benchmarks.pool.floor.wsgi")
    yield Subject(PSYCOPG2, OURS, stacks.get("pooldemo"))
    if beside:
        yield Subject(PSYCOPG2, f"pooldemo at {beside}", stacks.get(f"pooldemo@{beside}"))
    yield Subject(PSYCOPG2, RIVAL, theirs)
    yield Subject(PSYCOPG2, "SQLAlchemy's, by django-db-connection-pool", stacks.get("queuepool"))
    yield Subject(PSYCOPG3, REFERENCE, persistent3)
    yield Subject(PSYCOPG3, FLOOR, persistent3, "benchmarks.pool.floor.wsgi")
    yield Subject(PSYCOPG3, OURS, ours3)
    yield Subject(PSYCOPG3, RIVAL, theirs3)
    yield Subject(PSYCOPG3, "psycopg_pool, Django's own", stacks.get("psycopg-pool"))


def run(database_url: str, rounds: int, subjects: Iterable[Subject]) -> dict[Subject, Asked]:
    """Ask each in turn, so many times, the order shuffled each time. Blocks. Raises when an answer is not 200."""
    found = {subject: Asked() for subject in subjects}
    with ExitStack() as stop:
        folder = Path(stop.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        crowds = {}
        for number, subject in enumerate(found):
            ledger = Ledger(folder / str(number))
            server = stop.enter_context(
                Server(subject.stack, SLOTS, 1, CLIENTS, site_on(database_url, subject.module), ledger)
            )
            server.wait_ready()
            crowds[subject] = server, stop.enter_context(Crowd(server.port))
        for _, crowd in crowds.values():
            crowd.ask_for(TURN_S)  # everything is imported, connected and warm
        order = list(crowds)
        for _ in range(rounds):
            random.shuffle(order)
            for subject in order:
                server, crowd = crowds[subject]
                before, started_s = sum(server.cpu_s().values()), time.perf_counter()
                latencies = crowd.ask_for(TURN_S)
                took_s, number = time.perf_counter() - started_s, CLIENTS + len(latencies)
                asked = found[subject]
                asked.cpu_us.append((sum(server.cpu_s().values()) - before) / number * 1e6)
                asked.rps.append(number / took_s)
                asked.p99_ms.append(sorted(latencies)[len(latencies) * 99 // 100] * 1000)
    return found


def table(found: dict[Subject, Asked]) -> str:
    """The page's tables, a driver each, in Markdown, and what a p99 can be."""
    lines = []
    for driver in dict.fromkeys(subject.driver for subject in found):
        asked = {subject.name: each for subject, each in found.items() if subject.driver == driver}
        cpu_us = {name: median(each.cpu_us) for name, each in asked.items()}
        rps = {name: median(each.rps) for name, each in asked.items()}
        lines += [
            f"| {driver}: {CLIENTS} clients on {SLOTS} slots, a `SELECT 1` through Django | CPU of a request, us "
            f"| of {REFERENCE}'s | requests/s | of {REFERENCE}'s | mean, ms | p99, ms |",
            "| --- | --: | --: | --: | --: | --: | --: |",
        ]
        for name, each in asked.items():
            lines.append(
                f"| {name} | {cpu_us[name]:.0f} | {cpu_us[name] / cpu_us[REFERENCE]:.2f} "
                f"| {rps[name]:.0f} | {rps[name] / rps[REFERENCE]:.2f} "
                f"| {mean_ms(rps[name]):.0f} | {median(each.p99_ms):.0f} |"
            )
        lines.append("")
    return "\n".join([*lines, WHO_ASKS, "", *_floor_of_p99(found)]).rstrip()


def mean_ms(rps: float) -> float:
    """The mean time of a request, by Little's law: each of the clients always has one under way."""
    return CLIENTS / rps * 1000


def _floor_of_p99(found: dict[Subject, Asked]) -> Iterator[str]:
    """How far any pool could bring the p99 down, beside django-db-geventpool's."""
    asked = {subject.name: each for subject, each in found.items() if subject.driver == PSYCOPG2}
    if RIVAL in asked:
        theirs_ms = median(asked[RIVAL].p99_ms)
        of_ms = {name: mean_ms(median(asked[name].rps)) for name in (REFERENCE, FLOOR)}
        told = " and ".join(f"{ms:.0f} ms at the rate of `{name}`" for name, ms in of_ms.items())
        yield (
            f"Where all wait alike no p99 is shorter than the mean: {told}, {of_ms[REFERENCE] / theirs_ms:.2f} and "
            f"{of_ms[FLOOR] / theirs_ms:.2f} of {RIVAL}'s p99. That of {OURS} is "
            f"{median(asked[OURS].p99_ms) / theirs_ms:.2f} of it, and it carries "
            f"{median(asked[OURS].rps) / median(asked[RIVAL].rps):.2f} of its requests."
        )


class Crowd:
    """Clients that keep their connections and ask again as soon as they have an answer, as wrk's do."""

    def __init__(self, port: int) -> None:
        self._sockets = [socket.create_connection(("127.0.0.1", port), _LIMIT_S) for _ in range(CLIENTS)]
        self._by_descriptor = {each.fileno(): each for each in self._sockets}
        self._poll = select.epoll()
        for each in self._sockets:
            self._poll.register(each, select.EPOLLIN)

    def ask_for(self, seconds: float) -> list[float]:
        """Ask for so long, until each has its last answer. Returns seconds from asking to answer, of each request but
        each client's first: those come all at once, when nobody works.
        """
        now = time.perf_counter()
        until, answers, latencies = now + seconds, dict.fromkeys(self._by_descriptor, b""), []
        first = set(self._by_descriptor)
        asked_at = {}
        for descriptor, client in self._by_descriptor.items():
            client.sendall(_REQUEST)
            asked_at[descriptor] = now
        while asked_at:
            ready = self._poll.poll(_LIMIT_S)
            if not ready:
                raise RuntimeError(f"{len(asked_at)} requests without an answer for {_LIMIT_S:g} s")
            now = time.perf_counter()
            for descriptor, _ in ready:
                client = self._by_descriptor[descriptor]
                answers[descriptor] += client.recv(65536)
                if not _is_whole(answers[descriptor]):
                    continue
                answers[descriptor] = b""
                if descriptor in first:
                    first.remove(descriptor)
                else:
                    latencies.append(now - asked_at[descriptor])
                if now < until:
                    client.sendall(_REQUEST)
                    asked_at[descriptor] = now
                else:
                    del asked_at[descriptor]
        return latencies

    def __enter__(self) -> "Crowd":
        return self

    def __exit__(self, *_: object) -> None:
        self._poll.close()
        for each in self._sockets:
            each.close()


def _is_whole(answer: bytes) -> bool:
    """Whether it is all there. Raises RuntimeError when it is no 200."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not answer or (end and not head.startswith(b"HTTP/1.1 200 ")):
        raise RuntimeError(f"not the answer that was asked for: {answer[:200]!r}")
    length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
    return bool(end) and len(body) >= int(length.partition(b":")[2])
