"""A forked child: it has empty pools of its own, and never touches its parent's connections."""

import os
import weakref
from typing import Any

pools: "weakref.WeakSet[Any]" = weakref.WeakSet()
of_the_parent: dict[object, Any] = {}  # kept for ever: collecting them would say goodbye on sockets that it still uses


def _forget_after_fork() -> None:
    for pool in list(pools):
        slots = pool.slots
        of_the_parent[slots.home] = slots, pool._local
        slots.closed = True  # greenlets go on in a child: no filler of the parent's connects here for it
        pool.start_afresh(pool.connector, pool.options)
        for slot in slots.all:  # or the end of this side's copy of a thread would be taken for the end of a holder
            slot.holder = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
