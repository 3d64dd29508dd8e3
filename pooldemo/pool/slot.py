"""A slot, and who holds it. No decisions here: `pool.py` moves slots about, always under its lock."""

import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


class Slot:
    """The right to hold one server connection. It outlives its connection and always goes back to its pool.

    Where it may be is said by `Capacity`. `holder` is set while somebody holds it with a working connection;
    `taken_at`, `idle_since` and `expires_at` are the clock's seconds.
    """

    __slots__ = ("connection", "expires_at", "holder", "idle_since", "taken_at", "uses")

    def __init__(self) -> None:
        self.holder: Holder | None = None
        self.taken_at = 0.0
        self.idle_since = 0.0
        self.vacate()

    def vacate(self) -> None:
        """Forget the connection; whoever calls has closed it."""
        self.connection: Any = None
        self.expires_at = float("inf")
        self.uses = 0


class Task(Protocol):
    """The greenlet or thread that a holder is."""

    @property
    def name(self) -> str: ...

    def stack(self) -> str:
        """What it is doing now, as a traceback's text; empty when it has ended."""
        ...


class ThreadTask:
    """The current thread, as a Task."""

    def __init__(self) -> None:
        self._ident = threading.get_ident()
        self.name = threading.current_thread().name

    def stack(self) -> str:
        frame = sys._current_frames().get(self._ident)
        return "".join(traceback.format_stack(frame)) if frame else ""


class Holder:
    """What one greenlet or thread holds of one pool."""

    __slots__ = ("slots", "task")

    def __init__(self, task: Task) -> None:
        self.task = task
        self.slots: set[Slot] = set()


class Lifeline:
    """Is collected when a holder's greenlet or thread ends: that is how the pool learns of slots never given back.

    It lives in a `threading.local` and nowhere else. The holder itself would not do: the slots it holds refer to it.
    """

    __slots__ = ("_holder", "_orphaned")

    def __init__(self, holder: Holder, orphaned: Callable[[Holder], None]) -> None:
        self._holder = holder
        self._orphaned = orphaned

    def __del__(self) -> None:
        if self._holder.slots:
            self._orphaned(self._holder)


@dataclass(frozen=True, slots=True)
class Holding:
    """One held slot, as told to people: who holds it, for how many seconds, and the last statement's first words."""

    name: str
    held_s: float
    statement: str
    stack: Callable[[], str]

    def __str__(self) -> str:
        return f"{self.name} for {self.held_s:.1f} s" + (f" ({self.statement})" if self.statement else "")
