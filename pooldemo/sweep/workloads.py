"""The workloads: what each kind of request does, its parameters, and what limits it.

A new one is an entry of WORKLOADS: the site, the peers, Locust, the sweep and the tables of the docs read it here.

A workload is performed on a session: anything that runs SQL, opens a transaction and can think. The site's sessions
are in `demo/views.py`; nothing here knows Django, so that another application can serve the same load.
"""

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

LIMIT_MS = 60_000.0  # no parameter may ask for more
ROWS = 100_000  # seeded by migration 0001, ids 1...ROWS; 24 MB with the index, so the planner uses the index
HOT_ROW = 0  # the one row that `lock` updates
READ_ROWS = 20

# md5 sums per millisecond of `cpu`. A count and not a clock: the same ms is the same work on an idle server and on a
# loaded one, where it takes longer; a loop that watched the clock would do less work under load and hide the knee.
# 1,560 were measured on one core of an Intel Xeon with PostgreSQL 15; the figure is linear from 10^4 to 4 * 10^6 sums.
ROUNDS_PER_MS = 1_500

SLEEP_SQL = "SELECT pg_sleep(%s)"
# The generator stands in the select list, where it streams (in FROM it would spill into a file); its bound in a
# subquery, so that the planner cannot see it and the plan is the same for each ms.
CPU_SQL = "SELECT count(md5(i::text)) FROM (SELECT generate_series(1, (SELECT %s::integer)) AS i) AS work"
READ_SQL = "SELECT id, value, filling FROM pooldemo_row WHERE id BETWEEN %s AND %s"
WRITE_SQL = "UPDATE pooldemo_row SET value = value + 1 WHERE id = %s"
FAST_SQL = "SELECT 1"


class BadParameter(ValueError):
    """A parameter of a workload is unknown, no number, or out of range; the text says what was given and accepted."""


