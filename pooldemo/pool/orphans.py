"""Holders that ended without checkin: how a pool learns of them, and takes their slots back."""

import _thread
import contextlib
import os
import weakref

from . import report
from .slot import Holder, Lifeline
from .store import Store


def holder_of(store: Store) -> Holder:
    """The calling greenlet or thread as a holder, and the thread-local that tells when it has ended."""
    local, ref = store._local, weakref.ref(store)  # weak, or every thread would keep every pool it ever used

    def orphaned(holder: Holder) -> None:
        if (of := ref()) is not None:
            _note(of, holder)

    holder: Holder = Holder(store._task())
    local.holder, local.lifeline = holder, Lifeline(holder, orphaned)
    return holder


def _note(store: Store, holder: Holder) -> None:
    """Called by the garbage collector, anywhere, perhaps in one under the lock: leaves the work to others."""
    if os.getpid() != store._pid:  # a thread that a fork has ended on this side: what it holds is the parent's
        return
    store._orphans.append(holder)
    with contextlib.suppress(RuntimeError):  # the interpreter is ending, and its threads and sockets with it
        _thread.start_new_thread(reap, (store,))


def reap(store: Store) -> None:
    """Take back the slots of holders that ended. Closing their connections rolls back what they began."""
    while store._orphans:
        try:
            holder = store._orphans.popleft()
        except IndexError:  # another thread took the last one
            return
        for slot in list(holder.slots):
            held = report.holding(store, slot)
            store.stats.orphans += 1
            store._release(slot, holder, reusable=False)
            text = f"{holder.task.name} ended without giving a connection of {store!r} back: {held}"
            report.tell(text, ResourceWarning)
