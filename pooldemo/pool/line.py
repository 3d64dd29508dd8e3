"""The line of waiters: who is served next. Nothing here blocks but `Waiter.wait`; the pool's lock guards the rest."""

import threading
from bisect import insort
from collections import OrderedDict

from .slot import Slot


class Waiter:
    """One greenlet or thread that waits. `slot` or `error` is set, under the pool's lock, before it is woken.

    `own` is the slot of one that connects, or waits to connect again; a plain waiter has none. Whoever serves it may
    take `own` in exchange: what a waiter has to give back is always in `own` and `slot`.
    """

    __slots__ = ("_gate", "error", "own", "slot", "ticket", "waiting")

    def __init__(self, ticket: int, own: Slot | None = None) -> None:
        self.ticket = ticket
        self.own = own
        self.slot: Slot | None = None
        self.error: Exception | None = None
        self.waiting = False  # in the line
        self._gate = threading.Lock()  # under the monkey patch: a greenlet's lock
        self._gate.acquire()

    def __lt__(self, other: "Waiter") -> bool:
        return self.ticket < other.ticket

    def owned(self) -> Slot:
        """The slot that it has by now. Raises RuntimeError when it has none."""
        if self.own is None:
            raise RuntimeError("bug: a waiter was woken without a slot or an error")
        return self.own

    def wait(self, timeout: float | None) -> None:
        """Block until woken or for `timeout` seconds (None: no limit). What came of it stands in `slot` and `error`."""
        self._gate.acquire(timeout=-1 if timeout is None else min(timeout, threading.TIMEOUT_MAX))

    def wake(self) -> None:
        """Let `wait` return. Does not block and, under gevent, does not switch."""
        self._gate.release()


class Line:
    """Waiters in the order of their tickets. Joining, leaving and serving cost the same for ten and for ten thousand.

    Those who wait to connect again are few, at most one a slot, and older than all the others: slots go out in the
    order of tickets, and a waiter joins only when there is none. So they come first when a live connection is given
    away, and are passed over when an empty slot is: they have one.
    """

    __slots__ = ("_plain", "_retrying", "count")

    def __init__(self) -> None:
        self._plain: OrderedDict[Waiter, None] = OrderedDict()  # O(1) to leave from anywhere
        self._retrying: list[Waiter] = []
        self.count = 0

    def join(self, waiter: Waiter) -> None:
        waiter.waiting = True
        self.count += 1
        if waiter.own is None:
            self._plain[waiter] = None
        else:
            insort(self._retrying, waiter)

    def leave(self, waiter: Waiter) -> None:
        """Nothing happens when the waiter does not wait."""
        if not waiter.waiting:
            return
        waiter.waiting = False
        self.count -= 1
        if waiter.own is None:
            del self._plain[waiter]
        else:
            self._retrying.remove(waiter)

    def next_for(self, slot: Slot) -> Waiter | None:
        """Take the next waiter whom this slot serves out of the line."""
        if slot.connection is not None and self._retrying:
            return self._taken(self._retrying.pop(0))
        if self._plain:
            return self._taken(self._plain.popitem(last=False)[0])
        return None

    def older_retrying(self, ticket: int) -> Waiter | None:
        """Take the first one out of the line who waits to connect again and came before `ticket`."""
        if self._retrying and self._retrying[0].ticket < ticket:
            return self._taken(self._retrying.pop(0))
        return None

    def everyone(self) -> list[Waiter]:
        """Take all out of the line."""
        all_of_them = [*self._retrying, *self._plain]
        for waiter in all_of_them:
            self.leave(waiter)
        return all_of_them

    def _taken(self, waiter: Waiter) -> Waiter:
        waiter.waiting = False
        self.count -= 1
        return waiter
