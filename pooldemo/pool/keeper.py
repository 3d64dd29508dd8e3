"""The pool's housekeeping: ends old idle connections, opens MIN_CONNS ahead, tells of leaks.

One background thread a pool, a greenlet under the monkey patch. It starts only when an option gives it work to do, and
ends with its pool. Everything that a caller waits for works without it.
"""

import contextlib
import functools
import logging
import weakref
from typing import TYPE_CHECKING

from . import filler, report
from .holder import Holder
from .options import Options
from .slot import Claim, Slot

if TYPE_CHECKING:
    from .pool import Pool

logger = logging.getLogger(__name__)

_SHORTEST_ROUND_S, _LONGEST_ROUND_S = 0.02, 5.0


class Keeper:
    """Looks after one pool, every tenth of the shortest time that matters to it."""

    def __init__(self, pool: "Pool") -> None:
        self._ended = pool.ended
        self._pool = weakref.ref(pool)
        self._run_in_background = pool.start
        self._work: weakref.ref[functools.partial[None]] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started, and has neither ended nor been stopped before it came."""
        return self._work is not None and self._work() is not None

    def start(self) -> None:
        """Begin, if there is any work and it has not begun. Neither blocks nor fails."""
        if self.running:
            return
        pool = self._pool()
        if pool is not None and is_needed(pool.options):
            work = functools.partial(self._run)
            self._work = weakref.ref(work)
            with contextlib.suppress(RuntimeError):  # no thread can be started now: the next one tries again
                self._run_in_background(work)

    def _run(self) -> None:
        told: dict[Slot, float] = {}
        while True:
            pool = self._pool()
            if pool is None or pool.closed or not is_needed(pool.options):  # they may have changed
                return
            try:
                look_after(pool, told)
            except Exception:  # a driver's surprise in one round is no reason to end the housekeeping
                logger.exception("the keeper of %r failed in one round", pool)
            round_s = _round_s(pool.options)
            del pool  # or it could not be collected while this sleeps
            if self._ended.wait(round_s):
                return


def is_needed(options: Options) -> bool:
    """Whether any of them gives a keeper work to do."""
    return bool(options.min_conns or options.leak_threshold or options.max_idle or options.max_lifetime)


def _round_s(options: Options) -> float:
    times = [seconds for seconds in (options.max_idle, options.max_lifetime, options.leak_threshold) if seconds]
    return min(max(min(times, default=_LONGEST_ROUND_S) / 10, _SHORTEST_ROUND_S), _LONGEST_ROUND_S)


def look_after(pool: "Pool", told: dict[Slot, float]) -> None:
    """One round. Does not block. `told`: the holdings that were warned of, by slot and when it was taken."""
    pool.later.catch_up()
    filler.look_for_the_gone(pool)
    end_the_old(pool)
    pool.slots.ahead = True
    filler.call(pool)
    _tell_of_leaks(pool, told)


def end_the_old(pool: "Pool") -> None:
    """Close idle connections that are too old, or more than are kept; the one idle longest first. Does not switch."""
    while True:
        claim = Claim()
        try:
            if not pool.slots.claim_old(claim, pool.clock(), pool.options.max_idle):
                return
            pool.discard(claim.slot)
            pool.put(claim)
        except BaseException:
            if claim.slot is not None and claim.slot.holder is claim:
                pool.discard(claim.slot)
                pool.put(claim)
            raise


def _tell_of_leaks(pool: "Pool", told: dict[Slot, float]) -> None:
    """Warn once of each slot that is held longer than LEAK_THRESHOLD, with what its holder is doing."""
    threshold_s = pool.options.leak_threshold
    if not threshold_s:
        return
    for slot in list(pool.slots.all):
        held_s = pool.clock() - slot.taken_at
        if not isinstance(slot.holder, Holder) or held_s < threshold_s or told.get(slot) == slot.taken_at:
            continue
        told[slot] = slot.taken_at
        holding = report.holding(pool, slot)
        text = f"a connection of {pool!r} is held longer than LEAK_THRESHOLD={threshold_s:g} s by {holding}"
        report.tell(f"{text}. It is in:\n{holding.stack()}", ResourceWarning)
