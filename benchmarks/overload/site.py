"""The whole site under a real gunicorn, and clients that come at random, have a patience, and hang up or stay."""

import os
import random
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import gevent

from benchmarks.sweeps import site_on
from pooldemo.sweep import stacks
from pooldemo.sweep.measure.process import Ledger
from pooldemo.sweep.measure.server import Server


def database_url() -> str:
    """Of the database that this site has. Blocks until the embedded one runs."""
    from django.conf import settings

    if settings.EMBEDDED:
        settings.EMBEDDED.ensure()
    return str(settings.DATABASE_URL)


@contextmanager
def serving(size: int, stack: str = "pooldemo", **options: object) -> Iterator[Server]:
    """A server of one worker whose pool has `size` slots and these options; inside the block it answers."""
    url = database_url()
    url += ("&" if "?" in url else "?") + "&".join(f"{name}={value}" for name, value in options.items())
    with TemporaryDirectory(prefix="overload-") as folder:
        name = f"overload-{os.getpid()}-{time.monotonic_ns() % 10**6}"
        with Server(stacks.get(stack), size, 1, 1000, site_on(url), Ledger(Path(folder)), name) as server:
            server.wait_ready()
            yield server


@dataclass
class Asked:
    """One request: when it was sent, when its answer came or its client hung up, and what the answer was (0: none)."""

    sent_s: float = field(default_factory=time.monotonic)
    ended_s: float = 0.0
    status: int = 0

    @property
    def took_s(self) -> float:
        return self.ended_s - self.sent_s


def ask(port: int, path: str, patience_s: float = 60.0, stays: bool = False, **headers: str) -> Asked:
    """Ask once. Whose patience ends hangs up, unless it `stays`, as a proxy may whose client has gone. Blocks."""
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    asked = Asked()
    try:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall("\r\n".join([*lines, "", ""]).encode())
            client.settimeout(patience_s)
            try:
                head = client.recv(65536)
            except TimeoutError:
                asked.ended_s = time.monotonic()
                if stays:
                    client.settimeout(60)
                    client.recv(65536)
                return asked
            if head.startswith(b"HTTP/1.1 "):
                asked.status = int(head[9:12])
    except OSError:
        pass
    asked.ended_s = asked.ended_s or time.monotonic()
    return asked


def goodput(port: int, path: str, rate: float, patience_s: float, stays: bool, window_s: float = 8.0) -> float:
    """The answers a second that came while somebody still waited for them, when `rate` a second are asked for."""
    dice, warmup_s, good = random.Random(1), 2.0, Counter[bool]()

    def one(counts: bool) -> None:
        asked = ask(port, path, patience_s, stays)
        if counts:
            good[asked.status == 200 and asked.took_s <= patience_s] += 1

    began_s = due_s = time.monotonic()
    clients = []
    while due_s < began_s + warmup_s + window_s:
        due_s += dice.expovariate(rate)
        gevent.sleep(max(0.0, due_s - time.monotonic()))
        clients.append(gevent.spawn(one, due_s - began_s > warmup_s))
    gevent.joinall(clients, timeout=patience_s)
    gevent.killall(clients)
    return good[True] / window_s
