"""The pool: slots, handed out in the order in which they were asked for.

`slots.py` and `supply.py` decide, under one lock; what is slow or foreign happens outside of it, here for who asks and
in `upkeep.py` in the background. A slot always has an owner: the greenlet or thread that holds it, or a `Claim`, which
is how each step finds what it has to put back when it is stopped. From the moment a slot is given back until a waiter
has it there is no switch point.
"""

import _thread
import functools
import os
import random
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from . import forks, report
from .options import CONNECT_LIMIT_S, OptionError, Options
from .report import Histogram, Holding, PoolError, PoolFull, PoolTimeout
from .server import Connector
from .slot import Claim, Gate, Holder, Lifeline, Slot, Task, ThreadTask, Waiter, closed_gate
from .supply import Supply
from .upkeep import Upkeep

_DEFAULT: Any = object()


def start_thread(work: Callable[[], None]) -> None:
    """Run `work` in a thread, under the monkey patch in a greenlet. Neither blocks nor switches."""
    _thread.start_new_thread(work, ())


class Pool:
    """At most `options.max_conns` connections, each held by one greenlet or thread at a time.

    `clock` gives monotonic seconds, `task` describes the calling greenlet or thread for error messages, `spread` gives
    numbers in [0, 1) by which lifetimes and pauses are kept from falling together, and `start` runs its argument in the
    background: it may be called from anywhere, the garbage collector included, and raises RuntimeError if it cannot.
    `gate` makes what a waiter waits in.
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
        start: Callable[[Callable[[], None]], None] = start_thread,
        gate: Callable[[], Gate] = closed_gate,
    ) -> None:
        self.name, self._task, self._gate = name, task, gate
        self.clock, self._spread, self._start = clock, spread, start
        # Of each lifeline, or every thread would keep every pool it ever used. The pool has it too: the collector makes
        # an end of a weak reference that it collects, before a lifeline that it collects with it can ask.
        self._ref = weakref.ref(self)
        self.start_afresh(connector, options or Options.read())
        forks.pools.add(self)  # complete by now

    def start_afresh(self, connector: Connector, options: Options) -> None:
        """No connection and nobody waiting: a new pool, or an old one's copy in a forked child."""
        self.slots = Supply(self.name, options)
        self.upkeep = Upkeep(self.slots, self.clock, self._spread, self._start)
        self._connect_with(connector, options)
        self._pid, self._local = os.getpid(), threading.local()
        # Leaves what could not be undone, made beforehand, to whoever comes next: there may be room for one call.
        self._leave_undone = self.upkeep.later.works.append
        self._take, self._idle = self.slots.take, self.slots.idle  # looked up once, for speed, as these are:
        self._waits = self.slots.stats.wait.counts

    def _connect_with(self, connector: Connector, options: Options) -> None:
        self.upkeep.connector, self.upkeep.options = connector, options
        self._check, self._recycle = connector.check, connector.recycle  # looked up once, for speed
        self._timeout, self._max_uses = options.pool_timeout, options.max_uses

    @property
    def connector(self) -> Connector:
        """What makes its connections."""
        return self.upkeep.connector

    @property
    def options(self) -> Options:
        """What it was made, or changed, with."""
        return self.upkeep.options

    @property
    def closed(self) -> bool:
        """Whether it serves nobody any more."""
        return self.slots.closed

    # ---- checkout ----

    def checkout(self, timeout: float | None = _DEFAULT, ticket: object = None, low: bool = False) -> Slot:
        """A slot with a working connection, first come, first served.

        Blocks for `timeout` seconds at most, waiting and connecting together (absent: the option POOL_TIMEOUT; None: no
        limit; 0: does not wait for a slot). Raises PoolTimeout, PoolFull or PoolClosed, or the driver's error when
        connecting failed and trying again is no use. Who may be stopped before it has taken note of the slot, by a
        signal's handler, gives a new object as `ticket`: see `take_back`. `low` never takes the last slots.
        """
        if timeout is _DEFAULT:
            timeout = self._timeout
        if ticket is None:
            ticket = object()
        asked_at = self.clock()
        try:
            holder = self._local.holder
        except AttributeError:
            holder = self.here()
        try:
            slot = self._take(holder, ticket, asked_at) if self._idle and not low else None
            if slot is not None and asked_at < slot.expires_at and self._check(slot.connection):
                self._waits[0] += 1
                return slot
            return self.wait(Waiter(holder, timeout, asked_at, ticket, self._gate(), slot, low))
        except BaseException:
            for slot in [each for each in self.slots.held() if each.ticket is ticket]:
                slot.expires_at = float("-inf")  # who knows what state it is in; by what was left another may have it
                end = functools.partial(self._give_up, Waiter(holder, timeout, asked_at, ticket, self._gate(), slot))
                try:
                    end()
                except BaseException:
                    self._leave_undone(end)
                    raise
            raise

    def here(self) -> Holder:
        """The calling greenlet or thread as a holder; a thread-local tells when it has ended."""
        if not hasattr(self._local, "holder"):
            lifeline = self.lifeline()
            self._local.holder = holder = lifeline.holder
            if not holder.task.keep(lifeline):
                self._local.lifeline = lifeline
        return self._local.holder

    def wait(self, waiter: Waiter) -> Slot:
        """The checkout of whom no idle connection served at once: what may bound it is put around this. Blocks."""
        slots, later = self.slots, self.upkeep.later
        if slots.busy_here():
            raise PoolError(
                f"{waiter.holder.task.name} asks {self!r} for a connection in a finaliser or signal handler that "
                "came up while the pool was deciding something: it would wait for itself"
            )
        give_up = functools.partial(self._give_up, waiter)
        try:
            if later.works:
                later.catch_up()
            if waiter.slot is None:
                slots.join(waiter)
            else:
                self._doubt(waiter)
            while waiter.slot is None or not (waiter.fresh or self._works(waiter)):
                self._wait_once(waiter)
            slot = waiter.slot
            slot.taken_at = now = self.clock()
            self.upkeep.keeper.start()
            slots.serve(waiter, now - waiter.asked_at)
            return slot
        except BaseException as error:
            try:
                self._give_up(waiter, error)
            except BaseException:  # left once: two threads that did it at a time could close what is another's by then
                self._leave_undone(give_up)
                self.upkeep.later.hurry()
                raise
            raise

    def _works(self, waiter: Waiter) -> bool:
        """Whether the connection of a waiter's slot works, at a look; a doubtful one goes to a filler."""
        slot = waiter.slot
        if self.clock() < slot.expires_at:
            try:
                if self._check(slot.connection):
                    return True
            except BaseException:
                self.upkeep.discard(slot)
                raise
        self._doubt(waiter)
        return False

    def _doubt(self, waiter: Waiter) -> None:
        slot = waiter.slot
        if self.clock() >= slot.expires_at:
            self.upkeep.discard(slot)
        self.slots.doubt(waiter)
        if self.slots.closed:  # just now: no filler comes to look at it
            self.upkeep.end_the_old()

    def _wait_once(self, waiter: Waiter) -> None:
        """Wait to be served, or for the end of the time. Raises what there is to be told."""
        slots = self.slots
        if waiter.slot is None and not waiter.outcome:
            if waiter.fills:
                waiter.fills = False
                self.upkeep.fill()
            elif slots.unready:  # who makes a slot so later on calls a filler himself
                self.upkeep.call_filler()
            timeout = CONNECT_LIMIT_S if waiter.timeout == 0 else waiter.timeout
            if timeout is None:
                in_time = waiter.gate.acquire()
            else:
                left_s = waiter.asked_at + timeout - self.clock()
                in_time = waiter.gate.acquire(timeout=min(max(left_s, 0.0), threading.TIMEOUT_MAX))
            if not in_time or waiter.slot is None:
                slots.wait_ended(waiter, late=not in_time)
        if waiter.outcome:
            raise self._refusal(waiter).error()

    def _refusal(self, waiter: Waiter) -> report.Refusal:
        gauges, server = self.slots.gauges(), self.slots.server
        return report.Refusal(waiter, gauges, self.holders(), self.options, server, self.clock())

    def _give_up(self, waiter: Waiter, error: BaseException | None = None) -> None:
        """A checkout that ends without a connection: pass on whatever it had. The second time nothing happens."""
        counter = "timeouts" if isinstance(error, PoolTimeout) else "refused" if isinstance(error, PoolFull) else ""
        try:
            self.slots.fail(waiter, counter)
            self.upkeep.put(waiter)
        except BaseException:  # a signal, say; both can be repeated
            self.slots.fail(waiter, counter)
            self.upkeep.put(waiter)
            raise

    # ---- checkin ----

    def checkin(self, slot: Slot) -> None:
        """Give a slot back. Blocks only when its connection has something to undo; then the next waiter has it.

        Raises ValueError when the slot is not held or not this pool's, and whatever stops the caller meanwhile: the
        slot is free even so.
        """
        holder, slots = slot.holder, self.slots
        if slot.home is not slots.home:
            if slot.home in forks.of_the_parent:
                return
            raise ValueError(f"this slot is of another pool than {self!r}: give it back there")
        if not isinstance(holder, Holder):
            raise ValueError(f"this slot of {self!r} is not held: it was given back already")
        try:
            # Where a finaliser gives back in the midst of a decision, there is no time to undo anything.
            reusable = not slots.busy_here() and self._recycle(slot.connection)
            # No switch point from here on.
            now = self.clock()
            held_s = now - slot.taken_at
            if reusable and not self._max_uses and slots.put_back(slot, holder, now, held_s):
                return
            given_back = self._release(slot, holder, reusable, held_s)
        except BaseException:
            self._release(slot, holder, False, self.clock() - slot.taken_at)
            raise
        if not given_back:
            raise ValueError(f"this slot of {self!r} was given back by another, or reaped, at the same time")

    def take_back(self, ticket: object) -> None:
        """End the checkout of this ticket, and its connection, unless it has ended. Does not switch."""
        again = functools.partial(self.take_back, ticket)
        try:
            for slot in list(self.slots.all):
                holder = slot.holder  # read first: with another's holder comes another's ticket
                if slot.ticket is ticket and isinstance(holder, Holder):
                    self._release(slot, holder, False, self.clock() - slot.taken_at)
        except BaseException:
            self._leave_undone(again)
            raise

    def _release(self, slot: Slot, holder: Holder, reusable: bool, held_s: float) -> bool:
        """The checkin of a connection that is not simply put away. False: another was quicker. Does not switch."""
        claim = Claim()
        undo = functools.partial(self.upkeep.discard_claimed, claim)
        try:
            if not self.slots.release(slot, holder, claim, held_s, reusable):
                return False
            if not reusable or slot.uses >= self._max_uses > 0:
                self.upkeep.discard(slot)
            self.upkeep.put(claim)
            return True
        except BaseException:
            try:
                undo()
            except BaseException:
                self._leave_undone(undo)
                self.upkeep.later.hurry()
                raise
            raise

    # ---- holders that end, and others that take over ----

    def lifeline(self) -> Lifeline:
        """A holder for the caller's checkouts whose slots come back when the lifeline is collected: see `rebind`."""
        ref = self._ref

        def orphaned(holder: Holder) -> None:
            if (pool := ref()) is not None:
                pool._note_orphan(holder)

        return Lifeline(Holder(self._task()), orphaned)

    def owns(self, slot: Slot) -> bool:
        """Whether a slot is this pool's, and of this process."""
        return slot.home is self.slots.home

    def rebind(self, slot: Slot, lifeline: Lifeline) -> None:
        """Bind a checkout to a lifeline instead of to who made it. Does not block."""
        self.slots.rebind(slot, lifeline.holder)

    def _note_orphan(self, holder: Holder) -> None:
        """Called by the garbage collector, anywhere, perhaps in the midst of a decision: leaves the work to others."""
        if os.getpid() == self._pid:  # or else a fork has ended that thread on this side: the slots are the parent's
            self.upkeep.later.add(functools.partial(self._reap, holder))

    def _reap(self, holder: Holder) -> None:
        """Take back the slots of a holder that ended. Closing their connections rolls back what it began."""
        told = []
        for slot in self.slots.held():
            if slot.holder is holder:
                text = f"{holder.task.name} ended without giving a connection of {self!r} back: "
                text += str(self.upkeep.holding(slot))
                if self._release(slot, holder, False, self.clock() - slot.taken_at):
                    self.slots.stats.orphans += 1
                    told.append(text)
        for text in told:
            report.tell(text, ResourceWarning)

    # ---- the whole pool ----

    def resize(self, max_conns: int) -> None:
        """Change MAX_CONNS now. New slots go to waiters; surplus connections end, those in use when they come back.

        Raises OptionError when `max_conns` is not accepted. Does not block.
        """
        least = max(1, self.options.min_conns)
        if type(max_conns) is not int or max_conns < least:
            raise OptionError(f"cannot resize to {max_conns!r}: give a whole number from {least}.")
        self._set_size(max_conns)

    def _set_size(self, size: int) -> None:
        if self._puts_off(self._set_size, size):
            return
        self.slots.resize(size)
        self.upkeep.end_the_old()
        self.upkeep.call_filler()

    def change(self, connector: Connector, options: Options) -> None:
        """Go on with another connector and other options. Waiters go on waiting; old connections end, those in use
        when they come back.

        A size that `resize` has set stays, unless MAX_CONNS is another. Does not block.
        """
        if self._puts_off(self.change, connector, options):
            return
        size = self.slots.size if options.max_conns == self.options.max_conns else options.max_conns
        self._connect_with(connector, options)
        self.slots.configure(size, options)
        self.drain()
        self.upkeep.keeper.start()
        self.upkeep.call_filler()

    def drain(self) -> None:
        """Replace every connection: idle ones now, those in use when they come back. The pool stays open."""
        if self._puts_off(self.drain):
            return
        self.slots.expire_all()
        self.upkeep.end_the_old()

    def close(self) -> None:
        """Close for good: waiters get PoolClosed; idle connections end now, those in use when they come back."""
        if self._puts_off(self.close):
            return
        self.slots.close()
        self.upkeep.ended.set()
        self.drain()
        self.upkeep.later.catch_up()

    def _puts_off(self, work: Callable[..., None], *args: Any) -> bool:
        """Whether this comes up in the midst of a decision, in a finaliser or signal handler: it is done soon after."""
        if put_off := self.slots.busy_here():
            self.upkeep.later.add(functools.partial(work, *args))
        return put_off

    # ---- what people ask ----

    def get_stats(self) -> dict[str, float]:
        """Counters since the pool was made, and the present gauges, under psycopg_pool's names. Does not block."""
        return report.stats(self.slots.gauges(), self.slots.stats, self.options)

    def holders(self) -> list[Holding]:
        """Who holds a connection now, longest first. Does not block."""
        held = [slot for slot in self.slots.held() if slot.connection is not None]
        return [self.upkeep.holding(slot) for slot in sorted(held, key=lambda slot: slot.taken_at)]

    def histograms(self) -> dict[str, Histogram]:
        """Durations of waits, of holds and of connects. Live objects: copy what must not change."""
        return {name: getattr(self.slots.stats, name) for name in ("wait", "hold", "connect")}

    def __repr__(self) -> str:
        return repr(self.slots)
