"""How an empty slot gets a connection: now, after a pause for the server, or from somebody who gives one back."""

from typing import NoReturn

from . import report
from .errors import PoolClosed, PoolTimeout
from .line import Waiter
from .slot import Slot
from .store import Store

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0  # between two attempts: doubles, spread over half its length


def fill(store: Store, waiter: Waiter, timeout: float | None, deadline: float | None) -> Slot:
    """A slot with a working connection, the waiter's own by then: a new one, or one that came back meanwhile. Blocks.

    Raises PoolTimeout from the last failure at the deadline, PoolClosed, or the driver's error when waiting is no cure.
    """
    pause_s = _FIRST_PAUSE_S
    connector = store._connector
    while True:
        slot = waiter.owned()
        store._close(slot)
        try:
            connect(store, slot, deadline)
        except connector.errors as error:
            left_s = _left_s(store, deadline)
            if left_s <= 0:
                _give_up(store, timeout, error)
            if timeout == 0 or not connector.is_transient(error, first=not any(store.stats.connect.counts)):
                raise
            longest_s = pause_s * (0.5 + 0.5 * store._spread())
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            slot = _pause(store, waiter, min(longest_s, left_s), error)
            if slot.connection is None or not store._works(slot, deadline):
                if longest_s >= left_s or _left_s(store, deadline) <= 0:
                    # A timer may be early: an attempt in what is left would fail for want of time, and hide the cause.
                    _give_up(store, timeout, error)
                continue
        else:
            with store._mutex:
                if older := store._line.older_retrying(waiter.ticket):
                    # Who came earlier is served earlier: it takes this connection, we take its empty slot.
                    older.slot, waiter.own, older.own = slot, older.own, None
                    older.wake()
                    continue
        return slot


def connect(store: Store, slot: Slot, deadline: float | None) -> None:
    """Put a new connection into an empty slot. Blocks. Raises PoolClosed, or what the driver raises."""
    if store.closed:
        raise PoolClosed(f"the pool {store.name!r} was closed")
    stats = store.stats
    started_at = store._clock()
    generation = store._generation
    stats.connects += 1
    try:
        connection = store._connector.connect(store._left_s(deadline))
    except BaseException:
        stats.connect_errors += 1
        raise
    now = store._clock()
    lifetime_s = store.options.max_lifetime * (1 - 0.1 * store._spread()) or float("inf")
    with store._mutex:
        slot.connection = connection
        slot.expires_at = now + lifetime_s if generation == store._generation else float("-inf")
        stats.connect.add(now - started_at)


def _left_s(store: Store, deadline: float | None) -> float:
    return float("inf") if deadline is None else deadline - store._clock()


def _give_up(store: Store, timeout: float | None, failure: Exception) -> NoReturn:
    """Raise PoolTimeout from the last failure: the deadline has passed."""
    what = f"no connection within {timeout} s; connecting failed ({str(failure).strip()})"
    store._refuse(PoolTimeout(report.because(store, what)), cause=failure)


def _pause(store: Store, waiter: Waiter, pause_s: float, failure: Exception) -> Slot:
    """After a refused connect: a connection that comes back within the pause, or the own empty slot again. Blocks."""
    with store._mutex:
        if store._idle:
            waiter.slot = store._idle.pop()
        else:
            store._line.join(waiter)
    if waiter.waiting:
        waiter.wait(pause_s)
    with store._mutex:
        store._line.leave(waiter)
    if waiter.error is not None:
        raise waiter.error from failure
    if waiter.slot is not None:
        empty, waiter.own, waiter.slot = waiter.own, waiter.slot, None
        if empty is not None:
            store._put(empty)
    return waiter.owned()
