"""The pool: slots, handed out in the order in which they were asked for.

Decisions are made under one lock, which is never held over anything slow: `connect`, `close`, `check` and `recycle` run
outside. A slot is claimed before the slow step and given back on every way out of it, `BaseException` included. From
the moment a slot is given back until a waiter has it there is no switch point, so no `gevent.Timeout` can land between.
"""

from bisect import bisect_left
from typing import Any

from . import connecting, keeper, orphans, report
from .errors import OptionError, PoolClosed, PoolFull, PoolTimeout
from .line import Waiter
from .slot import Holder, Holding, Slot
from .stats import BOUNDS_S, Histogram
from .store import Store, is_of_the_parent

_DEFAULT: Any = object()


class Pool(Store):
    """At most `options.max_conns` connections, each held by one greenlet or thread at a time. Made as a Store is."""

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
            holder = orphans.holder_of(self)
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
            orphans.reap(self)
        waiter = Waiter(ticket, own=slot)
        try:
            if slot is None:
                slot = self._queue(waiter, timeout, deadline, holder)
                if slot.connection is not None and self._clock() < slot.expires_at and self._works(slot, deadline):
                    return slot
            slot = connecting.fill(self, waiter, timeout, deadline)
            keeper.keep(self)
        except BaseException:
            self._leave(waiter)
            raise
        return slot

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
                self._refuse(PoolTimeout(report.because(self, f"no connection within {timeout} s")))
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
            self._refuse(PoolTimeout(report.because(self, "no free connection, and POOL_TIMEOUT=0 says not to wait")))
        if max_waiting and self._line.count >= max_waiting:
            self._refuse(PoolFull(report.because(self, f"refused, MAX_WAITING={max_waiting} wait already")))
        if holder.slots:
            what = (
                f"{holder.task.name} holds a connection of this pool already and asks for another while none is free: "
                "it would wait for itself. Give the first one back before, or raise MAX_CONNS"
            )
            self._refuse(PoolFull(report.because(self, what)))

    # ---- checkin ----

    def checkin(self, slot: Slot) -> None:
        """Give a slot back. Blocks only when its connection has something to undo; then the next waiter has it.

        Raises ValueError when the slot is not held, and whatever stops the caller meanwhile: the slot is free even so.
        """
        holder = slot.holder
        if holder is None:
            if is_of_the_parent(slot):
                return
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
        self._ended.set()

    # ---- what people ask ----

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
