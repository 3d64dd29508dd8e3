"""What a pool says of itself: numbers, holders, and the text of its errors. Reads without the lock and never blocks."""

from typing import TYPE_CHECKING

from .slot import Holding, Slot

if TYPE_CHECKING:
    from .pool import Pool


def stats(pool: "Pool") -> dict[str, float]:
    """Counters since the pool was made and gauges of now, under psycopg_pool's names and a few of our own."""
    capacity, counted = pool._capacity, pool.stats
    return {
        "pool_min": pool.options.min_conns,
        "pool_max": capacity.size,
        "pool_size": capacity.opened,
        "pool_available": len(capacity.idle),
        "requests_waiting": capacity.line.count,
        "requests_num": pool._tickets,
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


def holders(pool: "Pool") -> list[Holding]:
    """Who holds a connection now, longest first."""
    held = [slot for slot in list(pool._capacity.slots) if slot.holder is not None]
    return [holding(pool, slot) for slot in sorted(held, key=lambda slot: slot.taken_at)]


def holding(pool: "Pool", slot: Slot) -> Holding:
    """One held slot; without a name when it was given back just now."""
    holder, connection = slot.holder, slot.connection
    statement = pool._connector.statement(connection) if connection is not None else ""
    held_s = pool._clock() - slot.taken_at
    if holder is None:
        return Holding("", held_s, statement, str)
    return Holding(holder.task.name, held_s, statement, holder.task.stack)


def because(pool: "Pool", what: str) -> str:
    """An error's text: what happened, the numbers, and who holds the connections longest."""
    capacity = pool._capacity
    text = f"{what}: {capacity.in_use}/{capacity.size} in use, {capacity.line.count} waiting"
    longest = ", ".join(map(str, holders(pool)[:3]))
    return f"{text}; held longest by {longest}" if longest else text


def state(pool: "Pool") -> str:
    """`<Pool default: 3/5 in use, 2 idle, 0 waiting>`"""
    capacity = pool._capacity
    name = f"{pool.name} (closed)" if capacity.closed else pool.name
    return (
        f"<Pool {name}: {capacity.in_use}/{capacity.size} in use, "
        f"{len(capacity.idle)} idle, {capacity.line.count} waiting>"
    )
