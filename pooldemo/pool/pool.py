"""The pool: slots, handed out in the order in which they were asked for.

Decisions are made under one lock, which is never held over anything slow: `connect`, `close`, `check` and `recycle` run
outside. A slot is claimed before the slow step and given back on every way out of it, `BaseException` included. From
the moment a slot is given back until a waiter has it there is no switch point, so no `gevent.Timeout` can land between.
"""

import _thread
import contextlib
import os
import random
import threading
import time
import weakref
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn

from . import connecting, keeper, report
from .capacity import Capacity
from .connector import Connector
from .errors import OptionError, PoolClosed, PoolError, PoolFull, PoolTimeout
from .line import Waiter
from .options import Options
from .slot import Holder, Holding, Lifeline, Slot, Task, ThreadTask
from .stats import BOUNDS_S, Histogram, Stats

_DEFAULT: Any = object()


class Pool:
    """At most `options.max_conns` connections, each held by one greenlet or thread at a time.

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
        _pools.add(self)

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
        self._keeper: keeper.Keeper | None = None

    # ---- checkout ----

    def checkout(self, timeout: float | None = _DEFAULT) -> Slot:
        """A slot with a working connection, first come, first served.

        Blocks for `timeout` seconds at most, waiting and connecting together (absent: the option POOL_TIMEOUT; None: no
        limit; 0: does not wait for a slot). Raises PoolTimeout, PoolFull or PoolClosed, or the driver's error when
        connecting failed and trying again is no use.
        """
        if timeout is _DEFAULT:
            timeout = self.options.pool_timeout
        asked_at = self._clock()
        try:
            holder = self._local.holder
        except AttributeError:
            holder = self._new_holder()
        mutex = self._mutex
        mutex.acquire()  # spelled out here and in checkin, which everybody takes: `with` costs twice as much
        try:
            self._tickets = ticket = self._tickets + 1
            if self._idle:
                slot = self._idle.pop()
                self._waits[0] += 1
            else:
                slot = None
        finally:
            mutex.release()
        if slot is not None:  # what most checkouts do, written out for speed
            if asked_at < slot.expires_at:
                try:
                    alive = self._check(slot.connection, timeout or None)
                except BaseException:
                    self._close(slot)
                    self._leave(Waiter(ticket, own=slot), served=True)
                    raise
                if alive:
                    slot.taken_at = asked_at
                    slot.holder = holder
                    holder.slots.add(slot)
                    return slot
                self.stats.lost += 1
            with self._mutex:
                self._waits[0] -= 1
        deadline = asked_at + timeout if timeout else None
        slot = self._checkout_slowly(slot, ticket, timeout, deadline, holder)
        now = self._clock()
        with self._mutex:
            self.stats.wait.add(now - asked_at)
        slot.taken_at = now
        slot.holder = holder
        holder.slots.add(slot)
        return slot

    def _checkout_slowly(
        self, slot: Slot | None, ticket: int, timeout: float | None, deadline: float | None, holder: Holder
    ) -> Slot:
        """The checkout of whom no idle connection served at once. Blocks."""
        if self._orphans:
            self._reap()
        waiter = Waiter(ticket, own=slot)
        try:
            if slot is None:
                slot = self._queue(waiter, timeout, deadline, holder)
                if slot.connection is not None and self._clock() < slot.expires_at and self._works(slot, deadline):
                    waiter.own = None
                    return slot
            return connecting.fill(self, waiter, timeout, deadline)
        except BaseException:
            self._leave(waiter)
            raise

    def _queue(self, waiter: Waiter, timeout: float | None, deadline: float | None, holder: Holder) -> Slot:
        """A free slot, or the one that the line brings; `waiter` owns it. Blocks."""
        with self._mutex:
            waiter.own = self._capacity.claim()
            if waiter.own is not None:
                return waiter.own
            self._may_wait(timeout, holder)
            self._line.join(waiter)
            self.stats.queued += 1
        waiter.wait(self._left_s(deadline))
        with self._mutex:
            if waiter.waiting:
                self._refuse(PoolTimeout(self._because(f"no connection within {timeout} s")))
        if waiter.error is not None:
            raise waiter.error
        waiter.own, waiter.slot = waiter.slot, None
        return waiter.owned()

    def _may_wait(self, timeout: float | None, holder: Holder) -> None:
        """Raise what forbids to wait. Under the lock."""
        max_waiting = self.options.max_waiting
        if self._capacity.closed:
            self._refuse(PoolClosed(f"the pool {self.name!r} is closed"))
        if timeout == 0:
            self._refuse(PoolTimeout(self._because("no free connection, and POOL_TIMEOUT=0 says not to wait")))
        if max_waiting and self._line.count >= max_waiting:
            self._refuse(PoolFull(self._because(f"refused, MAX_WAITING={max_waiting} wait already")))
        if holder.slots:
            what = (
                f"{holder.task.name} holds a connection of this pool already and asks for another while none is free: "
                "it would wait for itself. Give the first one back before, or raise MAX_CONNS"
            )
            self._refuse(PoolFull(self._because(what)))

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

    # ---- checkin ----

    def checkin(self, slot: Slot) -> None:
        """Give a slot back. Blocks only when its connection has something to undo; then the next waiter has it.

        Raises ValueError when the slot is not held, and whatever stops the caller meanwhile: the slot is free even so.
        """
        holder = slot.holder
        if holder is None:
            if any(slot in capacity.slots for capacity, _ in _of_the_parent):
                return  # held while the process forked: the parent gives it back, not we
            raise ValueError(f"this slot of {self!r} is not held: it was given back already")
        try:
            reusable = self._recycle(slot.connection)
        except BaseException:
            self._release(slot, holder, reusable=False)
            raise
        # No switch point from here on.
        if not reusable or self._max_uses:
            self._release(slot, holder, reusable)
            return
        now = self._clock()
        held_s = now - slot.taken_at
        hold = self._hold
        mutex = self._mutex
        mutex.acquire()
        try:
            if slot.holder is not holder:
                raise ValueError(f"this slot of {self!r} was given back by another, or reaped, at the same time")
            slot.holder = None
            holder.slots.discard(slot)
            hold.total_s += held_s
            hold.counts[bisect_left(BOUNDS_S, held_s)] += 1
            if now < slot.expires_at and not self._line.count and len(self._idle) < self._capacity.room:
                slot.idle_since = now
                self._idle.append(slot)
                return
        finally:
            mutex.release()
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

    # ---- the whole pool ----

    def resize(self, max_conns: int) -> None:
        """Change MAX_CONNS now: new slots go to waiters, surplus connections end, held ones when they come back.

        Raises OptionError when `max_conns` is not accepted. Does not block.
        """
        least = max(1, self.options.min_conns)
        if type(max_conns) is not int or max_conns < least:
            raise OptionError(f"cannot resize to {max_conns!r}: give a whole number from {least}.")
        with self._mutex:
            moved = self._capacity.resize(max_conns)
        for slot in moved:
            self._put(slot)

    def drain(self) -> None:
        """Replace every connection: idle ones end now, held ones when they come back. The pool stays open."""
        with self._mutex:
            self._generation += 1
            idle = self._capacity.shed()
        for slot in idle:
            self._put(slot)

    def close(self) -> None:
        """Close for good: waiters get PoolClosed, idle connections end now, held ones when they come back."""
        with self._mutex:
            self._capacity.close()
            for waiter in self._line.everyone():
                waiter.error = PoolClosed(f"the pool {self.name!r} was closed while waiting for a connection")
                waiter.wake()
        self.drain()
        if self._keeper is not None:
            self._keeper.stop()

    # ---- holders that ended without checkin ----

    def _new_holder(self) -> Holder:
        """The calling greenlet or thread as a holder, and the thread-local that tells when it has ended."""
        local, pool = self._local, weakref.ref(self)  # weak, or every thread would keep every pool it ever used

        def orphaned(holder: Holder) -> None:
            if (of := pool()) is not None:
                of._orphaned(holder)

        holder = local.holder = Holder(self._task())
        local.lifeline = Lifeline(holder, orphaned)
        return holder

    def _orphaned(self, holder: Holder) -> None:
        """Called by the garbage collector, anywhere, perhaps in one under the lock: leaves the work to others."""
        if os.getpid() != self._pid:  # a thread that a fork has ended on this side: what it holds is the parent's
            return
        self._orphans.append(holder)
        with contextlib.suppress(RuntimeError):  # the interpreter is ending, and its threads and sockets with it
            _thread.start_new_thread(self._reap, ())

    def _reap(self) -> None:
        """Take back the slots of holders that ended. Closing their connections rolls back what they began."""
        while self._orphans:
            try:
                holder = self._orphans.popleft()
            except IndexError:  # another thread took the last one
                return
            for slot in list(holder.slots):
                if slot.holder is not holder:  # a fork has made it the parent's
                    continue
                held = report.holding(self, slot)
                self.stats.orphans += 1
                self._release(slot, holder, reusable=False)
                text = f"{holder.task.name} ended without giving a connection of {self!r} back: {held}"
                keeper.tell(text, ResourceWarning)

    def _keep(self) -> None:
        """Start the housekeeping, if there is any to do."""
        if self._keeper is None and keeper.is_needed(self.options):
            self._keeper = new = keeper.Keeper(self)
            new.start()

    # ---- what people ask ----

    @property
    def closed(self) -> bool:
        return self._capacity.closed

    def get_stats(self) -> dict[str, float]:
        """Counters since the pool was made and gauges of now, under psycopg_pool's names. Does not block."""
        return report.stats(self)

    def holders(self) -> list[Holding]:
        """Who holds a connection now, longest first. Does not block."""
        return report.holders(self)

    def histograms(self) -> dict[str, Histogram]:
        """Durations of waits, of holds and of connects. Live objects: copy what must not change."""
        return {"wait": self.stats.wait, "hold": self.stats.hold, "connect": self.stats.connect}

    def __repr__(self) -> str:
        return report.state(self)

    def _because(self, what: str) -> str:
        return report.because(self, what)

    def _refuse(self, error: PoolError, cause: Exception | None = None) -> NoReturn:
        self.stats.timeouts += isinstance(error, PoolTimeout)
        self.stats.refused += isinstance(error, PoolFull)
        raise error from cause


# ---- fork ----

_pools: "weakref.WeakSet[Pool]" = weakref.WeakSet()
_of_the_parent: list[Any] = []  # kept for ever: collecting them would say goodbye on sockets that the parent still uses


def _forget_after_fork() -> None:
    for pool in list(_pools):
        _of_the_parent.append((pool._capacity, pool._local))
        for slot in pool._capacity.slots:
            slot.holder = None
        pool._start_afresh()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
