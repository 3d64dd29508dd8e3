"""What a pool counts and says of itself: numbers, holders, errors and their text. Nothing here locks or blocks."""

import logging
import traceback
import warnings
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .options import CONNECT_LIMIT_S, Options
from .server import Server
from .slot import Holder, Slot, Waiter

logger = logging.getLogger(__name__)

# Seconds. Prometheus' usual bounds for connection pools (0.001 ... 10) with steps between them, so that
# percentiles read from the counts are good to about a quarter.
BOUNDS_S = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.007, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04,
    0.05, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0, 2.5, 4.0, 5.0, 7.5, 10.0,
    15.0, 30.0, 60.0,
)  # fmt: skip


class PoolError(Exception):
    """Base class of the pool's own errors; errors of the driver pass through unchanged. `reason` is one word.

    The text says what happened, with the numbers and the cure.
    """

    reason = "error"


class PoolTimeout(PoolError):
    """No connection was free before the deadline. `__cause__` is the last failed connect, if connecting failed."""

    reason = "timeout"


class PoolFull(PoolError):
    """The checkout was refused: the queue has no room, waiting could never end, or it waited too long in overload."""

    reason = "full"


class PoolClosed(PoolError):
    """The pool was closed before or while the caller asked for a connection."""

    reason = "closed"


class Histogram:
    """Durations counted in buckets: `counts[i]` of them were at most `bounds_s[i]`, the last lay above every bound."""

    __slots__ = ("counts", "total_s")
    bounds_s = BOUNDS_S

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds


@dataclass(slots=True)
class Stats:
    """The counters of one pool since it was made; changed under its lock, read without it."""

    asked: int = 0  # checkouts asked for
    asked_low: int = 0  # of them those of low priority
    queued: int = 0  # checkouts that had to wait for a slot
    errors: int = 0  # checkouts that got no connection
    timeouts: int = 0  # of the errors, how many were PoolTimeout
    refused: int = 0  # of the errors, how many were PoolFull
    shed: int = 0  # of those, how many had waited too long in a line that stands
    returns_bad: int = 0  # checkins of a connection that could not be used again
    connects: int = 0  # attempts to connect
    connect_errors: int = 0  # attempts that failed
    lost: int = 0  # idle connections found dead
    orphans: int = 0  # slots taken back from holders that ended without checkin
    wait: Histogram = field(default_factory=Histogram)
    hold: Histogram = field(default_factory=Histogram)
    connect: Histogram = field(default_factory=Histogram)


@dataclass(frozen=True, slots=True)
class Gauges:
    """What there is of each kind in a pool at one moment."""

    name: str
    closed: bool
    size: int
    opened: int
    idle: int
    waiting: int
    filling: int  # slots in the hands of fillers
    leaving: int  # closed here, and not yet at the server

    @property
    def in_use(self) -> int:
        return self.opened - self.idle

    def __str__(self) -> str:
        """`<Pool default: 3/5 in use, 2 idle, 0 waiting>`"""
        name = f"{self.name} (closed)" if self.closed else self.name
        return f"<Pool {name}: {self.in_use}/{self.size} in use, {self.idle} idle, {self.waiting} waiting>"


@dataclass(frozen=True, slots=True)
class Holding:
    """One held slot, as told to people: who holds it, for how many seconds, and the last statement's first words."""

    name: str
    held_s: float
    statement: str
    stack: Callable[[], str]
    keeps: str = ""

    @classmethod
    def of(cls, slot: Slot, statement: str, now: float) -> "Holding":
        """That of a slot; without a name when it was given back just now."""
        holder, held_s = slot.holder, now - slot.taken_at
        if not isinstance(holder, Holder):
            return cls("", held_s, statement, str)
        return cls(holder.task.name, held_s, statement, holder.task.stack, holder.task.keeps)

    def __str__(self) -> str:
        return f"{self.name} for {self.held_s:.1f} s" + (f" ({self.statement})" if self.statement else "")


