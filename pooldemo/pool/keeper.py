"""The pool's housekeeping: ends old idle connections, opens MIN_CONNS ahead, tells of leaks.

One background thread a pool, a greenlet under the monkey patch. It starts only when an option gives it work to do, and
ends with its pool. Everything that a caller waits for works without it.
"""

import logging
import threading
import warnings
import weakref
from typing import TYPE_CHECKING

from . import connecting, report
from .options import Options

if TYPE_CHECKING:
    from .pool import Pool
    from .slot import Slot

logger = logging.getLogger(__name__)

_SHORTEST_ROUND_S, _LONGEST_ROUND_S = 0.02, 5.0
_CONNECT_LIMIT_S = 30.0  # when POOL_TIMEOUT sets none: a connect ahead that hangs must not keep its slot for ever


def is_needed(options: Options) -> bool:
    """Whether any option asks for a look from time to time."""
    return bool(options.min_conns or options.leak_threshold or options.max_idle or options.max_lifetime)


def tell(text: str, category: type[Warning]) -> None:
    """Warn, and log: a server's log is where people look, and a test's warning filter is where developers do."""
    logger.warning(text)
    _LastWords(text, category)


class _LastWords:
    """Warns when it is deleted, at once. A filter that makes an error of it then stops nobody who happens to run here:
    Python reports it as one that cannot be raised, and pytest fails the test."""

    def __init__(self, text: str, category: type[Warning]) -> None:
        self._told = text, category

    def __del__(self) -> None:
        warnings.warn(*self._told, stacklevel=2)


class Keeper:
    """Looks after one pool, every tenth of the shortest time that matters to it."""

    def __init__(self, pool: "Pool") -> None:
        options = pool.options
        times = [seconds for seconds in (options.max_idle, options.max_lifetime, options.leak_threshold) if seconds]
        self._round_s = min(max(min(times, default=_LONGEST_ROUND_S) / 10, _SHORTEST_ROUND_S), _LONGEST_ROUND_S)
        self._stopped = threading.Event()
        self._pool = weakref.ref(pool)
        self._thread = threading.Thread(target=self._run, name=f"keeper of {pool.name}", daemon=True)

    def start(self) -> None:
        """Begin. Blocks for a moment; the pool must have noted its keeper before: an unknown one ends."""
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        told: dict[Slot, float] = {}
        while True:
            pool = self._pool()
            if pool is None or pool.closed or pool._keeper is not self:
                return
            try:
                look_after(pool, told)
            except Exception:  # a driver's surprise in one round is no reason to end the housekeeping
                logger.exception("the keeper of %r failed in one round", pool)
            del pool  # or it could not be collected while this sleeps
            if self._stopped.wait(self._round_s):
                return


def look_after(pool: "Pool", told: "dict[Slot, float]") -> None:
    """One round. Blocks while it connects. `told`: the holdings that were warned of, by slot and when it was taken."""
    pool._reap()
    _tell_of_leaks(pool, told)
    _end_the_old(pool)
    _open_ahead(pool)


def _end_the_old(pool: "Pool") -> None:
    """Close idle connections past MAX_LIFETIME, and past MAX_IDLE those above MIN_CONNS; the one idle longest first."""
    options, capacity = pool.options, pool._capacity
    now = pool._clock()
    old: list[Slot] = []
    with pool._mutex:
        spare = capacity.opened - options.min_conns
        for slot in list(capacity.idle):
            too_idle = options.max_idle and now - slot.idle_since >= options.max_idle and len(old) < spare
            if now >= slot.expires_at or too_idle:
                capacity.idle.remove(slot)
                old.append(slot)
    for slot in old:
        pool._close(slot)
        pool._put(slot)


def _open_ahead(pool: "Pool") -> None:
    """Connect until MIN_CONNS are open. A failure is logged and tried again in the next round."""
    while True:
        with pool._mutex:
            if pool.closed or pool._capacity.opened >= pool.options.min_conns or not pool._capacity.empty:
                return
            slot = pool._capacity.empty.pop()
        try:
            connecting.connect(pool, slot, pool._clock() + (pool.options.pool_timeout or _CONNECT_LIMIT_S))
        except Exception as error:
            logger.warning("MIN_CONNS: %r cannot connect ahead: %s", pool, error)
            return
        finally:
            pool._put(slot)


def _tell_of_leaks(pool: "Pool", told: "dict[Slot, float]") -> None:
    """Warn once of each slot that is held longer than LEAK_THRESHOLD, with what its holder is doing."""
    threshold_s = pool.options.leak_threshold
    if not threshold_s:
        return
    for slot in list(pool._capacity.slots):
        if slot.holder is None or pool._clock() - slot.taken_at < threshold_s or told.get(slot) == slot.taken_at:
            continue
        told[slot] = slot.taken_at
        holding = report.holding(pool, slot)
        text = f"a connection of {pool!r} is held longer than LEAK_THRESHOLD={threshold_s:g} s by {holding}"
        tell(f"{text}. It is in:\n{holding.stack()}", ResourceWarning)
