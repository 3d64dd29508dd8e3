"""Whether the line of waiters stands, and who is served then: CoDel's question, and adaptive LIFO for an answer.

A line that is never empty and whose first waiter has always waited for long only delays everybody, and the first are
those whose clients have given up. While it stands the newest is served, who is still waited for, and who has waited too
long is refused. (K. Nichols, V. Jacobson: Controlling Queue Delay, 2012; B. Maurer: Fail at Scale, 2015.)
"""

from collections import OrderedDict

from .slot import Waiter

INTERVAL_S = 0.1  # over which the least wait is taken
_STANDS_S = 0.05  # a least wait above this: the line stands
_HOPELESS_S = 0.5  # who has waited for longer in a line that stands is refused


class Overload:
    """Looks at the line whenever somebody joins or leaves it. Under the pool's lock; calls nothing."""

    __slots__ = ("_ends_at", "_least_s", "stands")

    def __init__(self) -> None:
        self.stands = False
        self._least_s = float("inf")
        self._ends_at = float("-inf")

    def look(self, line: "OrderedDict[Waiter, None]", now: float) -> None:
        """Take note of how long the first of the line has waited."""
        wait_s = now - next(iter(line)).asked_at if line else 0.0
        self._least_s = min(self._least_s, wait_s)
        if now >= self._ends_at:
            self.stands = self._least_s > _STANDS_S
            self._least_s, self._ends_at = wait_s, now + INTERVAL_S

    def hopeless(self, line: "OrderedDict[Waiter, None]", now: float) -> Waiter | None:
        """The first of the line, if it is to be refused."""
        first = next(iter(line), None)
        return first if self.stands and first is not None and now - first.asked_at > _HOPELESS_S else None
