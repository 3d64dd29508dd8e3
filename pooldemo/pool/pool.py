"""The pool: slots, handed out in the order in which they were asked for.

Decisions are made under one lock, which is never held over anything slow: `connect`, `close`, `check` and `recycle` run outside.
A slot is claimed before the slow step and given back on every way out of it, `BaseException` included. From the moment a
slot is given back until a waiter has it there is no switch point, so no `gevent.Timeout` can land in between.
"""

import os
import random
import threading
import time
import weakref
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn

from . import keeper
from .connector import Connector
from .errors import OptionError, PoolClosed, PoolError, PoolFull, PoolTimeout
from .line import Line, Waiter
from .options import Options
from .slot import Holder, Holding, Slot, Task, ThreadTask
from .stats import BOUNDS_S, Histogram, Stats

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0  # between two attempts to connect: doubles, spread over half its length
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
        self.stats = Stats()
        self._connector, self._clock, self._task, self._spread, self._new_mutex = connector, clock, task, spread, mutex
        self._closed = False
        self._generation = 0  # raised by `drain`: what was connecting meanwhile is old when it arrives
        self._start_afresh()
        _pools.add(self)

    def _start_afresh(self) -> None:
        """No connection, nobody waiting: a new pool, or an old one's copy in a forked child."""
        self._mutex = self._new_mutex()
        self._local = threading.local()
        self._tickets = 0  # checkouts asked for; the number of one is its place in the order of service
        self._max = self.options.max_conns
        self._max_uses = self.options.max_uses
        # Invariant: every slot is in exactly one of: _empty, _idle, a retrying waiter's `own`, a greenlet's hands.
        # len(_slots) <= _max, except after a `resize` downwards until the surplus has come back.
        self._slots = [Slot() for _ in range(self._max)]
        self._empty = list(self._slots)
        self._idle: deque[Slot] = deque()  # used last in, first out, so that surplus ones grow old on the left
        # Invariant: while anybody waits, _idle is empty; while a plain waiter waits, _empty is too.
        self._line = Line()
        self._orphans: deque[tuple[str, Slot]] = (
            deque()
        )  # slots whose holder ended; appended to by the garbage collector
        self._keeper: keeper.Keeper | None = None
        self._set_room()

    # ---- checkout ----

    def checkout(self, timeout: float | None = _DEFAULT) -> Slot:
        """A slot with a working connection, first come, first served.

        Blocks for `timeout` seconds at most, waiting and connecting together (absent: the option POOL_TIMEOUT; None: no
        limit; 0: does not wait for a slot). Raises PoolTimeout, PoolFull or PoolClosed, or the driver's error when connecting
        failed and trying again is no use.
        """
        if timeout is _DEFAULT:
            timeout = self.options.pool_timeout
        asked_at = self._clock()
        try:
            holder = self._local.holder
        except AttributeError:
            holder = self._local.holder = Holder(self._task(), self._orphaned)
        with self._mutex:
            self._tickets = ticket = self._tickets + 1
            slot = self._idle.pop() if self._idle else None
        # The rest of this method up to the first `return` is every request's path, and is written out for speed.
        if slot is not None and asked_at < slot.expires_at:
            try:
                alive = self._connector.check(slot.connection, timeout)
            except BaseException:
                self._abandon(slot)
                raise
            if alive:
                slot.taken_at = asked_at
                slot.holder = holder
                holder.slots.add(slot)
                self.stats.wait.counts[0] += 1
                return slot
            self.stats.lost += 1
        slot = self._checkout_slowly(slot, ticket, timeout, asked_at, holder)
        slot.taken_at = now = self._clock()
        slot.holder = holder
        holder.slots.add(slot)
        with self._mutex:
            self.stats.wait.add(now - asked_at)
        return slot

    def _checkout_slowly(
        self, slot: Slot | None, ticket: int, timeout: float | None, asked_at: float, holder: Holder
    ) -> Slot:
        """The checkout of whom no idle connection served at once. Blocks."""
        deadline = asked_at + timeout if timeout else None
        if self._keeper is None and keeper.is_needed_at_once(self.options):
            self._keep()
        if self._orphans:
            self._reap()
        if slot is None:
            waiter = None
            with self._mutex:
                if self._idle:  # `_reap` may have brought something
                    slot = self._idle.pop()
                elif self._empty and not self._closed:
                    slot = self._empty.pop()
                else:
                    waiter = self._queue_up(ticket, timeout, holder)
            if waiter is not None:
                slot = self._await(waiter, timeout, deadline)
            assert slot is not None
            if slot.connection is not None and asked_at < slot.expires_at and self._check(slot, deadline):
                return slot
        return self._fill(slot, ticket, timeout, deadline)

    def _queue_up(self, ticket: int, timeout: float | None, holder: Holder) -> Waiter:
        """Join the line, or raise what forbids it. Under the lock."""
        if self._closed:
            self._refuse(PoolClosed(f"the pool {self.name!r} is closed"))
        if timeout == 0:
            self._refuse(PoolTimeout(self._because("no free connection, and POOL_TIMEOUT=0 says not to wait")))
        if self.options.max_waiting and self._line.count >= self.options.max_waiting:
            self._refuse(PoolFull(self._because(f"refused, MAX_WAITING={self.options.max_waiting} wait already")))
        if holder.slots:
            self._refuse(
                PoolFull(
                    self._because(
                        f"{holder.task.name} already holds {len(holder.slots)} of this pool's connections and asks for "
                        "another one while none is free: it would wait for itself. Give the first one back before, "
                        "or raise MAX_CONNS"
                    )
                )
            )
        waiter = Waiter(ticket)
        self._line.join(waiter)
        self.stats.queued += 1
        return waiter

    def _await(self, waiter: Waiter, timeout: float | None, deadline: float | None) -> Slot:
        """The slot that the line brings. Blocks. On any other way out nothing is kept."""
        if self._orphans:
            self._reap()
        try:
            waiter.wait(self._remaining(deadline))
        except BaseException:
            self._leave(waiter)
            self.stats.errors += 1
            raise
        if waiter.slot is None:
            with self._mutex:
                if not waiter.served:
                    self._line.leave(waiter)
                    self._refuse(PoolTimeout(self._because(f"no connection within {timeout} s")))
        if waiter.slot is None:
            assert waiter.error is not None
            self.stats.errors += 1
            raise waiter.error
        return waiter.slot

    def _leave(self, waiter: Waiter) -> None:
        """Take a waiter that was stopped out of the line, and pass on whatever it had been given."""
        with self._mutex:
            if not waiter.served:
                self._line.leave(waiter)
        for slot in (waiter.own, waiter.slot):
            if slot is not None:
                self._put(slot)

    def _check(self, slot: Slot, deadline: float | None) -> bool:
        """Whether the slot's connection works. May block. Gives the slot back if it is stopped."""
        try:
            alive = self._connector.check(slot.connection, self._remaining(deadline))
        except BaseException:
            self._abandon(slot)
            raise
        if not alive:
            self.stats.lost += 1
        return alive

    def _fill(self, slot: Slot | None, ticket: int, timeout: float | None, deadline: float | None) -> Slot:
        """A slot with a new connection: this one, or one that came back while the server refused. Blocks.

        What it holds is in `slot` at every moment, and goes back however this ends.
        """
        pause_s = _FIRST_PAUSE_S
        failure: Exception | None = None
        try:
            while True:
                assert slot is not None
                if self._closed:
                    raise PoolClosed(f"the pool {self.name!r} was closed")
                self._close(slot)
                try:
                    self._connect(slot, deadline)
                except Exception as error:
                    failure = error
                    remaining = self._remaining(deadline)
                    transient = self._connector.is_transient(error, first=not self.stats.connect.total_s)
                    if remaining is not None and remaining <= 0 and not isinstance(error, PoolError):
                        self.stats.timeouts += 1
                        raise PoolTimeout(
                            self._because(f"no connection within {timeout} s; connecting failed: {error}")
                        ) from error
                    if not transient or timeout == 0:
                        raise
                else:
                    with self._mutex:
                        older = self._line.older_retrying(ticket)
                        if older is None:
                            return slot
                        # Who came earlier is served earlier: it takes this connection, we take its empty slot.
                        older.slot, slot, older.own = slot, older.own, None
                        older.wake()
                    continue
                longest = pause_s * (0.5 + 0.5 * self._spread())
                mine, slot = slot, None
                slot = self._await_again(mine, ticket, longest if remaining is None else min(longest, remaining))
                if slot is not mine and self._check(slot, deadline):
                    return slot
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        except BaseException as error:
            if slot is not None:
                self._abandon(slot)
            else:
                self.stats.errors += 1
            if (
                failure is not None
                and error is not failure
                and error.__cause__ is None
                and isinstance(error, PoolError)
            ):
                error.__cause__ = failure
            raise

    def _abandon(self, slot: Slot) -> None:
        """Give a claimed slot back without its connection, because its caller was stopped. Does not switch."""
        self.stats.errors += 1
        self._close(slot)
        self._put(slot)

    def _connect(self, slot: Slot, deadline: float | None) -> None:
        """Put a new connection into an empty slot. Blocks."""
        started_at = self._clock()
        generation = self._generation
        self.stats.connects += 1
        try:
            connection = self._connector.connect(None if deadline is None else max(deadline - started_at, 0.001))
        except BaseException:
            self.stats.connect_errors += 1
            raise
        now = self._clock()
        with self._mutex:
            slot.connection = connection
            if generation != self._generation:
                slot.expires_at = float("-inf")
            elif self.options.max_lifetime:
                slot.expires_at = now + self.options.max_lifetime * (1 - 0.1 * self._spread())
            self.stats.connect.add(now - started_at)
        if self._keeper is None and keeper.is_needed(self.options):
            self._keep()

    def _await_again(self, own: Slot, ticket: int, pause_s: float) -> Slot:
        """After a refused connect: a connection that comes back within the pause, or the own empty slot again. Blocks.

        Takes `own` over: if this is stopped or the pool is closed, it has been given back.
        """
        waiter = Waiter(ticket)
        waiter.own = own
        with self._mutex:
            if self._idle:
                waiter.slot = self._idle.pop()
            else:
                self._line.join(waiter)
        try:
            if not waiter.served:
                waiter.wait(pause_s)
        except BaseException:
            self._leave(waiter)
            raise
        with self._mutex:
            if not waiter.served:
                self._line.leave(waiter)
                return own
        if waiter.own is not None:
            self._put(waiter.own)
        if waiter.slot is None:
            assert waiter.error is not None
            raise waiter.error
        return waiter.slot

    # ---- checkin ----

    def checkin(self, slot: Slot) -> None:
        """Give a slot back. Blocks only when its connection has something to undo; then the next waiter has it, or it idles.

        Raises ValueError when the slot is not held, and whatever stops the caller meanwhile: the slot is free all the same.
        """
        holder = slot.holder
        if holder is None:
            raise ValueError(f"this slot of {self!r} is not held: it was given back already")
        try:
            reusable = self._connector.recycle(slot.connection)
        except BaseException:
            self._release(slot, holder, reusable=False)
            raise
        self._release(slot, holder, reusable)

    def _release(self, slot: Slot, holder: Holder | None, reusable: bool) -> None:
        """No switch point from here on."""
        now = self._clock()
        slot.holder = None
        if holder is not None:
            holder.slots.discard(slot)
        held_s = now - slot.taken_at
        hold = self.stats.hold
        if reusable and now < slot.expires_at and not self._max_uses:
            with self._mutex:
                hold.total_s += held_s
                hold.counts[bisect_left(BOUNDS_S, held_s)] += 1
                if not self._line.count and len(self._idle) < self._room:
                    slot.idle_since = now
                    self._idle.append(slot)
                    return
        else:
            slot.uses += 1
            if not reusable or now >= slot.expires_at or slot.uses >= self._max_uses > 0:
                self._close(slot)
            with self._mutex:
                hold.add(held_s)
                self.stats.returns_bad += not reusable
        self._put(slot)

    def _put(self, slot: Slot) -> None:
        """Give a slot that nobody held to the next waiter, or put it away. Does not switch."""
        now = self._clock()
        with self._mutex:
            must_close = self._settle(slot, now)
        if must_close:
            self._close(slot)
            with self._mutex:
                self._settle(slot, now)

    def _settle(self, slot: Slot, now: float) -> bool:
        """Decide where a free slot goes. True: nowhere yet, its connection must be closed first. Under the lock."""
        full = slot.connection is not None
        surplus = len(self._slots) > self._max
        if full and (surplus or self._closed or now >= slot.expires_at):
            return True
        if surplus:
            self._slots.remove(slot)
            self._set_room()
        elif waiter := self._line.next_for(slot):
            waiter.slot = slot
            waiter.wake()
        elif not full:
            self._empty.append(slot)
        elif len(self._idle) >= self._room:
            return True
        else:
            slot.idle_since = now
            self._idle.append(slot)
        return False

    def _set_room(self) -> None:
        """How many may idle: REUSE_CONNS of the present size; none while the pool shrinks or when it is closed. Under the lock."""
        keep = self.options.reuse_conns
        shrinking = len(self._slots) > self._max
        self._room = 0 if shrinking or self._closed else self._max if keep is None else min(keep, self._max)

    def _close(self, slot: Slot) -> None:
        """Close the slot's connection, if any; the slot itself stays with the caller. Does not switch."""
        connection = slot.connection
        if connection is not None:
            slot.vacate()
            self._connector.close(connection)

    # ---- the whole pool ----

    def resize(self, max_conns: int) -> None:
        """Change MAX_CONNS now. More slots go to waiters at once; fewer: idle ones are closed, held ones when they come back."""
        if isinstance(max_conns, bool) or not isinstance(max_conns, int) or max_conns < max(1, self.options.min_conns):
            raise OptionError(
                f"cannot resize to {max_conns!r}: give a whole number from {max(1, self.options.min_conns)}."
            )
        with self._mutex:
            self._max = max_conns
            spare: list[Slot] = []
            while len(self._slots) - len(spare) > max_conns and self._empty:
                spare.append(self._empty.pop())
            while len(self._slots) - len(spare) > max_conns and self._idle:
                spare.append(self._idle.popleft())
            while len(self._slots) < max_conns:
                self._slots.append(slot := Slot())
                spare.append(slot)
            self._set_room()
        for slot in spare:
            self._put(slot)

    def drain(self) -> None:
        """Replace every connection: idle ones are closed now, held ones when they come back. The pool stays open."""
        with self._mutex:
            self._generation += 1
        self._shed()

    def close(self) -> None:
        """Close for good: waiters get PoolClosed, idle connections end now, held ones when they come back. Does not block."""
        with self._mutex:
            self._closed = True
            self._set_room()
            for waiter in self._line.all():
                waiter.error = PoolClosed(f"the pool {self.name!r} was closed while waiting for a connection")
                waiter.wake()
        self._shed()
        if self._keeper is not None:
            self._keeper.stop()

    def _shed(self) -> None:
        """Make every connection of now old, and close those that idle."""
        with self._mutex:
            for slot in self._slots:
                slot.expires_at = float("-inf")
            idle = list(self._idle)
            self._idle.clear()
        for slot in idle:
            self._put(slot)

    # ---- holders that ended without checkin ----

    def _orphaned(self, name: str, slots: list[Slot]) -> None:
        """Called by the garbage collector, anywhere, perhaps by a greenlet that is under the lock: must not wait for it."""
        self._orphans.extend((name, slot) for slot in slots)
        if self._mutex.acquire(blocking=False):
            self._mutex.release()
            self._reap()

    def _reap(self) -> None:
        """Take back the slots of holders that ended. Their connections are closed, which rolls back what they had begun."""
        while self._orphans:
            try:
                name, slot = self._orphans.popleft()
            except IndexError:
                return
            holding = self._holding(slot, name)
            self.stats.orphans += 1
            self._release(slot, None, reusable=False)
            keeper.tell(
                f"{holding.name} ended without giving its connection of {self!r} back; it was held {holding}",
                ResourceWarning,
            )

    def _keep(self) -> None:
        self._keeper = self._keeper or keeper.Keeper(self)

    # ---- what people ask ----

    @property
    def closed(self) -> bool:
        return self._closed

    def holders(self) -> list[Holding]:
        """Who holds a connection now, longest first. Does not block."""
        held = sorted((slot for slot in list(self._slots) if slot.holder is not None), key=lambda slot: slot.taken_at)
        return [self._holding(slot) for slot in held]

    def _holding(self, slot: Slot, name: str = "") -> Holding:
        holder = slot.holder
        statement = self._connector.statement(slot.connection) if slot.connection is not None else ""
        task = holder.task if holder is not None else None
        held_s = self._clock() - slot.taken_at
        return Holding(task.name if task else name, held_s, statement, task.stack if task else str)

    def histograms(self) -> dict[str, Histogram]:
        """Durations of waiting for a slot, of holding it, and of connecting. Live objects: copy what must not change."""
        return {"wait": self.stats.wait, "hold": self.stats.hold, "connect": self.stats.connect}

    def get_stats(self) -> dict[str, float]:
        """Counters since the pool was made and gauges of now, under psycopg_pool's names. Does not block."""
        stats = self.stats
        return {
            "pool_min": self.options.min_conns,
            "pool_max": self._max,
            "pool_size": len(self._slots) - len(self._empty),
            "pool_available": len(self._idle),
            "requests_waiting": self._line.count,
            "requests_num": self._tickets,
            "requests_queued": stats.queued,
            "requests_wait_ms": stats.wait.total_s * 1000,
            "requests_errors": stats.errors,
            "requests_timeouts": stats.timeouts,
            "requests_refused": stats.refused,
            "usage_ms": stats.hold.total_s * 1000,
            "returns_num": sum(stats.hold.counts),
            "returns_bad": stats.returns_bad,
            "connections_num": stats.connects,
            "connections_ms": stats.connect.total_s * 1000,
            "connections_errors": stats.connect_errors,
            "connections_lost": stats.lost,
            "holders_lost": stats.orphans,
        }

    def __repr__(self) -> str:
        in_use = len(self._slots) - len(self._empty) - len(self._idle)
        state = " closed" if self._closed else ""
        return f"<Pool {self.name}{state}: {in_use}/{self._max} in use, {len(self._idle)} idle, {self._line.count} waiting>"

    def _remaining(self, deadline: float | None) -> float | None:
        return None if deadline is None else deadline - self._clock()

    def _because(self, what: str) -> str:
        """An error's text: what happened, the numbers, and who holds the connections longest."""
        in_use = len(self._slots) - len(self._empty) - len(self._idle)
        text = f"{what}: {in_use}/{self._max} in use, {self._line.count} waiting"
        longest = ", ".join(map(str, self.holders()[:3]))
        return f"{text}; held longest by {longest}" if longest else text

    def _refuse(self, error: PoolError) -> NoReturn:
        self.stats.errors += 1
        self.stats.timeouts += isinstance(error, PoolTimeout)
        self.stats.refused += isinstance(error, PoolFull)
        raise error


# ---- fork ----

_pools: "weakref.WeakSet[Pool]" = weakref.WeakSet()
_of_the_parent: list[Any] = []  # kept for ever: collecting them would say goodbye on sockets that the parent still uses


def _forget_after_fork() -> None:
    for pool in list(_pools):
        _of_the_parent.append((pool._slots, pool._local))
        pool._start_afresh()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
