"""The slots of a pool and the line of those who wait for one: every decision, each a method under one lock.

Nothing here blocks, logs, formats, or calls what others wrote. Two rules keep the decisions whole, whatever happens:

- **Read first, then commit without a call.** Python lets a signal handler, a kill or the garbage collector in only
  after a call, at the start of a function, and at a loop's jump back. So the assignments of a decision stand together,
  and the one call that may have to follow (`append`, `release`) comes last, with everything whole before it and after.
- **Nobody comes in twice.** The lock is reentrant, so that a finaliser or a signal handler that gives a connection back
  in the midst of a decision does not stop the thread for ever; `busy_here` tells it to do so elsewhere.
"""

import _thread
import weakref
from collections import OrderedDict
from typing import Any

from .holder import Holder
from .later import Work
from .options import Options
from .overload import Overload, Reserve
from .report import Stats
from .server import Server
from .slot import Claim, Slot, Waiter

SHORTEST_PAUSE_S = 0.001  # between two looks whether a closed connection is gone from the server


class Slots:
    """At most `size` slots. Invariants, whenever the lock is free:

    Every slot of `all` is in one place: `idle`, `unready`, or with its `holder`. `len(all) <= size`, except after a
    `resize` downwards until the surplus has come back. While anybody waits, `idle` is empty.
    """

    def __init__(self, options: Options) -> None:
        # A thread's lock also under the monkey patch: it costs half, and nobody switches while he has it.
        self.mutex = _thread.RLock()
        self.busy_here = self.mutex._is_owned  # type: ignore[attr-defined]  # threading.Condition asks it, too
        self.home = object()
        self.size = size = options.max_conns
        self.closed = False
        self.generation = 0  # raised by `expire_all`: what was connecting meanwhile is old when it arrives
        self.all = [Slot(self.home) for _ in range(size)]
        self.idle: list[Slot] = []  # last in, first out: those that nobody needs grow old at the front
        self.unready = list(self.all)  # without a connection, or with a doubtful one: a filler's work
        self.line: OrderedDict[Waiter, None] = OrderedDict()  # first in, first out; O(1) to leave from anywhere
        self.low: OrderedDict[Waiter, None] = OrderedDict()  # of low priority: join the line when slots are to spare
        self.overload = Overload() if options.overload == "shed" else None
        self._reserve = Reserve()
        self.filling = 0  # slots in the hands of fillers
        self.called: weakref.ref[Work] | None = None  # the filler that was started and has not come yet
        self.ahead = True  # connect ahead: not after a failure until the keeper's next round
        self.usher: object | None = None  # the filler that waits for the server: there is one at most
        self.server = Server()
        self.stats = Stats()
        self.waits = self.stats.wait.counts  # the fast path's: looked up once
        self._keep_idle, self._min_open = options.reuse_conns, options.min_conns
        self._max_waiting = options.max_waiting
        self._set_room()

    @property
    def opened(self) -> int:
        """Slots with a connection, or with one on its way."""
        return len(self.all) - len(self.unready)

    @property
    def waiting(self) -> int:
        """Waiters for whom no connection is on its way."""
        return max(len(self.line) - self.filling, 0) + len(self.low)

    @property
    def in_use(self) -> int:
        """Slots in somebody's hands."""
        return self.opened - len(self.idle)

    # ---- waiters ----

    def join(self, waiter: Waiter) -> None:
        """Give a waiter a slot that is idle, or a place in the line, or an `outcome` that says why neither."""
        with self.mutex:
            if self.overload is not None:
                self._shed(waiter.asked_at)
            waiting = len(self.line) - self.filling - len(self.unready)  # for others' slots; the rest for connections
            left_alone = self.server.is_left_alone(waiter.asked_at)
            has_all = waiter.holder.held >= len(self.all)
            ahead = max(waiting, 0) + len(self.low) if waiter.low else waiting  # low priority waits behind all
            reserve = self._reserve
            lower = waiter.low and (bool(self.line) or self.size - self.in_use <= reserve.at(self.size, self.stats))
            if waiting >= 0 and not waiter.low and self.stats.asked_low:
                reserve = reserve.raised(self.size, self.stats, self.all)
            # No call from here on: what a finaliser puts among the idle now would never be seen.
            self.stats.asked += 1
            self.stats.asked_low += waiter.low
            waiter.over = False
            if self.closed:
                waiter.outcome = "closed"
            elif self.idle and not lower:
                slot = self.idle[-1]
                slot.ticket, slot.low = waiter.ticket, waiter.low
                slot.holder = waiter.holder
                waiter.holder.held += 1
                waiter.slot = slot
                del self.idle[-1]
            elif waiter.timeout == 0 and (waiting >= 0 or left_alone or lower):
                waiter.outcome = "at once"
            elif self._max_waiting and ahead >= self._max_waiting:
                waiter.outcome = "full"
            elif has_all:
                waiter.outcome = "itself"
            elif lower:
                self.stats.queued += 1
                self.low[waiter] = None
            else:
                self.stats.queued += waiting >= 0
                self._reserve = reserve
                self.line[waiter] = None

    def first(self, now: float) -> Waiter:
        """Whose turn it is in the line, which is not empty. Under the lock."""
        if self.overload is None:
            return next(iter(self.line))
        self._shed(now)
        return next(reversed(self.line) if self.overload.stands else iter(self.line))

    def _shed(self, now: float) -> None:
        """Look whether the line stands, and refuse who has waited too long in it, but for the last one."""
        overload: Any = self.overload
        overload.look(self.line, now)
        while len(self.line) > 1 and (waiter := overload.hopeless(self.line, now)):
            self.stats.shed += 1
            self.turn_away(waiter, "shed")

    def admit_low(self, freed: int = 0) -> None:
        """Let the first of low priority into the line if slots are to spare; `freed` come back now. Under the lock."""
        if self.low and not self.line and self.size - self.in_use + freed > self._reserve.at(self.size, self.stats):
            waiter = next(iter(self.low))
            del self.low[waiter]
            self.line[waiter] = None

    def doubt(self, waiter: Waiter) -> None:
        """Put a waiter's slot among the unready, for a filler to look after. It gets another, or waits as the first."""
        with self.mutex:
            slot = waiter.slot
            waiter.slot = None
            waiter.fresh = waiter.woken = False
            waiter.holder.held -= 1
            slot.holder = None
            self.unready += (slot,)
            if self.idle:
                slot = self.idle[-1]
                slot.ticket, slot.low = waiter.ticket, waiter.low
                slot.holder = waiter.holder
                waiter.holder.held += 1
                waiter.slot = slot
                del self.idle[-1]
            elif self.closed:
                waiter.outcome = "closed meanwhile"
            else:
                self.line[waiter] = None
                self.line.move_to_end(waiter, last=False)

    def wait_ended(self, waiter: Waiter, late: bool) -> None:
        """A waiter was woken, or it is `late`. It may have been served just before."""
        with self.mutex:
            if waiter.woken:
                waiter.woken = False
                if not waiter.gate.locked():  # it was woken after its wait had ended by itself
                    waiter.gate.acquire()
            if late and waiter.slot is None and not waiter.outcome:
                waiter.outcome = "late"
                if waiter in self.line:
                    del self.line[waiter]
                else:
                    del self.low[waiter]
            self.admit_low()

    def serve(self, waiter: Waiter, wait_s: float) -> None:
        """Count a waiter as served."""
        with self.mutex:
            self.stats.wait.add(wait_s)
            waiter.over = True

    def fail(self, waiter: Waiter, claim: Claim, counter: str = "") -> None:
        """A checkout that ends without a connection: count it, and claim what it had."""
        with self.mutex:
            slot = waiter.slot
            if waiter in self.line:
                del self.line[waiter]
            elif waiter in self.low:
                del self.low[waiter]
            if slot is not None and slot.holder is waiter.holder:
                slot.holder = claim
                claim.slot = slot
                waiter.slot = None
                waiter.holder.held -= 1
            if not waiter.over:
                waiter.over = True
                self.stats.errors += 1
                self.stats.timeouts += counter == "timeouts"
                self.stats.refused += counter == "refused"

    def turn_away(self, waiter: Waiter, outcome: str | Exception) -> None:
        """End a wait in the line. Under the lock."""
        waiter.outcome = outcome
        del (self.line if waiter in self.line else self.low)[waiter]
        if not waiter.woken:
            waiter.woken = True
            waiter.gate.release()

    # ---- slots that come back ----

    def release(self, slot: Slot, holder: Holder, claim: Claim, held_s: float, reusable: bool) -> bool:
        """Claim a slot from its holder, unless another was quicker. Whether it may be given out as it is."""
        with self.mutex:
            if slot.holder is not holder:
                return False
            slot.holder = claim
            claim.slot = slot
            holder.held -= 1
            slot.uses += 1
            self.stats.returns_bad += not reusable
            self.stats.hold.add(held_s)
            return True

    def settle(self, claim: Claim, now: float, fresh: bool = False, filled: bool = False) -> bool:
        """Give a claimed slot to the next waiter, or put it away. False: not done, its connection must end first."""
        with self.mutex:
            slot = claim.slot
            if slot is None or slot.holder is not claim:
                return True
            self.admit_low(freed=1)
            self._set_room()
            surplus = self.opened > self.size
            waiter = self.first(now) if self.line else None
            full = len(self.idle) >= self.room
            if slot.connection is None:
                slot.holder = None
                self.filling -= filled
                self.unready.append(slot)
                self._drop_surplus()
                return True
            if surplus or now >= slot.expires_at or (full and waiter is None):
                return False
            self.filling -= filled
            if waiter is None:
                slot.idle_since = now
                slot.holder = None
                self.idle.append(slot)
            else:
                self.hand_over(slot, waiter, now, fresh)
            self.admit_low()
            return True

    def hand_over(self, slot: Slot, waiter: Waiter, now: float, fresh: bool) -> None:
        """Make a waiter of the line the holder of a slot. Under the lock."""
        if not fresh:
            self.server.since = now  # a used connection came back whole: the server is rather full than down
        if slot.holder is not None:
            slot.holder.held -= 1
        slot.taken_at = now
        slot.ticket, slot.low = waiter.ticket, waiter.low
        slot.holder = waiter.holder
        waiter.holder.held += 1
        waiter.slot = slot
        waiter.fresh = fresh
        del self.line[waiter]
        if not waiter.woken:  # twice is as good as once
            waiter.woken = True
            waiter.gate.release()

    # ---- fillers ----

    def wants_filler(self) -> bool:
        """Whether there is work for one more filler. Under the lock."""
        if self.closed or not self.unready:
            return False
        if any(slot.connection is not None for slot in self.unready):
            return True  # a doubtful connection is asked whether anybody waits or not, and that is no connect
        if len(self.line) <= self.filling and (self.opened >= self._min_open or not self.ahead):
            return False
        if self.filling >= self.server.limit:
            return False
        return self.usher is None or (self.server.failure is None and any(s.leaving is None for s in self.unready))

    def call_filler(self, work: Work) -> bool:
        """Whether a filler is to be started now, to do `work`. One at a time: each that comes calls the next."""
        with self.mutex:
            if (self.called is not None and self.called() is not None) or not self.wants_filler():
                return False
            self.called = weakref.ref(work)  # dead when it was stopped before it could come
            return True

    def claim_unready(self, filler: Claim, now: float) -> float:
        """Let a filler claim a slot; one without a connection rather than one that a server still counts.

        Returns 0, with a slot or, when there is nothing to do, without one; or seconds after which to ask again: the
        server is to be left alone so long, or every slot's last connection may still be there.
        """
        with self.mutex:
            self.called = None
            if self.usher is filler:
                self.usher = None
            if not self.wants_filler():
                return 0.0
            pause_s = self.server.probe_at - now if self.server.failure is not None else 0.0
            self._drop_surplus()
            clean = [slot for slot in self.unready if slot.leaving is None]
            doubtful = [slot for slot in clean if slot.connection is not None]
            if not doubtful and (pause_s > 0 or not clean):
                self.usher = filler
                return max(pause_s, SHORTEST_PAUSE_S)
            slot = (doubtful or clean)[0]
            filler.slot = slot
            slot.holder = filler
            self.filling += 1
            self.unready.remove(slot)
            return 0.0

    def dismiss(self, filler: Claim) -> None:
        """A filler ends, whatever it was doing."""
        with self.mutex:
            if self.usher is filler:
                self.usher = None

    def ask_to_fill(self) -> None:
        """No filler can be started: let the first waiter fill a slot itself."""
        with self.mutex:
            self.called = None
            waiter = next(iter(self.line), None)
            if waiter is not None:
                waiter.fills = True
                if not waiter.woken:
                    waiter.woken = True
                    waiter.gate.release()

    def depart(self, slot: Slot, connection: Any) -> None:
        """Its closed connection is gone from the server."""
        with self.mutex:
            if slot.leaving is connection:
                slot.leaving = None
                self._drop_surplus()

    def connected(self, filler: Claim, connection: Any, generation: int, expires_at: float, took_s: float) -> None:
        """A filler's slot has a connection now."""
        with self.mutex:
            slot = filler.slot
            self.stats.connect.add(took_s)
            self.server.answered(self.size)
            slot.expires_at = expires_at if generation == self.generation else float("-inf")
            slot.uses = 0
            slot.connection, slot.leaving, self.ahead = connection, None, True

    def failed(self, filler: Claim, error: Exception, transient: bool, full: bool, now: float, spread: float) -> bool:
        """A filler could not connect: tell the first waiter, or, if it may pass, those who have waited long enough.

        While a `full` server's connections are in use, they will come back. Whether anybody was told or waits.
        """
        with self.mutex:
            slot, anybody = filler.slot, bool(self.line)
            self.ahead = False
            if slot is not None and slot.holder is filler:
                self.filling -= 1
                slot.holder = None
                self.unready.append(slot)
            if transient:
                self.server.failed(error, now, spread)
                for waiter in [*self.line, *self.low]:
                    if not (full and self.opened > self.filling) and self.server.is_hopeless(waiter.timeout, now):
                        self.turn_away(waiter, "down")
            elif self.line:
                self.turn_away(next(iter(self.line)), error)
            return anybody

    # ---- the whole pool ----

    def claim_old(self, claim: Claim, now: float, max_idle: float) -> bool:
        """Claim a connection that nobody uses and that must end: it is too old, or one too many."""
        with self.mutex:
            self._set_room()
            spare = self.opened > self._min_open
            surplus = len(self.idle) > self.room
            for slot in list(self.idle):
                too_idle = max_idle and now - slot.idle_since >= max_idle and spare
                if slot.holder is None and (surplus or too_idle or now >= slot.expires_at):
                    claim.slot = slot
                    slot.holder = claim
                    self.idle.remove(slot)
                    return True
            for slot in list(self.unready):
                if slot.connection is not None and now >= slot.expires_at:
                    claim.slot = slot
                    slot.holder = claim
                    self.unready.remove(slot)
                    return True
            return False

    def resize(self, size: int) -> None:
        """Set the size. The surplus goes as it comes back."""
        with self.mutex:
            self.size = size
            new = [Slot(self.home) for _ in range(size - len(self.all))]
            self.all += new
            self.unready += new
            self._drop_surplus()
            self._set_room()
            self.admit_low()

    def configure(self, size: int, keep_idle: int | None, min_open: int, max_waiting: int) -> None:
        """Set what `__init__` did; who waits goes on."""
        with self.mutex:
            self._keep_idle, self._min_open, self._max_waiting = keep_idle, min_open, max_waiting
            self.resize(size)

    def expire_all(self) -> None:
        """Make every connection of now old."""
        with self.mutex:
            self.generation += 1
            for slot in self.all:
                slot.expires_at = float("-inf")

    def close(self) -> None:
        """From now on nobody is served and nothing idles; who waits is told."""
        with self.mutex:
            self.closed = True
            self._set_room()
            for waiter in [*self.line, *self.low]:
                self.turn_away(waiter, "closed meanwhile")

    def rebind(self, slot: Slot, holder: Holder) -> None:
        """Make another the holder of a held slot."""
        with self.mutex:
            if isinstance(slot.holder, Holder):
                slot.holder.held -= 1
                holder.held += 1
                slot.holder = holder

    def _drop_surplus(self) -> None:
        """Forget empty slots beyond the size."""
        surplus = len(self.all) - self.size
        if surplus > 0:
            drop = [slot for slot in self.unready if slot.leaving is None and slot.connection is None][:surplus]
            slots = [slot for slot in self.all if slot not in drop]
            unready = [slot for slot in self.unready if slot not in drop]
            self.all, self.unready = slots, unready

    def _set_room(self) -> None:
        """How many may idle: as many as are kept at this size; none while it shrinks or when it is closed."""
        keep = self.size if self._keep_idle is None else min(self._keep_idle, self.size)
        self.room = 0 if self.closed or self.opened > self.size else keep
