"""What a pool counts and says of itself: numbers, holders, and the text of its errors. Nothing here locks or blocks."""

import logging
import traceback
import warnings
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import PoolClosed, PoolError, PoolFull, PoolTimeout
from .holder import Holder, Holding
from .options import CONNECT_LIMIT_S

if TYPE_CHECKING:
    from .pool import Pool
    from .slot import Slot, Waiter

logger = logging.getLogger(__name__)

# Seconds. Prometheus' usual bounds for connection pools (0.001 ... 10) with steps between them, so that
# percentiles read from the counts are good to about a quarter.
BOUNDS_S = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.007, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04,
    0.05, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0, 2.5, 4.0, 5.0, 7.5, 10.0,
    15.0, 30.0, 60.0,
)  # fmt: skip


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


def stats(pool: "Pool") -> dict[str, float]:
    """Counters since the pool was made and gauges of now, under psycopg_pool's names and a few of our own."""
    slots, counted = pool.slots, pool.slots.stats
    return {
        "pool_min": pool.options.min_conns,
        "pool_max": slots.size,
        "pool_size": slots.opened,
        "pool_available": len(slots.idle),
        "requests_waiting": slots.waiting,
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


def holders(pool: "Pool") -> list[Holding]:
    """Who holds a connection now, longest first."""
    held = [slot for slot in list(pool.slots.all) if isinstance(slot.holder, Holder) and slot.connection is not None]
    return [holding(pool, slot) for slot in sorted(held, key=lambda slot: slot.taken_at)]


def holding(pool: "Pool", slot: "Slot") -> Holding:
    """One held slot; without a name when it was given back just now."""
    holder, connection = slot.holder, slot.connection
    statement = pool.connector.statement(connection) if connection is not None else ""
    held_s = pool.clock() - slot.taken_at
    if not isinstance(holder, Holder):
        return Holding("", held_s, statement, str)
    return Holding(holder.task.name, held_s, statement, holder.task.stack, holder.task.keeps)


def _because(pool: "Pool", what: str, waiting: int = 0) -> str:
    """An error's text: what happened, the numbers, and who holds the connections longest."""
    slots, held = pool.slots, holders(pool)
    connecting = f" ({slots.filling} connecting)" if slots.filling else ""
    if leaving := sum(slot.leaving is not None and slot.connection is None for slot in list(slots.unready)):
        connecting += f" ({leaving} closed here and not yet at the server)"
    text = f"{what}: {slots.in_use}/{slots.size} in use{connecting}, {slots.waiting + waiting} waiting"
    return f"{text}; held longest by {', '.join(map(str, held[:3]))}" if held else text


def _timed_out(pool: "Pool", waiter: "Waiter") -> str:
    """The text of a PoolTimeout: also whether the server is down, and the rule for who keeps connections too long."""
    timeout, now, server = waiter.timeout, pool.clock(), pool.slots.server
    if not timeout and waiter.outcome == "late":
        what = f"POOL_TIMEOUT=0 waits for no slot, and connecting took longer than {CONNECT_LIMIT_S:g} s"
    elif not timeout:
        what = "no free connection, and POOL_TIMEOUT=0 says not to wait"
    elif waiter.outcome == "late":
        what = f"no connection within {timeout} s"
    else:
        what = f"no connection within {now - waiter.asked_at:.1f} s"
    if server.failure is not None:
        what += f"; connecting failed ({str(server.failure).strip()})"
        if waiter.outcome == "down" and timeout:
            what += f" for {now - server.since:.1f} s now, longer than a quarter of the {timeout:g} s allowed"
    text = _because(pool, what, waiting=1 if timeout else 0)
    kept = [each.keeps for each in holders(pool) if each.keeps] if timeout else []
    return f"{text}. {len(kept)} of {pool.slots.size} are held by threads: {kept[0]}" if kept else text


def refusal(pool: "Pool", waiter: "Waiter") -> Exception:
    """What a waiter without a slot is told."""
    outcome, failure = waiter.outcome, pool.slots.server.failure
    if isinstance(outcome, Exception):
        return outcome
    error: PoolError
    if outcome == "closed":
        error = PoolClosed(f"the pool {pool.name!r} is closed")
    elif outcome == "closed meanwhile":
        error = PoolClosed(f"the pool {pool.name!r} was closed while waiting for a connection")
    elif outcome == "full":
        what = f"refused, MAX_WAITING={pool.options.max_waiting} wait already"
        error = PoolFull(_because(pool, what))
    elif outcome == "shed":
        waited_s = pool.clock() - waiter.asked_at
        what = f"refused after {waited_s:.1f} s, OVERLOAD='shed': the line stands, and newer ones go first"
        error = PoolFull(_because(pool, what))
        error.reason = "shed"
    elif outcome == "itself":
        what = f"{waiter.holder.task.name} holds every connection of this pool already and asks for another: "
        what += "it would wait for itself. Give one back before, or raise MAX_CONNS"
        error = PoolFull(_because(pool, what))
    else:
        error = PoolTimeout(_timed_out(pool, waiter))
    error.__cause__ = failure
    return error


def state(pool: "Pool") -> str:
    """`<Pool default: 3/5 in use, 2 idle, 0 waiting>`"""
    slots = pool.slots
    name = f"{pool.name} (closed)" if slots.closed else pool.name
    return f"<Pool {name}: {slots.in_use}/{slots.size} in use, {len(slots.idle)} idle, {slots.waiting} waiting>"


def tell_of_refusal(pool: "Pool", error: Exception) -> None:
    """Log, once a second at most, that a server takes no more connections; those that there are go on serving."""
    server, now = pool.slots.server, pool.clock()
    if now - server.told_at >= 1:
        server.told_at = now
        log(f"{pool!r} goes on with the connections that it has: the server takes no more ({str(error).strip()})")


def tell_of_leaving(pool: "Pool", slot: "Slot", leaving: Any) -> None:
    """Log that a server does not let go of a closed connection, and what can be done."""
    statement = pool.connector.statement(leaving)
    log(
        f"{pool!r} closed a connection {pool.clock() - slot.left_at:.0f} s ago, and its server process still runs"
        + (f" ({statement})" if statement else " (it was connecting)")
        + ". Its slot waits, or there would be more than MAX_CONNS. Look for it in pg_stat_activity, and end it with "
        "pg_terminate_backend(pid)"
    )


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
