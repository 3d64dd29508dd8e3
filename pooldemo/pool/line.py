"""The line of those who wait for a slot: first in, first out, low priority behind all, and overload shed if asked.

A line that is never empty and whose first waiter has always waited for long only delays everybody, and the first are
those whose clients have given up. While it stands the newest is served, who is still waited for, and who has waited too
long is refused. (K. Nichols, V. Jacobson: Controlling Queue Delay, 2012; B. Maurer: Fail at Scale, 2015.)
"""

import math
from collections import OrderedDict
from dataclasses import dataclass
from itertools import takewhile

from .options import Options
from .report import Stats
from .slot import Holder, Slot, Waiter

INTERVAL_S = 0.1  # over which the least wait is taken
_STANDS_S = 0.05  # a least wait above this: the line stands
_HOPELESS_S = 0.5  # who has waited for longer in a line that stands is refused
_OTHERS = 100  # checkouts of the others, of which low priority may keep about one waiting


class Line:
    """Who waits. Under the pool's lock; the order is the dictionary's, which anybody leaves in constant time.

    `normal`: those who are served, the first of them first. `low`: of low priority, who join them when slots are to
    spare. A waiter is in one of them, or in neither.
    """

    def __init__(self, options: Options) -> None:
        self.normal: OrderedDict[Waiter, None] = OrderedDict()
        self.low: OrderedDict[Waiter, None] = OrderedDict()
        self.configure(options)

    def configure(self, options: Options) -> None:
        """Set whether it is shed when it stands; who waits goes on."""
        self.overload = Overload() if options.overload == "shed" else None

    def first(self, now: float) -> Waiter:
        """Whose turn it is, where anybody waits."""
        if self.overload is None:
            return next(iter(self.normal))
        self.look(now)
        return next(reversed(self.normal) if self.overload.stands else iter(self.normal))

    def look(self, now: float) -> None:
        """See whether it stands, and refuse who has waited too long in it, but for the last one."""
        if self.overload is None:
            return
        self.overload.look(self.normal, now)
        while len(self.normal) > 1 and (waiter := self.overload.hopeless(self.normal, now)):
            self.turn_away(waiter, "shed")

    def admit_low(self, spare: int) -> None:
        """Let the first of low priority join the others if slots are to spare. It is woken, for one may be idle."""
        if self.low and not self.normal and spare > 0:
            waiter = next(iter(self.low))
            del self.low[waiter]
            self.normal[waiter] = None
            if not waiter.woken:
                waiter.woken = True
                waiter.gate.release()

    def push_front(self, waiter: Waiter) -> None:
        """Whose slot turned out to be doubtful waits as the first, but for those who came before and had the same."""
        before = list(takewhile(lambda each: each.asked_at < waiter.asked_at and not each.low, list(self.normal)))
        self.normal[waiter] = None
        for each in (waiter, *reversed(before)):
            if each in self.normal:  # a finaliser may have served it just now
                self.normal.move_to_end(each, last=False)

    def leave(self, waiter: Waiter) -> None:
        """Wait no longer, if it did."""
        if waiter in self.normal:
            del self.normal[waiter]
        elif waiter in self.low:
            del self.low[waiter]

    def everybody(self) -> list[Waiter]:
        """All who wait."""
        return [*self.normal, *self.low]

    def turn_away(self, waiter: Waiter, outcome: str | Exception) -> None:
        """End a wait in the line."""
        waiter.gate.locked()  # as in `Slots.hand_over`
        waiter.outcome = outcome
        del (self.normal if waiter in self.normal else self.low)[waiter]
        if not waiter.woken:
            waiter.woken = True
            waiter.gate.release()


class Overload:
    """Whether the line stands: CoDel's question. Looks at it whenever somebody joins or leaves; calls nothing."""

    __slots__ = ("_ends_at", "_least_s", "stands")

    def __init__(self) -> None:
        self.stands = False
        self._least_s = float("inf")
        self._ends_at = float("-inf")

    def look(self, line: "OrderedDict[Waiter, None]", now: float) -> None:
        """Take note of how long the first of the line has waited."""
        first = next(iter(line), None)
        wait_s = 0.0 if first is None or first.low else now - first.asked_at  # low priority has waited behind the line
        self._least_s = min(self._least_s, wait_s)
        if now >= self._ends_at:
            self.stands = self._least_s > _STANDS_S
            self._least_s, self._ends_at = wait_s, now + INTERVAL_S

    def hopeless(self, line: "OrderedDict[Waiter, None]", now: float) -> Waiter | None:
        """The first of the line, if it is to be refused."""
        first = next(iter(line), None)
        is_hopeless = first is not None and not first.low and now - first.asked_at > _HOPELESS_S
        return first if self.stands and is_hopeless else None


@dataclass(frozen=True)
class Reserve:
    """The slots that low priority leaves to the others: as many as they turn out to need.

    A quarter, from two slots on at least one; one more when somebody had to wait while low priority had a slot, up to
    all but one; and from then on one less for each hundred checkouts of the others. So about one in a hundred waits,
    however many of them come at once: a quarter of four slots is one, and keeps the second of two waiting.
    """

    level: int = 0
    since: int = 0  # this many checkouts of the others

    @staticmethod
    def least(size: int) -> int:
        """What it falls to."""
        return min(size - 1, max(1, size // 4))

    def at(self, size: int, stats: Stats) -> int:
        """How many it is now."""
        fallen = math.ceil(self.level - (stats.asked - stats.asked_low - self.since) / _OTHERS)
        return max(self.least(size), min(size - 1, fallen))

    def raised(self, size: int, stats: Stats, slots: list[Slot]) -> "Reserve":
        """What it becomes when one of the others has to wait: the same, if that is not for low priority."""
        if not any(slot.low and isinstance(slot.holder, Holder) for slot in slots):
            return self
        return Reserve(min(size - 1, self.at(size, stats) + 1), stats.asked - stats.asked_low + 1)  # after this one
