"""How much a metric gained from A to B, and how sure that is: two fits of two sweeps, or one fit of one. Pure.

The p95 here is that of a repeat, the geometric mean over them. Tables and SLOs have that of all requests of a size,
which is what users saw; but where one repeat in ten has a burst of slow requests, it triples by that one, and equal
sweeps would look worse in a third of the pairs.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, variance
from typing import NamedTuple

from pooldemo.sweep.analyse.blocks import Fit, fit_all, fit_blocks, fit_every
from pooldemo.sweep.analyse.comparison import Change
from pooldemo.sweep.analyse.observations import Observation, observed
from pooldemo.sweep.analyse.statistics import CONFIDENCE, WIDEST, satterthwaite, student_t
from pooldemo.sweep.facts import TrialResult

METRICS = {"rps": 1, "p95_ms": -1}
"""What is compared, and the sign of better."""

SIDES = 1000
"""A size apart, by which cells of two sides are numbered: their order and their noise are those of the sizes."""

ALONE = 0.99
"""How sure a change at one size must be by the repeats of that size alone, beside all together."""

LEAST_ERROR = 0.001
"""Nobody knows a difference better than this, however often it was measured."""


class _Gain(NamedTuple):
    """What a metric was and is, on the scale of logarithms, and the error of what was gained, with its freedom."""

    before: float
    after: float
    error: float
    freedom: float


class Pair:
    """The fits of one stack in both sweeps, for each metric that both have."""

    noisier = 0.99
    """How sure it must be that B's repeats scatter more than A's: noise alone makes one verdict in some invalid."""

    def __init__(self, stack: str, before: Sequence[TrialResult], after: Sequence[TrialResult]) -> None:
        self.stack = stack
        self._trials = old, new = [[each for each in trials if each.stack == stack] for trials in (before, after)]
        self.fits: dict[str, tuple[Fit, Fit]] = {}
        for metric in METRICS:
            fits = [fit_every(observed(own, metric)) for own in (old, new)]
            if fits[0] and fits[1]:
                self.fits[metric] = fits[0], fits[1]

    def sizes(self, metric: str) -> list[int]:
        old, new = self.fits[metric]
        return sorted(old.effects.keys() & new.effects.keys())

    def weights(self, metric: str) -> dict[int, float]:
        """Of the mean over all sizes: each counts as far as it is sure, so that a restless one decides little."""
        variances = {size: self._variance(metric, size) for size in self.sizes(metric)}
        total = sum(1 / each for each in variances.values())
        return {size: 1 / each / total for size, each in variances.items()}

    def _variance(self, metric: str, size: int) -> float:
        """Of a trial on both sides; in a fit without a noise all are the same."""
        return sum(fit.noise_at(size) ** 2 for fit in self.fits[metric]) or 1.0

    def gain(self, metric: str, weights: Mapping[int, float]) -> _Gain:
        """Of a mean over sizes, with weights that sum to 1. Its error is infinite where nothing was repeated."""
        old, new = self.fits[metric]
        values = [fit.contrast(weights).value for fit in (old, new)]
        if not (old.freedom and new.freedom):
            return _Gain(values[0], values[1], math.inf, 1.0)
        parts = [(error**2, freedom) for error, freedom in (fit.error(weights) for fit in (old, new))]
        return _Gain(values[0], values[1], math.sqrt(sum(each for each, _ in parts)), satterthwaite(parts))

    def half_width_alone(self, metric: str, size: int) -> float:
        """How far the gain at a size may be off at least, by its own repeats, whatever the others show."""
        return 0.0

    @property
    def is_noisier(self) -> bool:
        """B's trials, outliers included, lie farther from what their sizes and repeats say than A's, beyond chance:
        by the means of these distances (Levene 1960, with Welch's t), which one trial decides less than a variance."""
        fits = [fit_all(observed(own)) for own in self._trials]
        if not all(fit is not None and fit.freedom for fit in fits):
            return True
        old, new = ([abs(each) for each in fit.residuals] for fit in fits if fit)
        parts = [(variance(each) / len(each), len(each) - 1) for each in (old, new)]
        error = math.sqrt(sum(each for each, _ in parts))
        return fmean(new) - fmean(old) > student_t(self.noisier, satterthwaite(parts)) * error


class Sides(Pair):
    """A and B of one run: one fit over the trials of both, in the repeats that they share."""

    noisier = 0.999  # where it is less sure nobody can tell, which is said as well

    def __init__(self, stack: str, before: Sequence[TrialResult], after: Sequence[TrialResult]) -> None:
        super().__init__(stack, before, after)
        self._both = {metric: fit_every(_beside(self._trials, metric), _alike) for metric in self.fits}

    def _variance(self, metric: str, size: int) -> float:
        fit = self._both[metric]
        return fit.noise_at(_cell(size, 0)) ** 2 or 1.0 if fit else super()._variance(metric, size)

    def gain(self, metric: str, weights: Mapping[int, float]) -> _Gain:
        old, new = ({_cell(size, side): weight for size, weight in weights.items()} for side in (0, 1))
        fit = self._both[metric]
        if fit is None:
            return super().gain(metric, weights)
        change = fit.contrast(new | {cell: -weight for cell, weight in old.items()})
        error = max(change.error, LEAST_ERROR) if fit.freedom else math.inf
        return _Gain(fit.contrast(old).value, fit.contrast(new).value, error, change.freedom)

    def half_width_alone(self, metric: str, size: int) -> float:
        """Repeats of a restless size may agree by luck, or not be told from those of another one."""
        fit, cells = self._both[metric], _alike(_cell(size, 0))
        noise = fit.alone(cells) if fit else None
        if fit is None or noise is None or not noise.freedom:
            return 0.0
        error = noise.relative * math.sqrt(sum(1 / fit.repeats(cell) for cell in cells))
        return student_t(ALONE, noise.freedom) * error

    def error(self) -> tuple[float, float]:
        """Of what all sizes gained, each counted alike, and its degrees of freedom. By the weights of the mean that is
        shown, "not worse" would be said of a restless size by what the others carry; an accident alone hides nothing.
        """
        fit, _ = fit_blocks(_beside(self._trials, "rps"))
        if fit is None or not fit.freedom:
            return math.inf, 1.0
        sizes = self.sizes("rps")
        found = fit.contrast({_cell(size, side): (2 * side - 1) / len(sizes) for size in sizes for side in (0, 1)})
        return max(found.error, LEAST_ERROR), found.freedom


def _alike(cell: int) -> set[int]:
    """Both sides at a size: whatever makes one restless does so to the other."""
    return {_cell(cell // SIDES, side) for side in (0, 1)}


def _cell(size: int, side: int) -> int:
    """A number for a size of A or B, that grows as the size does: so may the noise."""
    return SIDES * size + side


def _beside(sides: Sequence[Sequence[TrialResult]], metric: str) -> list[Observation]:
    """The trials of both as those of one stack, at their places in the repeats that they share."""
    numbered = [
        replace(trial, stack="", size=_cell(trial.size, side)) for side, own in enumerate(sides) for trial in own
    ]
    return observed(numbered, metric)


def changes_of(pairs: Sequence[Pair], margin: float) -> Iterator[Change]:
    whole = [(pair, metric) for pair in pairs for metric in pair.fits if len(pair.sizes(metric)) > 1]
    single = [(pair, metric, size) for pair in pairs for metric in pair.fits for size in pair.sizes(metric)]
    doubt = (1 - CONFIDENCE) / (2 if whole else 1)
    for pair, metric in whole:
        yield _change(pair, metric, None, pair.weights(metric), 1 - doubt / len(whole), margin)
    for pair, metric, size in single:
        yield _change(pair, metric, size, {size: 1.0}, 1 - doubt / len(single), margin)


def _change(
    pair: Pair, metric: str, size: int | None, weights: Mapping[int, float], probability: float, margin: float
) -> Change:
    found = pair.gain(metric, weights)
    gain = max(-600.0, min(600.0, found.after - found.before))  # beyond it arithmetic overflows
    half = student_t(probability, found.freedom) * found.error if math.isfinite(found.error) else math.inf
    half = max(half, pair.half_width_alone(metric, size)) if size is not None else half
    shown = "same" if abs(gain) - half <= margin else "better" if gain * METRICS[metric] > 0 else "worse"
    kind = shown if math.isfinite(half) else "unknown"
    low, high = (math.expm1(gain + way * half) if half < WIDEST else None for way in (-1, 1))
    return Change(
        pair.stack, size, metric, math.exp(found.before), math.exp(found.after), math.expm1(gain), low, high, kind
    )


def would_find(pairs: Sequence[Sides], margin: float) -> float | None:
    """The smallest loss of throughput, relative, that is found with 95% confidence wherever it is; None: none is."""
    if not pairs or any("rps" not in pair.fits or not pair.sizes("rps") for pair in pairs):
        return None  # of one that failed throughout nothing is known, nor of one that was interrupted at once
    metrics = sum(len(pair.fits) for pair in pairs if len(pair.sizes("rps")) > 1)
    least = 0.0
    for pair in pairs:
        error, freedom = pair.error()
        if not math.isfinite(error):
            return None
        doubt = (1 - CONFIDENCE) / (2 * metrics if metrics else sum(len(each.fits) for each in pairs))
        sure = student_t(1 - doubt, freedom) + student_t(CONFIDENCE, freedom)
        least = max(least, margin + sure * error)
    return -math.expm1(-least)
