"""What a request costs on a whole server: a `SELECT 1` through gunicorn and Django, asked by more clients than slots.

All servers run at the same time and are asked in turn, a moment each, so that whatever else the machine does meets all
of them. CPU is the server's own, PostgreSQL's and the clients' are not in it.
"""

import random
import select
import socket
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from benchmarks.sweeps import site_on
from pooldemo.sweep import stacks
from pooldemo.sweep.measure.process import Ledger
from pooldemo.sweep.measure.server import Server
from pooldemo.sweep.stacks.stack import Stack

CLIENTS, SLOTS, TURN_S = 50, 10, 1.0
REFERENCE = "persistent"
_LIMIT_S = 20.0  # for one answer
_REQUEST = b"GET /fast/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_FLOOR = "persistent, ten at a time by a bare semaphore"


@dataclass
class Asked:
    """What one server did in its turns."""

    cpu_us: list[float] = field(default_factory=list)  # of a request, a turn each
    rps: list[float] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)

    @property
    def p99_ms(self) -> float:
        ordered = sorted(self.latencies_s)
        return ordered[len(ordered) * 99 // 100] * 1000


def subjects() -> dict[str, Stack]:
    """What is asked, by the name that it has in the table."""
    persistent = stacks.get(REFERENCE)
    floor = tuple(part.replace("{application}", "benchmarks.pool.floor:application") for part in persistent.command)
    return {
        REFERENCE: persistent,
        _FLOOR: replace(persistent, command=floor),
        "pooldemo": stacks.get("pooldemo"),
        "django-db-geventpool": stacks.get("geventpool"),
    }


def run(database_url: str, rounds: int, more: dict[str, Stack] | None = None) -> dict[str, Asked]:
    """Ask each in turn, so many times, the order shuffled each time. Blocks. Raises when an answer is not 200."""
    found: dict[str, Asked] = defaultdict(Asked)
    with ExitStack() as stop:
        folder = Path(stop.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        crowds = {}
        for number, (name, stack) in enumerate((subjects() | (more or {})).items()):
            ledger = Ledger(folder / str(number))
            server = stop.enter_context(Server(stack, SLOTS, 1, CLIENTS, site_on(database_url), ledger))
            server.wait_ready()
            crowds[name] = server, stop.enter_context(Crowd(server.port))
        for _, crowd in crowds.values():
            crowd.ask_for(TURN_S)  # everything is imported, connected and warm
        order = list(crowds)
        for _ in range(rounds):
            random.shuffle(order)
            for name in order:
                server, crowd = crowds[name]
                before, started_s = sum(server.cpu_s().values()), time.perf_counter()
                latencies = crowd.ask_for(TURN_S)
                took_s = time.perf_counter() - started_s
                asked = found[name]
                asked.cpu_us.append((sum(server.cpu_s().values()) - before) / len(latencies) * 1e6)
                asked.rps.append(len(latencies) / took_s)
                asked.latencies_s += latencies
    return {name: found[name] for name in crowds}


def table(found: dict[str, Asked]) -> str:
    """The page's table, in Markdown."""
    cpu_us = {name: median(asked.cpu_us) for name, asked in found.items()}
    rps = {name: median(asked.rps) for name, asked in found.items()}
    lines = [
        f"| {CLIENTS} clients on {SLOTS} slots, a `SELECT 1` through Django | CPU of a request, us "
        f"| of {REFERENCE}'s | requests/s | of {REFERENCE}'s | p99, ms |",
        "| --- | --: | --: | --: | --: | --: |",
    ]
    for name, asked in found.items():
        lines.append(
            f"| {name} | {cpu_us[name]:.0f} | {cpu_us[name] / cpu_us[REFERENCE]:.2f} "
            f"| {rps[name]:.0f} | {rps[name] / rps[REFERENCE]:.2f} | {asked.p99_ms:.0f} |"
        )
    return "\n".join(lines)


class Crowd:
    """Clients that keep their connections and ask again as soon as they have an answer, as wrk's do."""

    def __init__(self, port: int) -> None:
        self._sockets = [socket.create_connection(("127.0.0.1", port), _LIMIT_S) for _ in range(CLIENTS)]
        self._by_descriptor = {each.fileno(): each for each in self._sockets}
        self._poll = select.epoll()
        for each in self._sockets:
            self._poll.register(each, select.EPOLLIN)

    def ask_for(self, seconds: float) -> list[float]:
        """Ask for so long, until each has its last answer. Returns seconds from asking to answer, of each request."""
        now = time.perf_counter()
        until, answers, latencies = now + seconds, dict.fromkeys(self._by_descriptor, b""), []
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
