"""The slots of a pool, who holds them, and who waits for one: every decision, each a method under one lock.

Nothing here blocks, logs, formats, or calls what others wrote. Two rules keep the decisions whole, whatever happens:

- **Read first, then commit without a call.** Python lets a signal handler, a kill or the garbage collector in only
  after a call, at the start of a function, and at a loop's jump back. So the assignments of a decision stand together,
  and the one call that may have to follow (`append`, `release`) comes last, with everything whole before it and after.
- **Nobody comes in twice.** The lock is reentrant, so that a finaliser or a signal handler that gives a connection back
  in the midst of a decision does not stop the thread for ever; `busy_here` tells it to do so elsewhere.
"""

import _thread
from bisect import bisect_left

from .line import Line, Reserve
from .options import Options
from .report import BOUNDS_S, Gauges, Stats
from .server import Server
from .slot import Claim, Holder, Slot, Waiter


class Slots:
    """At most `size` slots. Invariants, whenever the lock is free:

    Every slot of `all` is in one place: `idle`, `unready`, or with its `holder`. `len(all) <= size`, except after a
    `resize` downwards until the surplus has come back. While anybody waits, `idle` is empty, but for what low priority
    leaves to the others, and until the first of it, which has just been admitted, has come for one.
    """

    def __init__(self, name: str, options: Options) -> None:
        self.name = name
        # A thread's lock also under the monkey patch: it costs half, and nobody switches while he has it.
        self.mutex = _thread.RLock()
        self.busy_here = self.mutex._is_owned  # type: ignore[attr-defined]  # threading.Condition asks it, too
        self.home = object()
        self.size = size = options.max_conns
        self.closed = False
        self.all = [Slot(self.home) for _ in range(size)]
        self.idle: list[Slot] = []  # last in, first out: those that nobody needs grow old at the front
        self.unready = list(self.all)  # without a connection, or with a doubtful one: a filler's work
        self.filling = 0  # slots in the hands of fillers
        self.server = Server()
        self.stats = Stats()
        self.line = Line(options)
        self._reserve = Reserve()
        self._keep_idle = options.reuse_conns
        self._max_waiting = options.max_waiting
        self._set_room()

    @property
    def opened(self) -> int:
        """Slots with a connection, or with one on its way."""
        return len(self.all) - len(self.unready)

    @property
    def waiting(self) -> int:
        """Waiters for whom no connection is on its way."""
        return max(len(self.line.normal) - self.filling, 0) + len(self.line.low)

    @property
    def in_use(self) -> int:
        """Slots in somebody's hands."""
        return self.opened - len(self.idle)

    def gauges(self) -> Gauges:
        """Its numbers of now. Without the lock: each is right, and together they may be a moment apart."""
        leaving = sum(slot.leaving is not None and slot.connection is None for slot in list(self.unready))
        return Gauges(
            self.name, self.closed, self.size, self.opened, len(self.idle), self.waiting, self.filling, leaving
        )

    def __repr__(self) -> str:
        return str(self.gauges())

    def held(self) -> list[Slot]:
        """The slots that are held. Without the lock."""
        return [slot for slot in list(self.all) if isinstance(slot.holder, Holder)]

    # ---- waiters ----

    def take(self, holder: Holder, ticket: object, now: float) -> Slot | None:
        """Count a checkout, and give it a slot that is idle; None, and not counted: there is none.

        Alone without the lock, which would cost half of this: no call divides it, and who decides meanwhile, in another
        thread, bears it as he bears a finaliser's checkout in his midst. What takes the slot stands in one line, for
        what traces lines, a debugger for instance, lets other threads in between two.
        """
        idle = self.idle
        # fmt: off
        try:
            slot = idle[-1]; slot.taken_at = now; slot.ticket, slot.low = ticket, False; slot.holder = holder; del idle[-1]  # noqa: E501, E702
        except IndexError:
            return None
        # fmt: on
        holder.held += 1
        self.stats.asked += 1
        return slot

    def join(self, waiter: Waiter) -> None:
        """Give a waiter a slot that is idle, or a place in the line, or an `outcome` that says why neither."""
        with self.mutex:
            line = self.line
            if line.overload is not None:
                line.look(waiter.asked_at)
            waiting = len(line.normal) - self.filling - len(self.unready)  # for others' slots; the rest for connections
            server = self.server
            left_alone = server.failure is not None and server.is_left_alone(waiter.asked_at)
            has_all = waiter.holder.held > 0 and self.waits_for_itself(waiter)
            ahead = max(waiting, 0) + len(line.low) if waiter.low else waiting  # low priority waits behind all
            lower = waiter.low and (bool(line.normal) or self.to_spare <= 0)
            reserve = self._reserve
            if waiting >= 0 and not waiter.low and self.stats.asked_low:
                reserve = reserve.raised(self.size, self.stats, self.all)
            # No call from here on: what a finaliser puts among the idle now would never be seen.
            self.stats.asked += 1
            self.stats.asked_low += waiter.low
            waiter.over = False
            if waiter.outcome:  # turned away before it came
                pass
            elif self.closed:
                waiter.outcome = "closed"
            elif self.idle and not lower and self._seat(waiter):
                pass
            elif waiter.timeout == 0 and (waiting >= 0 or left_alone or lower):
                waiter.outcome = "at once"
            elif self._max_waiting and ahead >= self._max_waiting:
                waiter.outcome = "full"
            elif has_all:
                waiter.outcome = "itself"
            elif lower:
                self.stats.queued += 1
                line.low[waiter] = None
            else:
                self.stats.queued += waiting >= 0
                self._reserve = reserve
                line.normal[waiter] = None

    def _seat(self, waiter: Waiter) -> bool:
        """Make a waiter the holder of an idle slot, unless a finaliser has taken the last one just now."""
        idle = self.idle
        # fmt: off
        try:
            slot = idle[-1]; slot.ticket, slot.low = waiter.ticket, waiter.low; slot.holder = waiter.holder; del idle[-1]  # noqa: E501, E702
        except IndexError:
            return False
        # fmt: on
        waiter.holder.held += 1
        waiter.slot = slot
        return True

    def waits_for_itself(self, waiter: Waiter) -> bool:
        """Whether nobody else could ever serve it: its holder has every slot that it may have. Under the lock."""
        left_to_others = Reserve.least(self.size) if waiter.low else 0
        return waiter.holder.held >= self.size - left_to_others

    @property
    def to_spare(self) -> int:
        """Free slots beyond those that low priority leaves to the others."""
        return self.size - self.in_use - self._reserve.at(self.size, self.stats)

    def doubt(self, waiter: Waiter) -> None:
        """Put a waiter's slot among the unready, for a filler to look after. It gets another, or waits as the first."""
        with self.mutex:
            slot = waiter.slot
            waiter.slot = None
            waiter.fresh = waiter.woken = False
            waiter.holder.held -= 1
            slot.holder = None
            self.unready += (slot,)
            if self._seat(waiter):
                pass
            elif self.closed:
                waiter.outcome = "closed meanwhile"
            elif self.waits_for_itself(waiter):  # the size has changed since it asked
                waiter.outcome = "itself"
            else:
                self.line.push_front(waiter)

    def wait_ended(self, waiter: Waiter, late: bool) -> None:
        """A waiter was woken, or it is `late`. It may have been served just before."""
        with self.mutex:
            if waiter.woken:
                waiter.woken = False
                if not waiter.gate.locked():  # it was woken after its wait had ended by itself
                    waiter.gate.acquire()
            if waiter.slot is not None or waiter.outcome:
                return
            if late:
                waiter.outcome = "late"
                self.line.leave(waiter)
            elif self.idle and waiter in self.line.normal:  # those that low priority left to the others
                self.line.leave(waiter)
                if not self._seat(waiter):
                    self.line.push_front(waiter)

    def serve(self, waiter: Waiter, wait_s: float) -> None:
        """Count a waiter as served. Without the lock: after the first line nobody comes between."""
        bucket, wait = bisect_left(BOUNDS_S, wait_s), self.stats.wait
        wait.counts[bucket] += 1
        wait.total_s += wait_s
        waiter.over = True

    def fail(self, waiter: Waiter, counter: str = "") -> None:
        """A checkout that ends without a connection: count it, and make what it had the waiter's claim."""
        with self.mutex:
            slot = waiter.slot
            self.line.leave(waiter)
            if slot is not None and slot.ticket is waiter.ticket and slot.holder is waiter.holder:
                slot.holder = waiter
                waiter.holder.held -= 1
            if not waiter.over:
                waiter.over = True
                self.stats.errors += 1
                self.stats.timeouts += counter == "timeouts"
                self.stats.refused += counter == "refused"
                self.stats.shed += counter == "refused" and waiter.outcome == "shed"

    def turn_away(self, waiter: Waiter, error: Exception) -> None:
        """End a wait with an error, in the line or before it goes there. Who has a slot already may keep it."""
        with self.mutex:
            if waiter in self.line.normal or waiter in self.line.low:
                self.line.turn_away(waiter, error)
            elif not waiter.outcome:
                waiter.outcome = error

    # ---- slots that come back ----

    def put_back(self, slot: Slot, holder: Holder, now: float, held_s: float) -> bool:
        """Give a whole connection to the next waiter, or put it away: the checkin of most. False: nothing was done."""
        bucket, hold = bisect_left(BOUNDS_S, held_s), self.stats.hold
        with self.mutex:
            line = self.line
            if slot.holder is not holder or now >= slot.expires_at:
                return False
            if line.normal:
                if len(self.all) > self.size or line.low:
                    return False
                waiter = next(iter(line.normal)) if line.overload is None else line.first(now)
                self.hand_over(slot, waiter, now, fresh=False)
                hold.total_s += held_s
                hold.counts[bucket] += 1
                return True
            if line.low or len(self.idle) >= self.room:
                return False
            hold.total_s += held_s
            hold.counts[bucket] += 1
            holder.held -= 1
            slot.idle_since = now
            slot.holder = None
            self.idle.append(slot)
            return True

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
            slot, line = claim.slot, self.line
            if slot is None or slot.holder is not claim:
                line.admit_low(self.to_spare)  # who gave up may be whom it waited behind
                return True
            line.admit_low(self.to_spare + 1)  # this one is about to be
            self._set_room()
            surplus = self.opened > self.size
            waiter = line.first(now) if line.normal else None
            full = len(self.idle) >= self.room
            if slot.connection is None:
                slot.holder = None
                self.filling -= filled
                self.unready.append(slot)
                self._drop_surplus()
                return True
            if surplus or now >= slot.expires_at or (full and waiter is None):
                return False
            if waiter is None:
                self.filling -= filled
                slot.idle_since = now
                slot.holder = None
                self.idle.append(slot)
            else:
                self.hand_over(slot, waiter, now, fresh, filled)
            line.admit_low(self.to_spare)
            return True

    def hand_over(self, slot: Slot, waiter: Waiter, now: float, fresh: bool, filled: bool = False) -> None:
        """Make a waiter of the line the holder of a slot. Under the lock."""
        waiter.gate.locked()  # where no call can follow, for the stack ends here, nothing has changed yet
        self.filling -= filled
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
        del self.line.normal[waiter]
        if not waiter.woken:  # twice is as good as once
            waiter.woken = True
            waiter.gate.release()

    # ---- whatever it is ----

    def rebind(self, slot: Slot, holder: Holder) -> None:
        """Make another the holder of a held slot."""
        with self.mutex:
            last = slot.holder
            if isinstance(last, Holder) and slot.holder is last:  # what came up in the call may have given it back
                last.held -= 1
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