class Session(Protocol):
    """What a workload is performed on."""

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run one statement (`%s` for each parameter) and read all of its result. Takes a slot if none is held."""

    def transaction(self) -> AbstractContextManager[None]:
        """A transaction: committed on the way out, rolled back on an exception."""

    def think(self, seconds: float) -> None:
        """Do nothing in the application for that long, giving way to other requests. Takes and gives back no slot."""


@dataclass(frozen=True)
class Workload:
    """One kind of request. `name` is its path; `parameters` are {name in the query string: default in ms}.

    `weight` is its share in a mix of all, `tags` are what Locust may choose it by besides its name; `swept_ms` is how
    long its query is in a sweep that is told nothing (None: as that of the others).
    """

    name: str
    does: str
    limited_by: str
    perform: Callable[..., None]
    parameters: Mapping[str, float] = field(default_factory=dict)
    weight: int = 1
    tags: tuple[str, ...] = ()
    swept_ms: float | None = None

    @property
    def has_length(self) -> bool:
        """Whether it has a query of a given length: `--ms`."""
        return bool({"ms", "query_ms"} & set(self.parameters))

    def parse(self, given: Iterable[tuple[str, str]]) -> dict[str, float]:
        """The value of each parameter in ms, from the query string's pairs; a missing one has its default.

        Raises BadParameter.
        """
        values: dict[str, float] = {}
        for name, text in given:
            if name not in self.parameters:
                accepted = " and ".join(self.parameters) or "none"
                raise BadParameter(f"{name}={text}: /{self.name}/ knows no parameter {name!r}; accepted: {accepted}")
            if name in values:
                raise BadParameter(f"{name}={text}: {name} is given twice; once is accepted")
            values[name] = milliseconds(name, text)
        return {**self.parameters, **values}


def milliseconds(name: str, text: str) -> float:
    """`text` as a number of milliseconds from 0 to 60000. Raises BadParameter."""
    try:
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not 0 <= value <= LIMIT_MS:  # false for nan as well
        raise BadParameter(f"{name}={text}: a number of milliseconds from 0 to {LIMIT_MS:.0f} is accepted")
    return value


def slow(session: Session, ms: float) -> None:
    session.execute(SLEEP_SQL, (ms / 1000,))


def cpu(session: Session, ms: float) -> None:
    session.execute(CPU_SQL, (round(ms * ROUNDS_PER_MS),))


def read(session: Session) -> None:
    first = random.randint(1, ROWS - READ_ROWS + 1)
    session.execute(READ_SQL, (first, first + READ_ROWS - 1))


def write(session: Session) -> None:
    session.execute(WRITE_SQL, (random.randint(1, ROWS),))


def lock(session: Session, ms: float) -> None:
    with session.transaction():
        session.execute(WRITE_SQL, (HOT_ROW,))
        session.execute(SLEEP_SQL, (ms / 1000,))


def hold(session: Session, query_ms: float, think_ms: float) -> None:
    with session.transaction():
        session.execute(SLEEP_SQL, (query_ms / 1000,))
        session.think(think_ms / 1000)


def think(session: Session, query_ms: float, think_ms: float) -> None:
    session.execute(SLEEP_SQL, (query_ms / 1000,))
    session.think(think_ms / 1000)


def fast(session: Session) -> None:
    session.execute(FAST_SQL)


def nodb(session: Session) -> None:
    pass


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            "slow",
            "one query that sleeps for ms in PostgreSQL (pg_sleep)",
            "the slots: a sleeping query uses no core, so throughput is slots / ms and rises with the size until every "
            "user has a slot. Real queries seldom behave like this; it is here to test the measurement.",
            slow,
            {"ms": 100.0},
            weight=2,
            tags=("database", "sleeps"),
        ),
        Workload(
            "cpu",
            f"one query that computes {ROUNDS_PER_MS:,} md5 sums for each ms: about ms on one free core of PostgreSQL",
            "PostgreSQL's cores: throughput rises until there are as many slots as cores, then stays or falls while "
            "each query takes longer. More slots only move the queue into PostgreSQL.",
            cpu,
            {"ms": 10.0},
            tags=("database", "works"),
        ),
        Workload(
            "read",
            f"one query that reads {READ_ROWS} neighbouring rows of {ROWS:,} by the primary key, all of it in memory",
            "the application's core, long before PostgreSQL's cores: a request costs more CPU in Python than in the "
            "database, so a few slots for each worker are enough, and more workers help more than more slots.",
            read,
            weight=8,
            tags=("database", "works"),
        ),
        Workload(
            "write",
            f"one query that updates one of {ROWS:,} rows, and its commit",
            "the flush of the write-ahead log at each commit: waiting for a disk uses no core, and commits that wait "
            "together are flushed together, so throughput rises with the size further than `read` does.",
            write,
            weight=3,
            tags=("database", "works"),
        ),
        Workload(
            "lock",
            "a transaction that updates one row, the same for everybody, and keeps it for ms",
            "the row's lock: one transaction at a time, 1 / ms, with one slot or with a hundred. Extra slots hold "
            "connections that wait in PostgreSQL instead of requests that wait in the pool.",
            lock,
            {"ms": 10.0},
            tags=("database", "sleeps"),
        ),
        Workload(
            "hold",
            "a transaction with a query of query_ms that then thinks in the application for think_ms before it commits",
            "the slots, and how long each is held: slots / (query_ms + think_ms), though PostgreSQL is busy for "
            "query_ms only. The cure is to think outside the transaction; a larger pool only makes up for it.",
            hold,
            {"query_ms": 10.0, "think_ms": 40.0},
            tags=("database", "sleeps"),
        ),
        Workload(
            "think",
            "a query of query_ms, then think_ms of work elsewhere (a template, another service), in no transaction",
            "the slots, and when they go back: slots / (query_ms + think_ms) if a request holds its slot to its end, "
            'slots / query_ms with `POOL_MODE` "transaction", which gives it back after the query.',
            think,
            {"query_ms": 5.0, "think_ms": 50.0},
            tags=("database", "sleeps"),
            swept_ms=5.0,
        ),
        Workload(
            "fast",
            "SELECT 1",
            "the application's core: a request is mostly Python, so one or two slots for each worker are enough. What "
            "is measured is the cost of a checkout.",
            fast,
            weight=4,
            tags=("database",),
        ),
        Workload(
            "nodb",
            "nothing: no query and no slot",
            "the application's core. No other workload can be faster. If this one is hardly faster than the others, "
            "the load generator is what limits the measurement.",
            nodb,
        ),
    )
}

MIX = "mix"  # of all of them, by their weights
CHOICES = (*WORKLOADS, MIX)


def has_length(name: str) -> bool:
    """Whether `--ms` means something for this load; not for a mix, and not for what is no workload of ours."""
    return name in WORKLOADS and WORKLOADS[name].has_length
