"""The store of one pool's slots: what it is made of, and every way in which a slot is given back.

`pool.py` adds how slots are asked for; `connecting`, `keeper` and `orphans` work on a store. None of what is here waits
but `_works`. Names with an underscore are this package's own.
"""

import os
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn

from .capacity import Capacity
from .connector import Connector
from .errors import PoolError, PoolFull, PoolTimeout
from .line import Waiter
from .options import Options
from .slot import Holder, Slot, Task, ThreadTask
from .stats import Stats


class Store:
    """The slots of a pool, its counters, its lock, and its clock.

    `clock` gives monotonic seconds, `task` describes the calling greenlet or thread for error messages, and `spread`
    gives numbers in [0, 1) by which lifetimes and pauses are kept from falling together. `mutex` makes the lock under
    which decisions are made: a native lock will do under gevent too, and costs half, because nobody switches under it.
    """

    def __init__(
        self,
        connector: Connector,
        options: Options | None = None,
        *,
        name: str = "pool",
        clock: Callable[[], float] = time.monotonic,
        task: Callable[[], Task] = ThreadTask,
        spread: Callable[[], float] = random.random,
        mutex: Callable[[], Any] = threading.Lock,
    ) -> None:
        self.name = name
        self.options = options or Options.read()
        self._connector, self._clock, self._task, self._spread, self._new_mutex = connector, clock, task, spread, mutex
        self._check, self._recycle = connector.check, connector.recycle  # looked up once, for speed
        self._max_uses = self.options.max_uses
        self._start_afresh()
        _all.add(self)

    def _start_afresh(self) -> None:
        """No connection and nobody waiting: a new pool, or an old one's copy in a forked child."""
        self.stats = stats = Stats()
        self._waits, self._hold = stats.wait.counts, stats.hold
        self._mutex = self._new_mutex()
        self._capacity = Capacity(self.options.max_conns, self.options.reuse_conns)
        self._idle, self._line = self._capacity.idle, self._capacity.line
        self._tickets = 0  # checkouts asked for; the number of one is its place in the order of service
        self._generation = 0  # raised by `drain`: what was connecting meanwhile is old when it arrives
        self._pid = os.getpid()
        self._local = threading.local()
        self._orphans: deque[Holder] = deque()  # they ended without checkin; appended to by the garbage collector
        self._keeper: object | None = None  # the one that looks after it now
        self._ended = threading.Event()  # set when it is closed: its keeper waits for it

    @property
    def closed(self) -> bool:
        return self._capacity.closed

    def _works(self, slot: Slot, deadline: float | None) -> bool:
        """Whether the slot's connection works; if this is stopped it is closed, for who knows what state it is in."""
        try:
            alive = self._check(slot.connection, self._left_s(deadline))
        except BaseException:
            self._close(slot)
            raise
        self.stats.lost += not alive
        return alive

    def _left_s(self, deadline: float | None) -> float | None:
        """Seconds until the deadline, at least a millisecond: nothing to try with less; None when there is no limit."""
        return None if deadline is None else max(deadline - self._clock(), 0.001)

    def _leave(self, waiter: Waiter, served: bool = False) -> None:
        """A checkout that ends without a connection: pass on whatever it had. `served`: it was counted as such."""
        with self._mutex:
            self.stats.errors += 1
            self._waits[0] -= served
            self._line.leave(waiter)
        for slot in (waiter.own, waiter.slot):
            if slot is not None:
                self._put(slot)

    def _release(self, slot: Slot, holder: Holder, reusable: bool) -> None:
        """The checkin of a connection that is not simply put away, unless another was quicker. Does not switch."""
        with self._mutex:
            if slot.holder is not holder:
                return
            slot.holder = None
            holder.slots.discard(slot)
            slot.uses += 1
            self._hold.add(self._clock() - slot.taken_at)
            self.stats.returns_bad += not reusable
        if not reusable or slot.uses >= self._max_uses > 0:
            self._close(slot)
        self._put(slot)

    def _put(self, slot: Slot) -> None:
        """Give a free slot to the next waiter, or put it away. Does not switch."""
        now = self._clock()
        with self._mutex:
            must_close = self._capacity.settle(slot, now)
        if must_close:
            self._close(slot)
            with self._mutex:
                self._capacity.settle(slot, now)

    def _close(self, slot: Slot) -> None:
        """Close the slot's connection, if any; the slot itself stays with the caller. Does not switch."""
        connection = slot.connection
        if connection is not None:
            slot.vacate()
            self._connector.close(connection)

    def _refuse(self, error: PoolError, cause: Exception | None = None) -> NoReturn:
        self.stats.timeouts += isinstance(error, PoolTimeout)
        self.stats.refused += isinstance(error, PoolFull)
        raise error from cause


# ---- fork ----

_all: "weakref.WeakSet[Store]" = weakref.WeakSet()
_of_the_parent: list[Any] = []  # kept for ever: collecting them would say goodbye on sockets that the parent still uses


def _forget_after_fork() -> None:
    for store in list(_all):
        _of_the_parent.append((store._capacity, store._local))
        for slot in store._capacity.slots:
            slot.holder = None
        store._start_afresh()


def is_of_the_parent(slot: Slot) -> bool:
    """Whether a slot was held while this process was forked: the parent gives it back, not we."""
    return any(slot in capacity.slots for capacity, _ in _of_the_parent)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
