"""A slot, a checkout that waits for one, and a claim of the pool's own. No decisions here: see `slots.py`."""

import threading
from typing import Any

from .holder import Holder


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
        """Its connection is about to be closed."""
        if self.connection is not None:
            self.leaving = self.connection
            self.connection = None


class Waiter:
    """One checkout that waits. What came of it stands in `slot` or `outcome`, set under the lock before it is woken."""

    __slots__ = (
        "asked_at", "fills", "fresh", "gate", "holder", "low", "outcome", "over", "slot", "ticket", "timeout", "woken",
    )  # fmt: skip

    def __init__(
        self,
        holder: Holder,
        timeout: float | None,
        asked_at: float,
        ticket: object,
        slot: "Slot | None" = None,
        low: bool = False,
    ) -> None:
        self.holder, self.timeout, self.asked_at, self.ticket = holder, timeout, asked_at, ticket
        self.slot: Any = slot
        self.low = low  # of low priority: never takes the last slots
        self.fresh = False  # its connection needs no look: it was opened or pinged just now
        self.fills = False  # it must fill a slot itself: no thread can be started
        self.over = slot is None  # not counted as asked yet, or already as served or failed
        # Why it gets no slot: "closed (meanwhile)", "full", "itself", "at once", "late", "down", "shed", or `open`'s
        # error.
        self.outcome: str | Exception = ""
        self.woken = False
        self.gate = threading.Lock()  # under the monkey patch: a greenlet's lock
        self.gate.acquire()
