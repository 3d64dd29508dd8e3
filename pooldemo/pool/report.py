"""What a pool says of itself: numbers, holders, and the text of its errors. Reads without the lock and never blocks."""

import logging
import warnings

from .slot import Holding, Slot
from .store import Store

logger = logging.getLogger(__name__)


def stats(store: Store) -> dict[str, float]:
    """Counters since the pool was made and gauges of now, under psycopg_pool's names and a few of our own."""
    capacity, counted = store._capacity, store.stats
    return {
        "pool_min": store.options.min_conns,
        "pool_max": capacity.size,
        "pool_size": capacity.opened,
        "pool_available": len(capacity.idle),
        "requests_waiting": capacity.line.count,
        "requests_num": store._tickets,
        "requests_queued": counted.queued,
        "requests_wait_ms": counted.wait.total_s * 1000,
        "requests_errors": counted.errors,
        "requests_timeouts": counted.timeouts,
        "requests_refused": counted.refused,
        "usage_ms": counted.hold.total_s * 1000,
        "returns_num": sum(counted.hold.counts),
        "returns_bad": counted.returns_bad,
        "connections_num": counted.connects,
        "connections_ms": counted.connect.total_s * 1000,
        "connections_errors": counted.connect_errors,
        "connections_lost": counted.lost,
        "holders_lost": counted.orphans,
    }


def holders(store: Store) -> list[Holding]:
    """Who holds a connection now, longest first."""
    held = [slot for slot in list(store._capacity.slots) if slot.holder is not None]
    return [holding(store, slot) for slot in sorted(held, key=lambda slot: slot.taken_at)]


def holding(store: Store, slot: Slot) -> Holding:
    """One held slot; without a name when it was given back just now."""
    holder, connection = slot.holder, slot.connection
    statement = store._connector.statement(connection) if connection is not None else ""
    held_s = store._clock() - slot.taken_at
    if holder is None:
        return Holding("", held_s, statement, str)
    return Holding(holder.task.name, held_s, statement, holder.task.stack)


def because(store: Store, what: str) -> str:
    """An error's text: what happened, the numbers, and who holds the connections longest."""
    capacity = store._capacity
    text = f"{what}: {capacity.in_use}/{capacity.size} in use, {capacity.line.count} waiting"
    longest = ", ".join(map(str, holders(store)[:3]))
    return f"{text}; held longest by {longest}" if longest else text


def state(store: Store) -> str:
    """`<Pool default: 3/5 in use, 2 idle, 0 waiting>`"""
    capacity = store._capacity
    name = f"{store.name} (closed)" if capacity.closed else store.name
    return (
        f"<Pool {name}: {capacity.in_use}/{capacity.size} in use, "
        f"{len(capacity.idle)} idle, {capacity.line.count} waiting>"
    )


def tell(text: str, category: type[Warning]) -> None:
    """Warn, and log: a server's log is where people look, and a test's warning filter is where developers do."""
    logger.warning(text)
    _LastWords(text, category)


class _LastWords:
    """Warns when it is deleted, at once. A filter that makes an error of it then stops nobody who happens to run here:
    Python reports it as one that cannot be raised, and pytest fails the test."""

    def __init__(self, text: str, category: type[Warning]) -> None:
        self._told = text, category

    def __del__(self) -> None:
        warnings.warn(*self._told, stacklevel=2)
