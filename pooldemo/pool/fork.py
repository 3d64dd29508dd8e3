"""A forked child has empty pools of its own, and never touches its parent's connections."""

import os
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .pool import Pool

_all: "weakref.WeakSet[Pool]" = weakref.WeakSet()
_of_the_parent: dict[object, Any] = {}  # kept for ever: collecting them would say goodbye on sockets that it still uses


def register(pool: "Pool") -> None:
    """Let a child of this process begin with an empty copy of `pool`, which is complete by now."""
    _all.add(pool)


def is_of_the_parent(home: object) -> bool:
    """Whether these slots are the parent's: it gives them back, not we."""
    return home in _of_the_parent


def _forget_after_fork() -> None:
    for pool in list(_all):
        slots = pool.slots
        _of_the_parent[slots.home] = pool.start_afresh()
        for slot in slots.all:  # or the end of this side's copy of a thread would be taken for the end of a holder
            slot.holder = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
