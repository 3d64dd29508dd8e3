"""Latency percentiles of a size, over all requests of its repeats, and how sure they are. Pure.

A percentile of a size is that of its pooled histogram, not the mean of its repeats' percentiles: where one repeat in
three was slow, that mean is a number which nobody has waited. How far it may be off is told by the repeats, as for the
throughput: on the logarithm, with the repeats as blocks (`blocks`).
"""

import math
from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from pooldemo.sweep.analyse.blocks import fit_every
from pooldemo.sweep.analyse.observations import observed
from pooldemo.sweep.analyse.statistics import CONFIDENCE, WIDEST, percentile, student_t
from pooldemo.sweep.facts import TrialResult
from pooldemo.sweep.plan import MAX_REPEATS

SHARES = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99, "max_ms": 1.0}
"""The percentiles that a trial has, as shares of its requests."""

FEW = 3
"""Repeats to ask for where there are fewer: two tell little more than one."""


def quantile_ms(trials: Sequence[TrialResult], metric: str, *, failures_count: bool = False) -> float | None:
    """The percentile `metric` of the trials of one size, in milliseconds; None without a success.

    Of successes alone, or (`failures_count`) of all requests, with those that failed as such that never came: infinite
    where more of them failed than the percentile leaves out. Trials without a histogram (documents of others) are
    spoken for by the mean of their percentiles.
    """
    share, failed = SHARES[metric], sum(each.failures for each in trials) if failures_count else 0
    answered = [each for each in trials if getattr(each, metric) is not None]
    if not answered:
        return None
    if all(each.latencies for each in answered):
        pooled = Counter[float]()
        for each in answered:
            pooled.update(dict(each.latencies))
        share *= (pooled.total() + failed) / pooled.total()
        return percentile(sorted(pooled.items()), share) if share <= 1 or not failed else math.inf
    if failed > (1 - share) * sum(each.requests for each in trials):
        return math.inf
    values = [getattr(each, metric) for each in answered]
    return max(values) if metric == "max_ms" else fmean(values)


class Spread:
    """How far one percentile of one stack's sizes may be off, from how their repeats scatter; outliers count."""

    def __init__(self, trials: Sequence[TrialResult], metric: str) -> None:
        self._fit = fit_every(observed(trials, metric))

    def half_width(self, size: int, probability: float) -> float:
        """To one side, as a logarithm, with this probability; infinite where it was not repeated.

        No narrower than its own repeats alone make it with 95% confidence: two of a restless size agree by luck in one
        sweep of four, and look like those of the others.
        """
        if self._fit is None or size not in self._fit.effects:
            return math.inf
        return max(self._fit.half_width(size, probability), self._fit.half_width_alone(size, CONFIDENCE))

    def repeats_for(self, size: int, probability: float, half: float) -> int:
        """How many repeats of a size that was repeated would make it so narrow, if they scatter as those there are."""
        if self._fit is None or size not in self._fit.effects:
            return FEW
        error, freedom = self._fit.error({size: 1.0})
        done = self._fit.repeats(size)
        for repeats in range(max(FEW, done + 1), MAX_REPEATS):
            sure = student_t(probability, max(1.0, freedom * (repeats - 1) / max(1, done - 1)))
            if sure * error * math.sqrt(done / repeats) <= half:
                return repeats
        return MAX_REPEATS

    def interval(
        self, size: int, value: float | None, probability: float = (1 + CONFIDENCE) / 2
    ) -> tuple[float | None, float | None]:
        """Where `value` at `size` lies on any such day, each end with this probability; (None, None) where that is not
        known."""
        half = self.half_width(size, probability)
        if value is None or not half < WIDEST or not math.isfinite(value):
            return None, None
        return value * math.exp(-half), value * math.exp(half)
