"""A slot, and whose it may be: a holder's, a waiter's, or the pool's own, by a claim. Decisions are in `slots.py`."""

import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, Protocol


class Task(Protocol):
    """The greenlet or thread that a holder is."""

    @property
    def name(self) -> str: ...

    @property
    def keeps(self) -> str:
        """What to do when it keeps a connection for long, as an error's last words; empty when there is no rule."""
        ...

    def stack(self) -> str:
        """What it is doing now, as a traceback's text; empty when it has ended."""
        ...

    def keep(self, thing: object) -> bool:
        """Keep a thing for as long as it lives; False: what is local to it, in a `threading.local`, does that."""
        ...


class ThreadTask:
    """The current thread, as a Task."""

    keeps = "a thread must call connection.close() when its work is done, or it keeps its connection until it ends"

    def __init__(self) -> None:
        self._ident = threading.get_ident()
        self.name = threading.current_thread().name

    def stack(self) -> str:
        frame = sys._current_frames().get(self._ident)
        return "".join(traceback.format_stack(frame)) if frame else ""

    def keep(self, thing: object) -> bool:
        return False


class Holder:
    """One greenlet or thread, as a pool sees it. `held` counts its slots, under the pool's lock."""

    __slots__ = ("held", "task")

    def __init__(self, task: Task) -> None:
        self.task = task
        self.held = 0


class Lifeline:
    """Is collected when a holder ends: that is how the pool learns of slots never given back.

    It lives in a `threading.local`, or where the task keeps it, or on the object that the checkouts are bound to, and
    nowhere else. The holder itself would not do: the slots it holds refer to it.
    """

    __slots__ = ("_orphaned", "holder")

    def __init__(self, holder: Holder, orphaned: Callable[[Holder], None]) -> None:
        self.holder = holder
        self._orphaned = orphaned

    def __del__(self) -> None:
        if self.holder.held:
            self._orphaned(self.holder)


class Claim:
    """What the pool itself does with a slot: closes it, or fills it."""

    __slots__ = ("held", "slot")

    def __init__(self) -> None:
        self.held = 0  # as a Holder has it; nobody reads it
        self.slot: Any = None  # the Slot that it got, if any


class Slot:
    """The right to hold one server connection. It outlives its connection and always goes back to its pool.

    `holder` is who has it; None, and only None, when it lies in `idle` or `unready`. `connection` is one that can be
    used, `leaving` a closed or half-open one that the server may still count: it goes before another may come.
    `ticket` is what its holder, or the last one, knows its checkout by, and `low` whether that is of low priority; a
    decision sets them before `holder`.
    `taken_at`, `idle_since` and `expires_at` are the clock's seconds, and so is `left_at`, since when the present
    `leaving` is waited for; `told`: people know that it takes long.
    """

    __slots__ = (
        "connection", "expires_at", "holder", "home", "idle_since", "leaving", "left_at", "low", "taken_at", "ticket",
        "told", "uses",
    )  # fmt: skip

    def __init__(self, home: object) -> None:
        self.home = home  # the `Slots.home` it belongs to
        self.holder: Holder | Claim | None = None
        self.connection: Any = None
        self.leaving: Any = None
        self.expires_at = float("inf")
        self.idle_since = self.left_at = 0.0
        self.taken_at = 0.0
        self.ticket: object = None
        self.low = False
        self.told = False
        self.uses = 0

    def vacate(self) -> None:
        """Its connection is about to be closed: nobody is given it any more."""
        if self.connection is not None:
            self.expires_at = float("-inf")
            self.leaving = self.connection


class Gate(Protocol):
    """A lock that is locked: who waits in it is let go by another's `release`, one call of C that no signal divides."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...

    def release(self) -> None: ...

    def locked(self) -> bool: ...


def closed_gate() -> Gate:
    """A thread's; under the monkey patch a greenlet's."""
    gate = threading.Lock()
    gate.acquire()
    return gate


class Waiter(Claim):
    """One checkout that waits. What came of it stands in `slot` or `outcome`, set under the lock before it is woken.

    Where it fails it is a claim on the slot that it had.
    """

    __slots__ = (
        "asked_at", "fills", "fresh", "gate", "holder", "low", "outcome", "over", "ticket", "timeout", "woken",
    )  # fmt: skip

    def __init__(
        self,
        holder: Holder,
        timeout: float | None,
        asked_at: float,
        ticket: object,
        gate: Gate,
        slot: "Slot | None" = None,
        low: bool = False,
    ) -> None:
        self.holder, self.timeout, self.asked_at, self.ticket = holder, timeout, asked_at, ticket
        self.held = 0
        self.slot = slot
        self.low = low  # of low priority: never takes the last slots
        self.fresh = False  # its connection needs no look: it was opened or pinged just now
        self.fills = False  # it must fill a slot itself: no thread can be started
        self.over = slot is None  # not counted as asked yet, or already as served or failed
        # Why it gets no slot: "closed (meanwhile)", "full", "itself", "at once", "late", "down", "shed", or `open`'s
        # error.
        self.outcome: str | Exception = ""
        self.woken = False
        self.gate = gate