def stats(gauges: Gauges, counted: Stats, options: Options) -> dict[str, float]:
    """Counters since the pool was made and gauges of now, under psycopg_pool's names and a few of our own."""
    return {
        "pool_min": options.min_conns,
        "pool_max": gauges.size,
        "pool_size": gauges.opened,
        "pool_available": gauges.idle,
        "requests_waiting": gauges.waiting,
        "requests_num": counted.asked,
        "requests_queued": counted.queued,
        "requests_wait_ms": counted.wait.total_s * 1000,
        "requests_errors": counted.errors,
        "requests_timeouts": counted.timeouts,
        "requests_refused": counted.refused,
        "requests_shed": counted.shed,
        "usage_ms": counted.hold.total_s * 1000,
        "returns_num": sum(counted.hold.counts),
        "returns_bad": counted.returns_bad,
        "connections_num": counted.connects,
        "connections_ms": counted.connect.total_s * 1000,
        "connections_errors": counted.connect_errors,
        "connections_lost": counted.lost,
        "holders_lost": counted.orphans,
    }


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a waiter gets no slot, as it is told: the pool at that moment, and who holds its slots, longest first."""

    waiter: Waiter
    gauges: Gauges
    held: Sequence[Holding]
    options: Options
    server: Server
    now: float

    def error(self) -> Exception:
        """What is raised."""
        waiter, gauges = self.waiter, self.gauges
        outcome = waiter.outcome
        if isinstance(outcome, Exception):
            return outcome
        error: PoolError
        if outcome == "closed":
            error = PoolClosed(f"the pool {gauges.name!r} is closed")
        elif outcome == "closed meanwhile":
            error = PoolClosed(f"the pool {gauges.name!r} was closed while waiting for a connection")
        elif outcome == "full":
            error = PoolFull(self._because(f"refused, MAX_WAITING={self.options.max_waiting} wait already"))
        elif outcome == "shed":
            waited_s = self.now - waiter.asked_at
            what = (
                f"refused after {waited_s:.1f} s, OVERLOAD='shed': the queue does not get shorter, newer ones go first"
            )
            error = PoolFull(self._because(what))
            error.reason = "shed"
        elif outcome == "itself":
            every = "every connection that low priority may have" if waiter.low else "every connection of this pool"
            what = f"{waiter.holder.task.name} holds {every} already and asks for another: it would wait for itself. "
            what += "Give one back before, or raise MAX_CONNS"
            error = PoolFull(self._because(what))
        else:
            error = PoolTimeout(self._timed_out())
        error.__cause__ = self.server.failure
        return error

    def _because(self, what: str, waiting: int = 0) -> str:
        """What happened, the numbers, and who holds the connections longest."""
        gauges = self.gauges
        connecting = f" ({gauges.filling} connecting)" if gauges.filling else ""
        if gauges.leaving:
            connecting += f" ({gauges.leaving} closed here and not yet at the server)"
        text = f"{what}: {gauges.in_use}/{gauges.size} in use{connecting}, {gauges.waiting + waiting} waiting"
        return f"{text}; held longest by {', '.join(map(str, self.held[:3]))}" if self.held else text

    def _timed_out(self) -> str:
        """The text of a PoolTimeout: also whether the server is down, and the rule for who keeps connections long."""
        waiter, server, timeout = self.waiter, self.server, self.waiter.timeout
        if not timeout and waiter.outcome == "late":
            what = f"POOL_TIMEOUT=0 waits for no slot, and connecting took longer than {CONNECT_LIMIT_S:g} s"
        elif not timeout:
            what = "no free connection, and POOL_TIMEOUT=0 says not to wait"
        elif waiter.outcome == "late":
            what = f"no connection within {timeout} s"
        else:
            what = f"no connection within {self.now - waiter.asked_at:.1f} s"
        if server.failure is not None:
            what += f"; connecting failed ({str(server.failure).strip()})"
            if waiter.outcome == "down" and timeout:
                what += f" for {self.now - server.since:.1f} s now, longer than a quarter of the {timeout:g} s allowed"
        text = self._because(what, waiting=1 if timeout else 0)
        kept = [each.keeps for each in self.held if each.keeps] if timeout else []
        return f"{text}. {len(kept)} of {self.gauges.size} are held by threads: {kept[0]}" if kept else text


def tell(text: str, category: type[Warning]) -> None:
    """Warn, and log: a server's log is where people look, and a test's warning filter is where developers do."""
    log(text)
    _LastWords(text, category)


def log(text: str) -> None:
    """Log a warning. A handler that raises stops nobody who happens to run here; one that is stopped, does."""
    try:
        logger.warning(text)
    except Exception:
        traceback.print_exc()  # as logging does with what its own handlers meet


class _LastWords:
    """Warns when it is deleted, at once. A filter that makes an error of it then stops nobody who happens to run here:
    Python reports it as one that cannot be raised, and pytest fails the test."""

    def __init__(self, text: str, category: type[Warning]) -> None:
        self._told = text, category

    def __del__(self) -> None:
        warnings.warn(*self._told, stacklevel=2)
