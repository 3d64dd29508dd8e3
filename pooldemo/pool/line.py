"""The line of waiters: who is served next. Nothing here blocks but `Waiter.wait`; the pool's lock guards the rest."""

import threading
from bisect import insort
from collections import OrderedDict

from .slot import Slot


class Waiter:
    """One greenlet or thread that waits. `slot` or `error` is set, under the pool's lock, before it is woken.

    `own` is the empty slot that a waiter keeps while it waits to connect again; a plain waiter has none.
    """

    __slots__ = ("_gate", "error", "own", "slot", "ticket")

    def __init__(self, ticket: int) -> None:
        self.ticket = ticket
        self.slot: Slot | None = None
        self.error: Exception | None = None
        self.own: Slot | None = None
        self._gate = threading.Lock()  # under the monkey patch: a greenlet's lock
        self._gate.acquire()

    def __lt__(self, other: "Waiter") -> bool:
        return self.ticket < other.ticket

    @property
    def served(self) -> bool:
        return self.slot is not None or self.error is not None

    def wait(self, timeout: float | None) -> None:
        """Block until woken or for `timeout` seconds (None: no limit). What came of it stands in `slot` and `error`."""
        self._gate.acquire(timeout=-1 if timeout is None else max(timeout, 0.0))

    def wake(self) -> None:
        """Let `wait` return. Does not block and, under gevent, does not switch."""
        self._gate.release()


class Line:
    """Waiters in the order of their tickets; joining, leaving and serving the next cost the same for ten and for ten thousand.

    Those who wait to connect again (`own` is set) are few, at most one a slot, and older than all the others: a slot
    goes out in the order of tickets, and a waiter joins only when there is none. So they come first when a live
    connection is given away, and never when an empty slot is: they have one.
    """

    __slots__ = ("_plain", "_retrying", "count")

    def __init__(self) -> None:
        self._plain: OrderedDict[Waiter, None] = OrderedDict()  # O(1) to leave from anywhere
        self._retrying: list[Waiter] = []
        self.count = 0

    def join(self, waiter: Waiter) -> None:
        self.count += 1
        if waiter.own is None:
            self._plain[waiter] = None
        else:
            insort(self._retrying, waiter)

    def leave(self, waiter: Waiter) -> None:
        self.count -= 1
        if waiter.own is None:
            del self._plain[waiter]
        else:
            self._retrying.remove(waiter)

    def next_for(self, slot: Slot) -> Waiter | None:
        """Take the next waiter whom this slot serves out of the line."""
        if slot.connection is not None and self._retrying:
            waiter = self._retrying.pop(0)
        elif self._plain:
            waiter = self._plain.popitem(last=False)[0]
        else:
            return None
        self.count -= 1
        return waiter

    def older_retrying(self, ticket: int) -> Waiter | None:
        """Take the first one out of the line who waits to connect again and came before `ticket`."""
        if self._retrying and self._retrying[0].ticket < ticket:
            self.count -= 1
            return self._retrying.pop(0)
        return None

    def all(self) -> list[Waiter]:
        """Empty the line."""
        everyone = [*self._retrying, *self._plain]
        self._retrying.clear()
        self._plain.clear()
        self.count = 0
        return everyone
