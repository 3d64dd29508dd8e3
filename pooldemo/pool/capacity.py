"""Where each slot is, and where a free one goes. Every method is one decision under the pool's lock; none waits."""

from collections import deque

from .line import Line
from .slot import Slot


class Capacity:
    """The slots of one pool.

    Invariants: every slot of `slots` is in exactly one place: `empty`, `idle`, a retrying waiter's `own`, or somebody's
    hands. `len(slots) <= size`, except after a `resize` downwards until the surplus has come back. While anybody waits,
    `idle` is empty; while a plain waiter waits, `empty` is too.
    """

    def __init__(self, size: int, keep_idle: int | None) -> None:
        self.size = size
        self.closed = False
        self.slots = [Slot() for _ in range(size)]
        self.empty = list(self.slots)
        self.idle: deque[Slot] = deque()  # last in, first out: those that nobody needs grow old on the left
        self.line = Line()
        self._keep_idle = keep_idle
        self._set_room()

    @property
    def opened(self) -> int:
        """Slots with a connection, or with one on its way."""
        return len(self.slots) - len(self.empty)

    @property
    def in_use(self) -> int:
        """Slots in somebody's hands."""
        return self.opened - len(self.idle)

    def claim(self) -> Slot | None:
        """A free slot, if there is one: rather with a connection than without."""
        if self.closed:
            return None
        if self.idle:
            return self.idle.pop()
        return self.empty.pop() if self.empty else None

    def settle(self, slot: Slot, now: float) -> bool:
        """Give a free slot to the next waiter, or put it away. True: not done, its connection must be closed first."""
        full = slot.connection is not None
        surplus = len(self.slots) > self.size
        if full and (surplus or now >= slot.expires_at):
            return True
        if surplus:
            self.slots.remove(slot)
            self._set_room()
        elif waiter := self.line.next_for(slot):
            waiter.slot = slot
            waiter.wake()
        elif not full:
            self.empty.append(slot)
        elif len(self.idle) >= self.room:
            return True
        else:
            slot.idle_since = now
            self.idle.append(slot)
        return False

    def resize(self, size: int) -> list[Slot]:
        """Set the size. Returns free slots that are to be settled again: new ones, or those that must go."""
        self.size = size
        moved: list[Slot] = []
        while len(self.slots) < size:
            self.slots.append(slot := Slot())
            moved.append(slot)
        surplus = len(self.slots) - size
        while len(moved) < surplus and self.empty:
            moved.append(self.empty.pop())
        while len(moved) < surplus and self.idle:
            moved.append(self.idle.popleft())
        self._set_room()
        return moved

    def shed(self) -> list[Slot]:
        """Make every connection of now old. Returns the slots of those that idled, to be settled again."""
        for slot in self.slots:
            if slot.connection is not None:
                slot.expires_at = float("-inf")
        idle = list(self.idle)
        self.idle.clear()
        return idle

    def close(self) -> None:
        """From now on nothing is claimed and nothing idles."""
        self.closed = True
        self._set_room()

    def _set_room(self) -> None:
        """How many may idle: as many as are kept at this size; none while it shrinks or when it is closed."""
        keep = self.size if self._keep_idle is None else min(self._keep_idle, self.size)
        self.room = 0 if self.closed or len(self.slots) > self.size else keep
