"""Where throughput stops rising with the size: the statistics of the verdict, on bare numbers. Pure.

What else a verdict has to weigh (users, SLO, budget, failures, words) is in `verdict`.

The question is the smallest size that is not worse than the best by more than 5%, with 95% confidence. Three traps
lie in it. 1. The winner's curse. The largest of several equal means is too large by luck, so what lies near it looks
worse than it is. Sizes are compared
   with the mean of a plateau, never with the best one; and to put one off the plateau takes 95% for all of them
   together (Bonferroni).
2. Few repeats. To *prove* that two equal sizes are within 5% takes some eight repeats at 3% noise; to wait until a
size is *proven*
   more than 5% worse would pass one that is 9% worse half of the time. So a size is ruled out when it measured more
   than 5% below the plateau *and* it is below with 95% confidence. An equal size is then ruled out in under 1% of the
   sweeps, one 9% worse kept in 2%.
3. A slow rise. Where each doubling gains 5%, neighbours never differ significantly. So a knee must be seen to bend:
beyond it, a doubling
   gains less than half of what it gained before, with 99% confidence. A power law, however flat, never bends. Or the
   plateau is seen to be level: what gains less than 1% with a doubling stays within 5% over five of them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from pooldemo.sweep.analyse.statistics import CONFIDENCE, Interval, Noise, interval, pooled_noise, shortfall, slope

MARGIN = 0.05
"""A size is good enough when it is not worse than the plateau by more than this."""

RESOLUTION = 0.075
"""The largest half-width (one-sided, 95%) of a comparison of two sizes that still permits a verdict: half as much
again as MARGIN."""

LEAST_NOISE = 0.005
"""A machine does not repeat itself better than this, whatever two repeats that happen to agree may say."""

ENOUGH_FREEDOM = 6
"""Degrees of freedom from which the plateau's own noise is worth more than that of all sizes: three sizes, three
repeats."""

MUCH_NOISIER = 1.4
"""Factor by which the plateau must be noisier than all sizes together before that counts: chance alone makes 1.2."""

BEND_CONFIDENCE = 0.99
"""How sure it must be that a rise has ended: to call a rising curve a knee is the one mistake that costs a user
throughput."""

LEVEL = 0.01
"""What a doubling gains at most where it is level; less than MARGIN over the five or six doublings of a sweep."""

Throughputs = Mapping[int, Sequence[float]]


@dataclass(frozen=True)
class Knee:
    """What the curve of one stack looks like.

    `shape` is knee, rising, flat or invalid; `size` the smallest that carries what the plateau carries (None: not to
    be told), `plateau` all sizes that do, `reason` why it is invalid: `sizes`, `repeats`, `noise` or `level`.
    `intervals` are in requests a second, by size. `plateau_rps` is the mean over the plateau. `repeats_needed` makes
    the noise small enough. `bends` says that the rise was seen to end.
    """

    shape: str
    size: int | None
    plateau: tuple[int, ...]
    plateau_rps: float
    noise: Noise
    intervals: Mapping[int, Interval]
    reason: str = ""
    repeats_needed: int = 0
    bends: bool = False

    @property
    def below(self) -> int | None:
        """The next smaller size that was measured."""
        return max((size for size in self.intervals if self.size is not None and size < self.size), default=None)

    @property
    def above(self) -> int | None:
        """The next larger size that was measured."""
        return min((size for size in self.intervals if self.size is not None and size > self.size), default=None)


def find_knee(throughputs: Throughputs) -> Knee:
    """Judge the curve of `throughputs` (requests a second of each repeat, by size; in any order, all above 0)."""
    samples = {size: tuple(throughputs[size]) for size in sorted(throughputs) if throughputs[size]}
    noise = pooled_noise(samples.values())
    if len(samples) < 2:
        return _invalid("sizes", samples, noise)
    if not noise.freedom:
        return _invalid("repeats", samples, noise)
    noise = Noise(max(noise.relative, LEAST_NOISE), noise.freedom)
    if needed := _repeats_needed(samples, noise):
        return _invalid("noise", samples, noise, needed)
    plateau = _plateau(samples, noise)
    own = pooled_noise(samples[size] for size in plateau)
    if own.freedom >= ENOUGH_FREEDOM and own.relative > MUCH_NOISIER * noise.relative:
        # Small sizes may be steadier than large ones; what counts is how steady the plateau is.
        noise = own
        if needed := _repeats_needed(samples, noise):
            return _invalid("noise", samples, noise, needed)
    size = _smallest_as_good(samples, plateau, noise)
    plateau = tuple(each for each in plateau if each >= size)
    smallest, largest = min(samples), max(samples)
    bends = smallest < size < largest and _bends(samples, size, plateau, noise)
    shape = "flat" if size == smallest else "knee" if bends else "rising"
    if shape == "rising":
        if size < largest and (needed := _repeats_to_show(samples, size, plateau, noise)):
            return replace(_invalid("level", samples, noise, needed), plateau=plateau)
        size, plateau = plateau[-1], plateau[-1:]
    return _knee(shape, size, plateau, samples, noise, bends=bends)


def _plateau(samples: Throughputs, noise: Noise) -> tuple[int, ...]:
    """The sizes side by side around the best that nobody can tell from it: more than 5% below is not shown, for any
    of them."""
    sizes = list(samples)
    top = max(range(len(sizes)), key=lambda index: fmean(samples[sizes[index]]))
    strict = 1 - (1 - CONFIDENCE) / (len(sizes) - 1)
    best = [samples[sizes[top]]]

    def is_near(index: int) -> bool:
        return not shortfall(samples[sizes[index]], best, noise, strict).is_more_than(MARGIN)

    first = last = top
    while first > 0 and is_near(first - 1):
        first -= 1
    while last < len(sizes) - 1 and is_near(last + 1):
        last += 1
    return tuple(sizes[first : last + 1])


def _smallest_as_good(samples: Throughputs, plateau: Sequence[int], noise: Noise) -> int:
    """Going up: the first size that is not ruled out by the plateau above it, or by that part of it before it
    droops."""
    for index, size in enumerate(plateau[:-1]):
        above = [samples[each] for each in plateau[index + 1 :]]
        heads = [above[:count] for count in range(min(3, len(above)), len(above) + 1)]
        compared = [shortfall(samples[size], head, noise) for head in heads]
        if not any(below.by > MARGIN and below.is_shown for below in compared):
            return size
    return plateau[-1]


def _bends(samples: Throughputs, size: int, plateau: Sequence[int], noise: Noise) -> bool:
    """Is a doubling beyond `size` worth less than half of what it was worth before, or nothing, with 99% confidence?"""
    before, before_error = slope({math.log2(each): samples[each] for each in (min(samples), size)})
    after, after_error = _slope_beyond(samples, size, plateau)
    if before / 2 - after > noise.half_width(math.hypot(before_error / 2, after_error), BEND_CONFIDENCE):
        return True
    return after + noise.half_width(after_error, BEND_CONFIDENCE) < LEVEL


def _slope_beyond(samples: Throughputs, size: int, plateau: Sequence[int]) -> tuple[float, float]:
    beyond = plateau if len(plateau) > 1 else [each for each in samples if each >= size]
    return slope({math.log2(each): samples[each] for each in beyond})


def _repeats_to_show(samples: Throughputs, size: int, plateau: Sequence[int], noise: Noise) -> int:
    """How many repeats would show that it is level beyond `size`, where it looks so but might rise; 0: it does rise.

    Over less than two doublings nothing looks level: neighbours hardly differ on any curve.
    """
    after, error = _slope_beyond(samples, size, plateau)
    if after >= LEVEL or max(plateau) < 4 * size:
        return 0
    done = fmean(map(len, samples.values()))
    unseen = noise.half_width(error * math.sqrt(done), BEND_CONFIDENCE) / (LEVEL - min(after, 0.0))
    return min(100, max(math.ceil(unseen**2), math.floor(done) + 1))


def _repeats_needed(samples: Throughputs, noise: Noise) -> int:
    """How many repeats would compare two sizes within RESOLUTION, the noise staying what it is; 0: those there are
    do."""
    done = fmean(map(len, samples.values()))
    if noise.half_width(math.sqrt(2 / done)) <= RESOLUTION:
        return 0
    for repeats in range(math.floor(done) + 1, 100):
        planned = Noise(noise.relative, len(samples) * (repeats - 1))
        if planned.half_width(math.sqrt(2 / repeats)) <= RESOLUTION:
            return repeats
    return 100


def _knee(
    shape: str,
    size: int | None,
    plateau: tuple[int, ...],
    samples: Throughputs,
    noise: Noise,
    reason: str = "",
    repeats_needed: int = 0,
    bends: bool = False,
) -> Knee:
    intervals = {each: found for each, values in samples.items() if (found := interval(values, noise))}
    rps = fmean(intervals[each].mean for each in plateau) if plateau else 0.0
    return Knee(shape, size, plateau, rps, noise, intervals, reason, repeats_needed, bends)


def _invalid(reason: str, samples: Throughputs, noise: Noise, repeats_needed: int = 0) -> Knee:
    return _knee("invalid", None, (), samples, noise, reason, repeats_needed)
