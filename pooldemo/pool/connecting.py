"""How an empty slot gets a connection: now, after a pause for the server, or from somebody who gives one back."""

from typing import TYPE_CHECKING

from .errors import PoolClosed, PoolTimeout
from .line import Waiter
from .slot import Slot

if TYPE_CHECKING:
    from .pool import Pool

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0  # between two attempts: doubles, spread over half its length


def fill(pool: "Pool", waiter: Waiter, timeout: float | None, deadline: float | None) -> Slot:
    """A slot with a working connection: the waiter's own, or one that came back while the server refused. Blocks.

    Raises PoolTimeout from the last failure at the deadline, PoolClosed, or the driver's error when waiting is no cure.
    """
    pause_s = _FIRST_PAUSE_S
    connector = pool._connector
    while True:
        slot = waiter.owned()
        pool._close(slot)
        try:
            connect(pool, slot, deadline)
        except connector.errors as error:
            _give_up_at(deadline, pool, timeout, error)
            if timeout == 0 or not connector.is_transient(error, first=not any(pool.stats.connect.counts)):
                raise
            longest_s = pause_s * (0.5 + 0.5 * pool._spread())
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            slot = _pause(pool, waiter, min(longest_s, pool._left_s(deadline) or longest_s), error)
            if slot.connection is None or not pool._works(slot, deadline):
                _give_up_at(deadline, pool, timeout, error)
                continue
        else:
            with pool._mutex:
                if older := pool._line.older_retrying(waiter.ticket):
                    # Who came earlier is served earlier: it takes this connection, we take its empty slot.
                    older.slot, waiter.own, older.own = slot, older.own, None
                    older.wake()
                    continue
        waiter.own = None
        return slot


def connect(pool: "Pool", slot: Slot, deadline: float | None) -> None:
    """Put a new connection into an empty slot. Blocks. Raises PoolClosed, or what the driver raises."""
    if pool.closed:
        raise PoolClosed(f"the pool {pool.name!r} was closed")
    stats = pool.stats
    started_at = pool._clock()
    generation = pool._generation
    stats.connects += 1
    try:
        connection = pool._connector.connect(pool._left_s(deadline))
    except BaseException:
        stats.connect_errors += 1
        raise
    now = pool._clock()
    lifetime_s = pool.options.max_lifetime * (1 - 0.1 * pool._spread()) or float("inf")
    with pool._mutex:
        slot.connection = connection
        slot.expires_at = now + lifetime_s if generation == pool._generation else float("-inf")
        stats.connect.add(now - started_at)
    pool._keep()


def _give_up_at(deadline: float | None, pool: "Pool", timeout: float | None, failure: Exception) -> None:
    """Raise PoolTimeout from the last failure when the deadline has passed."""
    if deadline is not None and pool._clock() >= deadline:
        what = f"no connection within {timeout} s; connecting failed ({str(failure).strip()})"
        pool._refuse(PoolTimeout(pool._because(what)), cause=failure)


def _pause(pool: "Pool", waiter: Waiter, pause_s: float, failure: Exception) -> Slot:
    """After a refused connect: a connection that comes back within the pause, or the own empty slot again. Blocks."""
    with pool._mutex:
        if pool._idle:
            waiter.slot = pool._idle.pop()
        else:
            pool._line.join(waiter)
    if waiter.waiting:
        waiter.wait(pause_s)
    with pool._mutex:
        pool._line.leave(waiter)
    if waiter.error is not None:
        raise waiter.error from failure
    if waiter.slot is not None:
        empty, waiter.own, waiter.slot = waiter.own, waiter.slot, None
        if empty is not None:
            pool._put(empty)
    return waiter.owned()
