"""The pool's housekeeping: ends old idle connections, opens MIN_CONNS ahead, tells of leaks.

One background thread a pool, a greenlet under the monkey patch. It starts only when an option gives it work to do, and
ends with its pool. Everything that a caller waits for works without it.
"""

import logging
import threading
import weakref

from . import connecting, orphans, report
from .options import Options
from .slot import Slot
from .store import Store

logger = logging.getLogger(__name__)

_SHORTEST_ROUND_S, _LONGEST_ROUND_S = 0.02, 5.0
_CONNECT_LIMIT_S = 30.0  # when POOL_TIMEOUT sets none: a connect ahead that hangs must not keep its slot for ever


def is_needed(options: Options) -> bool:
    """Whether any option asks for a look from time to time."""
    return bool(options.min_conns or options.leak_threshold or options.max_idle or options.max_lifetime)


def keep(store: Store) -> None:
    """Start the housekeeping, if there is any to do and it does not run."""
    if store._keeper is None and is_needed(store.options):
        store._keeper = new = Keeper(store)
        new.start()


class Keeper:
    """Looks after one pool, every tenth of the shortest time that matters to it."""

    def __init__(self, store: Store) -> None:
        options = store.options
        times = [seconds for seconds in (options.max_idle, options.max_lifetime, options.leak_threshold) if seconds]
        self._round_s = min(max(min(times, default=_LONGEST_ROUND_S) / 10, _SHORTEST_ROUND_S), _LONGEST_ROUND_S)
        self._ended = store._ended
        self._store = weakref.ref(store)
        self._thread = threading.Thread(target=self._run, name=f"keeper of {store.name}", daemon=True)

    def start(self) -> None:
        """Begin. Blocks for a moment; the store must have noted its keeper before: an unknown one ends."""
        self._thread.start()

    def _run(self) -> None:
        told: dict[Slot, float] = {}
        while True:
            store = self._store()
            if store is None or store.closed or store._keeper is not self:
                return
            try:
                look_after(store, told)
            except Exception:  # a driver's surprise in one round is no reason to end the housekeeping
                logger.exception("the keeper of %r failed in one round", store)
            del store  # or it could not be collected while this sleeps
            if self._ended.wait(self._round_s):
                return


def look_after(store: Store, told: dict[Slot, float]) -> None:
    """One round. Blocks while it connects. `told`: the holdings that were warned of, by slot and when it was taken."""
    orphans.reap(store)
    _tell_of_leaks(store, told)
    _end_the_old(store)
    _open_ahead(store)


def _end_the_old(store: Store) -> None:
    """Close idle connections past MAX_LIFETIME, and past MAX_IDLE those above MIN_CONNS; the one idle longest first."""
    options, capacity = store.options, store._capacity
    now = store._clock()
    old: list[Slot] = []
    with store._mutex:
        spare = capacity.opened - options.min_conns
        for slot in list(capacity.idle):
            too_idle = options.max_idle and now - slot.idle_since >= options.max_idle and len(old) < spare
            if now >= slot.expires_at or too_idle:
                capacity.idle.remove(slot)
                old.append(slot)
    for slot in old:
        store._close(slot)
        store._put(slot)


def _open_ahead(store: Store) -> None:
    """Connect until MIN_CONNS are open. A failure is logged and tried again in the next round."""
    while True:
        with store._mutex:
            if store.closed or store._capacity.opened >= store.options.min_conns or not store._capacity.empty:
                return
            slot = store._capacity.empty.pop()
        try:
            connecting.connect(store, slot, store._clock() + (store.options.pool_timeout or _CONNECT_LIMIT_S))
        except Exception as error:
            logger.warning("MIN_CONNS: %r cannot connect ahead: %s", store, error)
            return
        finally:
            store._put(slot)


def _tell_of_leaks(store: Store, told: dict[Slot, float]) -> None:
    """Warn once of each slot that is held longer than LEAK_THRESHOLD, with what its holder is doing."""
    threshold_s = store.options.leak_threshold
    if not threshold_s:
        return
    for slot in list(store._capacity.slots):
        if slot.holder is None or store._clock() - slot.taken_at < threshold_s or told.get(slot) == slot.taken_at:
            continue
        told[slot] = slot.taken_at
        holding = report.holding(store, slot)
        text = f"a connection of {store!r} is held longer than LEAK_THRESHOLD={threshold_s:g} s by {holding}"
        report.tell(f"{text}. It is in:\n{holding.stack()}", ResourceWarning)
