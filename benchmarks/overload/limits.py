"""Deadlines, and clients that hang up, on the whole site: what was still served, and what ran on at the server.

Each query has a length of its own, by which it is found in pg_stat_activity, where one looks every few milliseconds.
"""

import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import quantiles

import gevent
import psycopg2

from benchmarks.overload.site import Asked, ask, database_url, serving

LOOK_S = 0.004
SEEN_SQL = (
    "SELECT substring(query from 'pg_sleep\\((.*)\\)') FROM pg_stat_activity "
    "WHERE state = 'active' AND application_name = %s AND query LIKE 'SELECT pg_sleep(%%'"
)
SLOTS = 16
HANG_UP_S, RETRYING = 0.2, 6
DEADLINE_S = 0.2
FAST_PATH = "/slow/?ms=20"


class Running:
    """When each query was seen running last, by its length in seconds."""

    def __init__(self, application_name: str) -> None:
        self.last_s: dict[float, float] = {}
        self._name = application_name
        self._connection = psycopg2.connect(database_url())
        self._connection.autocommit = True

    def look(self) -> None:
        with self._connection.cursor() as cursor:
            while True:
                began_s = time.monotonic()
                cursor.execute(SEEN_SQL, (self._name,))
                for (length,) in cursor.fetchall():
                    self.last_s[round(float(length), 6)] = began_s
                gevent.sleep(LOOK_S)


@contextmanager
def watched(application_name: str) -> Iterator[Running]:
    """Look inside the block, and for half a second after it."""
    running = Running(application_name)
    looking = gevent.spawn(running.look)
    try:
        yield running
        gevent.sleep(0.5)
    finally:
        looking.kill()


def for_(seconds: float, clients: int, once: Callable[[], None]) -> None:
    """Let so many clients each do something again and again for so long."""
    ends_s = time.monotonic() + seconds

    def again() -> None:
        while time.monotonic() < ends_s:
            once()

    gevent.joinall([gevent.spawn(again) for _ in range(clients)], raise_error=True)


def spread(seconds: Sequence[float]) -> str:
    """Median, p99 and the most of these, in ms."""
    if len(seconds) < 2:
        return "-"
    cuts = quantiles(seconds, n=100)
    return " / ".join(f"{1000 * each:.0f}" for each in (cuts[49], cuts[98], max(seconds)))


def gone(stack: str, seconds: float) -> list[str]:
    """A row: queries of 5 s whose clients hang up after 0.2 s and ask again, beside others of 20 ms."""
    numbers, others = itertools.count(1), list[Asked]()
    hung_up: dict[float, Asked] = {}

    def impatient() -> None:
        length_s = 5 + next(numbers) / 10**6
        hung_up[round(length_s, 6)] = ask(server.port, f"/slow/?ms={1000 * length_s:.3f}", HANG_UP_S)

    def patient(times: list[Asked]) -> Callable[[], None]:
        return lambda: times.append(ask(server.port, FAST_PATH, 10))

    with serving(SLOTS, stack) as server, watched(server.application_name) as running:
        alone: list[Asked] = []
        for_(1.0, 8, patient([]))
        for_(seconds, 8, patient(alone))
        group = [gevent.spawn(for_, seconds, RETRYING, impatient), gevent.spawn(for_, seconds, 8, patient(others))]
        gevent.joinall(group, raise_error=True)
    good, before = (sum(each.status == 200 for each in times) for times in (others, alone))
    seen = running.last_s
    on_s = [seen[length] - asked.ended_s for length, asked in hung_up.items() if length in seen]
    rates = f"{before / seconds:.0f}", f"{good / seconds:.0f}", f"{100 * good / before:.0f}%"
    return [f"`{stack}`", *rates, f"{len(on_s)} of {len(hung_up)}", spread(on_s)]


def late(seconds: float) -> list[list[str]]:
    """Rows: requests of 50 to 400 ms with X-Request-Timeout of 200 ms, three times as many as there are slots."""
    dice = random.Random(1)
    asked: dict[float, Asked] = {}

    def one() -> None:
        while (length_s := round(dice.uniform(0.05, 0.4), 6)) in asked:
            pass
        asked[length_s] = Asked()  # its length is taken
        path = f"/slow/?ms={1000 * length_s:.3f}"
        asked[length_s] = ask(server.port, path, X_Request_Timeout=f"{DEADLINE_S:g}")

    with serving(SLOTS) as server, watched(server.application_name) as running:
        for_(seconds, 3 * SLOTS, one)
    of = {status: [each.took_s for each in asked.values() if each.status == status] for status in (200, 503)}
    seen = running.last_s
    ran = [seen[length] - each.sent_s - DEADLINE_S for length, each in asked.items() if length in seen]
    beyond = [each for each in ran if each > 0]
    return [
        ["answered 200", str(len(of[200])), spread(of[200])],
        ["answered 503", str(len(of[503])), spread(of[503])],
        ["seen running beyond the deadline, by", f"{len(beyond)} of {len(ran)}", spread(beyond)],
    ]
