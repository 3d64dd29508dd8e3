"""How many connections PostgreSQL itself counts, to lay beside what the pools say of themselves.

Asked past the pool, shared for a second and never waited for longer than two: `readiness.Question`. What the pools say
is a second old as well, so two numbers that are not equal were perhaps never true together: `Comparer` knows
when they differ.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pooldemo.monitor.overview import Overview
from pooldemo.monitor.readiness import FRESH_S, Question
from pooldemo.monitor.server_holders import CLIENT
from pooldemo.monitor.snapshots import INTERVAL_S
from pooldemo.postgresql.unpooled import APPLICATION_NAME, is_postgresql
from pooldemo.sweep.analyse.statistics import digits

SQL = f"""
    SELECT application_name, count(*),
        count(*) FILTER (WHERE state = 'active' AND wait_event IS NULL),
        count(*) FILTER (WHERE state = 'active' AND wait_event_type = 'Lock'),
        count(*) FILTER (WHERE state LIKE 'idle in transaction%'), pg_backend_pid()
    FROM pg_stat_activity
    WHERE {CLIENT} AND datname = current_database() AND application_name <> '{APPLICATION_NAME}'
    GROUP BY application_name
"""  # noqa: S608  a constant of ours

BETWEEN = "PgBouncer or another proxy stands between"
NO_POSTGRESQL = "DATABASES['default'] is no PostgreSQL"

_question = Question(SQL)


@dataclass(frozen=True)
class Census:
    """`connections` of one name (None: PostgreSQL does not answer, `trouble` says why), and of `others` to the same
    database. Of the own ones so many are `running` on a CPU (None: not known), `locked`, or `thinking` inside a
    transaction. `between`: they are those of PgBouncer or of another proxy, and not as many as the pools have."""

    connections: int | None
    others: int = 0
    trouble: str = ""
    age_s: float = 0.0
    running: int | None = None
    locked: int = 0
    thinking: int = 0
    between: bool = False


def take(application_name: str) -> Census:
    """Count the connections of that name; an empty one means all that have none. Blocks for two seconds at most."""
    if not is_postgresql():
        return Census(None, trouble=NO_POSTGRESQL)
    answer = _question.answer()
    if answer.trouble:
        return Census(None, trouble=answer.trouble)
    counts = {name: numbers for name, *numbers, _ in answer.rows}
    between = any(pid != answer.pid for *_, pid in answer.rows)  # a proxy that pools gives out numbers of its own
    own, running, locked, thinking = counts.pop(application_name, (0, 0, 0, 0))
    others = sum(each[0] for each in counts.values())
    return Census(own, others, "", _question.age_s, running, locked, thinking, between)


@dataclass(frozen=True)
class Comparison:
    """PostgreSQL's count beside what the pools tell, looked at up to `apart_s` apart. `differs`: not only for that."""

    counted: Census
    told: int
    apart_s: float
    differs: bool

    @property
    def apart(self) -> str:
        return digits(self.apart_s)

    @property
    def difference(self) -> str:
        """How they differ. They are counted by their name, which another host's gunicorn, or a shell, may have too."""
        is_more = (self.counted.connections or 0) > self.told
        return "they differ" + ", or other processes have the same application_name" * is_more

    @property
    def moves(self) -> bool:
        """The two are not equal, and perhaps were never true together."""
        return self.counted.connections not in (None, self.told) and not self.differs and not self.counted.between


Look = tuple[Overview, Comparison]
"""What the pools say, and PostgreSQL's count beside it."""


class Comparer:
    """Says that the two numbers differ when they were the same two, not equal, for so long that both were asked for
    anew in the meantime. Numbers that move are not called different."""

    STANDS_S = FRESH_S + INTERVAL_S + 0.5  # a shared count, a worker's snapshot, and a late writer
    FORGOTTEN_S = 10.0  # without a look for so long, it begins anew

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._seen: tuple[int | None, int] | None = None
        self._since_s = self._last_s = 0.0

    def compare(self, counted: Census, pools: Overview) -> Comparison:
        """The two as they are now. Never blocks."""
        now_s, told = self._clock(), pools.counted
        seen = None if counted.connections in (None, told) else (counted.connections, told)
        with self._lock:
            if seen != self._seen or now_s - self._last_s > self.FORGOTTEN_S:
                self._seen, self._since_s = seen, now_s
            self._last_s = now_s
            differs = seen is not None and not counted.between and now_s - self._since_s > self.STANDS_S
        return Comparison(counted, told, max([counted.age_s, *(each.age_s for each in pools.workers)]), differs)
