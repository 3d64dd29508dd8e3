"""Who holds a slot: a greenlet or thread, and how the pool learns that it has ended. No decisions here."""

import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


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


@dataclass(frozen=True, slots=True)
class Holding:
    """One held slot, as told to people: who holds it, for how many seconds, and the last statement's first words."""

    name: str
    held_s: float
    statement: str
    stack: Callable[[], str]
    keeps: str = ""

    def __str__(self) -> str:
        return f"{self.name} for {self.held_s:.1f} s" + (f" ({self.statement})" if self.statement else "")
