"""The search of a trial for the highest rate of arrivals that meets the SLO: which rate to try next. Pure.

A closed loop tells what the server carries at most; the rate lies below that. It is halved towards from both sides,
until it is known to a few percent: what one window of a few seconds shows is no surer than that, and repeats say how
sure it is. A miss far below what the closed loop carried is asked for a second time.
"""

from dataclasses import replace

from pooldemo.sweep.analyse.latency import SHARES, quantile_ms
from pooldemo.sweep.analyse.rules import BUSY_CPU, falls_behind
from pooldemo.sweep.analyse.slo import failed_share
from pooldemo.sweep.facts import Limit, Step, TrialResult
from pooldemo.sweep.plan import SEARCH_STEPS

FIRST = 0.8
"""What is tried first, of what the closed loop carried: most SLOs are met up to somewhere above."""

FINE = 0.03
"""The search ends where the lowest rate that missed the SLO lies so little above the highest that met it."""


class Search:
    """What has been tried, from the `closed` loop on; ask `rate` for the next, `tell` what it showed."""

    def __init__(self, slo: tuple[Limit, ...], closed: TrialResult) -> None:
        self._slo, self._closed = slo, closed
        self._steps = [Step(None, closed.rps, missed_by(slo, closed))]
        self._met, self._missed = 0.0, closed.rps
        self._again: set[float] = set()
        self._best: TrialResult | None = None
        self._last = closed

    @property
    def rate(self) -> float | None:
        """The rate to try next, in requests a second; None: enough is known."""
        tried = len(self._steps) - 1
        if tried == SEARCH_STEPS or self._missed - self._met <= FINE * self._missed:
            return None
        if not tried:
            return FIRST * self._closed.rps
        return (self._met + self._missed) / 2

    def tell(self, rate: float, result: TrialResult) -> None:
        """What the window at `rate` showed."""
        missed = missed_by(self._slo, result, rate)
        self._steps.append(Step(rate, result.rps, missed))
        if not missed:
            self._met, self._best = rate, result
            return
        self._last = result
        if rate < FIRST * self._closed.rps and rate not in self._again:
            # Far below what it carries a miss may be luck, and would cost half of the rates: the middle stays the same.
            self._again.add(rate)
        else:
            self._missed = rate

    @property
    def found(self) -> TrialResult:
        """The window at the highest rate that met the SLO; where none did the lowest tried, that carried nothing."""
        steps = tuple(sorted(self._steps, key=lambda step: step.rate or 0.0))
        return replace(self._best or replace(self._last, rps=0.0), steps=steps)


def missed_by(slo: tuple[Limit, ...], seen: TrialResult, rate: float | None = None) -> str:
    """What kept a window from meeting the SLO, as `Step` has it. As it was seen: repeats tell how sure that is."""
    if (seen.generator_cpu or 0.0) >= BUSY_CPU:
        return "generator"
    for limit in slo:
        metric = f"{limit.metric}_ms"
        found = quantile_ms([seen], metric, failures_count=True) if metric in SHARES else failed_share([seen])
        if found is None or found > limit.at_most:
            return limit.metric
    behind = rate is not None and seen.window_s and falls_behind(seen.rps, rate, seen.window_s, at_random=True)
    return "rate" if behind else ""
