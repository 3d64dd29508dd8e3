"""Where throughput stops rising with the size: the statistics of the verdict, on bare numbers. Pure.

What else a verdict has to weigh (users, SLO, budget, failures, words) is in `judge`.

The question is the smallest size that is not worse than the best by more than a margin (5%). Five traps lie in it.

1. Blocks. Repeats differ by more than their trials: `blocks` takes that out first.
2. The winner's curse. The largest of several equal means is too large by luck. So the sizes that nobody can tell from
   the best are drawn together as far as their scatter is the noise's (James and Stein 1961), and the best of *those* is
   what a size is compared with.
3. Few repeats. Where the noise permits, a size is good enough when that is sure: what it measured below the best, and
   its error, fit into the margin with 95% confidence. Where the noise does not, a size that is as good as the best must
   not be refused by chance: it is good enough when it measured less than 2.7 errors below. So an equal size is refused
   in few sweeps, and with 1% of noise a size 6% worse is taken in fewer than 1%.
4. Many sizes. The smallest that looks good enough is asked for, and of thirty some look so by luck. So where sizes are
   close each is taken with its neighbours, as far as these are surer.
5. A slow rise. Where each doubling gains 5%, neighbours never differ significantly. So a knee must be seen to bend:
   beyond it, a doubling gains less than half of what it gained before, with 99% confidence. A power law, however flat,
   never bends. Or what is beyond is seen to be level, or to fall. A size of which a trial was left out must show it by
   those that are left: two that are fast may be the accident.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from pooldemo.sweep.analyse.blocks import Fit, fit_blocks
from pooldemo.sweep.analyse.observations import Observation
from pooldemo.sweep.analyse.statistics import CONFIDENCE, Interval, Noise, student_t
from pooldemo.sweep.facts import MARGIN
from pooldemo.sweep.plan import MAX_REPEATS

RESOLUTION = 1.5
"""The largest half-width (one-sided, 95%) of a comparison of two sizes that still permits a verdict, in margins."""

EQUAL = 2.7
"""Errors below the best at which a size still counts as equal, whatever the margin leaves: few equals are farther."""

DRAWN = 1.5
"""How much of the scatter that chance makes is taken out of the best: more than all, for the best is the luckiest."""

CLOSE = 1.2
"""Sizes no farther apart than by this factor are close: what they carry lies nearly on a straight line."""

BEND_CONFIDENCE = 0.99
"""How sure it must be that a rise has ended: to call a rising curve a knee is the one mistake that costs a user
throughput."""

LEVEL = 0.01
"""What a doubling gains at most where it is level; less than the margin over the five or six doublings of a sweep."""


@dataclass(frozen=True)
class Knee:
    """What the curve of one stack looks like.

    `shape` is knee, rising, flat or invalid; `size` the smallest that carries what the best carries (None: not to be
    told), `plateau` all sizes from there on that do, `reason` why it is invalid: `sizes`, `repeats`, `noise` or
    `level`. `intervals` are in requests a second, by size. `plateau_rps` is the mean over the plateau.
    `repeats_needed` makes the noise small enough. `left_out` are the outliers. `level_from`: of a curve that is called
    rising since nobody can tell that it is not, the smallest size that carries what the largest does. `restless`: the
    sizes that may be the best whose repeats scatter far more than the others'.
    """

    shape: str
    size: int | None
    plateau: tuple[int, ...]
    plateau_rps: float
    noise: Noise
    intervals: Mapping[int, Interval]
    reason: str = ""
    repeats_needed: int = 0
    left_out: tuple[Observation, ...] = ()
    level_from: int | None = None
    restless: Mapping[int, Noise] = field(default_factory=dict)

    @property
    def below(self) -> int | None:
        """The next smaller size that was measured."""
        return max((size for size in self.intervals if self.size is not None and size < self.size), default=None)

    @property
    def above(self) -> int | None:
        """The next larger size that was measured."""
        return min((size for size in self.intervals if self.size is not None and size > self.size), default=None)


def find_knee(observations: Sequence[Observation], margin: float = MARGIN) -> Knee:
    """Judge one stack's trials (requests a second above 0, in any order) with a `margin` in percent."""
    fit, left_out = fit_blocks(observations)
    if fit is None:
        return Knee("invalid", None, (), 0.0, Noise(0.0, 0), {}, "sizes")
    doubted = {each.size for each in left_out}
    return replace(_judge(fit, -math.log1p(-margin / 100), doubted), left_out=left_out)


def first_as_good(
    observations: Sequence[Observation], margin: float = MARGIN
) -> tuple[int | None, Mapping[int, Interval], int]:
    """The first of the "sizes", in whatever order they were numbered, that carries what the best does (None: the noise
    does not permit to say), what each carries, and how many repeats would permit it (0: those there are)."""
    fit, _ = fit_blocks(observations)
    if fit is None:
        return None, {}, 0
    intervals = {size: fit.interval(size) for size in fit.effects}
    if len(fit.effects) == 1:
        return next(iter(fit.effects)), intervals, 0
    distance = -math.log1p(-margin / 100)
    near = _near_the_best(fit) if fit.freedom else ()
    if needed := _repeats_needed(fit, near, distance) if near else 3:
        return None, intervals, needed
    return _smallest_as_good(fit, near, distance, close=1.0), intervals, 0  # numbers are no sizes


def _judge(fit: Fit, margin: float, doubted: Collection[int]) -> Knee:
    """`margin` is a distance of logarithms from here on. Of `doubted` sizes a trial was left out."""
    sizes = sorted(fit.effects)
    if len(sizes) < 2:
        return _invalid(fit, "sizes")
    if not fit.freedom:
        repeated = len(fit.observations) > len(sizes)
        return _invalid(fit, "noise", 2) if repeated else _invalid(fit, "repeats")
    near = _near_the_best(fit)
    if needed := _repeats_needed(fit, near, margin):
        restless = {size: noise for size, noise in fit.restless.items() if size in near}
        return replace(_invalid(fit, "noise", needed), restless=restless)
    size = _smallest_as_good(fit, near, margin)
    plateau = tuple(each for each in near if each >= size)
    smallest, largest = sizes[0], sizes[-1]
    if size == smallest:
        return _knee(fit, "flat", size, plateau)
    if size < largest and _has_ended(fit, size):
        if size not in doubted or _has_ended(fit.doubting(size), size):
            return _knee(fit, "knee", size, plateau)
    elif size < largest and (needed := _repeats_to_show(fit, size, plateau)):
        return replace(_invalid(fit, "level", needed), plateau=plateau)
    return replace(_knee(fit, "rising", largest, (largest,)), level_from=size if size < largest else None)


def settled(knee: Knee) -> Knee:
    """The knee at `level_from`, for who knows from elsewhere that more slots cannot carry more."""
    size = knee.level_from
    plateau = tuple(each for each in knee.intervals if size is not None and each >= size)
    rps = fmean(knee.intervals[each].mean for each in plateau)
    return replace(knee, shape="knee", size=size, plateau=plateau, plateau_rps=rps, level_from=None)


def _near_the_best(fit: Fit) -> tuple[int, ...]:
    """The sizes that nobody can tell from the best: that they are below is not shown, for any of them (Bonferroni)."""
    best = max(fit.effects, key=lambda size: fit.effects[size])
    sure = 1 - (1 - CONFIDENCE) / (len(fit.effects) - 1)

    def is_near(size: int) -> bool:
        below = fit.contrast({best: 1.0, size: -1.0})
        return below.value <= fit.half_of(below, sure)

    return tuple(sorted(size for size in fit.effects if size == best or is_near(size)))


def _around(fit: Fit, size: int, margin: float, close: float) -> dict[int, float]:
    """The weights of a size alone, and of the mean over those close to it, as many below as above: each of the two
    counts by how sure it is. The mean is off by up to half of the margin where the curve bends sharply."""
    below = [each for each in sorted(fit.effects, reverse=True) if each < size <= close * each]
    above = [each for each in sorted(fit.effects) if size < each <= close * size]
    both = min(len(below), len(above))
    mean = dict.fromkeys((size, *below[:both], *above[:both]), 1 / (1 + 2 * both))
    alone = fit.contrast({size: 1.0}).error ** 2
    together = alone / len(mean) + (margin / 2) ** 2
    own = together / (alone + together) if both else 1.0
    return {each: own * (each == size) + (1 - own) * weight for each, weight in mean.items()}


def _best(fit: Fit, near: Sequence[int], margin: float, close: float) -> float:
    """The best size's effect without its luck: drawn towards the mean of those near it, as far as these scatter by
    chance."""
    found = [fit.contrast(_around(fit, size, margin, close)) for size in near]
    effects = [each.value for each in found]
    if len(near) < 3:
        return max(effects)
    mean = fmean(effects)
    scatter = sum((each - mean) ** 2 for each in effects) / (len(near) - 1)
    chance = fmean(each.error**2 for each in found)
    return mean + max(0.0, 1 - DRAWN * chance / scatter) * (max(effects) - mean) if scatter else mean


def _smallest_as_good(fit: Fit, near: Sequence[int], margin: float, close: float = CLOSE) -> int:
    best = _best(fit, near, margin, close)
    sure = student_t(CONFIDENCE, fit.freedom)
    for size in sorted(fit.effects):
        others = [each for each in near if each != size]
        if not others:
            return size
        around = _around(fit, size, margin, close)
        rest = {each: around.get(each, 0.0) - 1 / len(others) for each in others}
        error = fit.contrast(around | rest).error
        if best - fit.contrast(around).value <= min(margin, max(margin - sure * error, EQUAL * error)):
            return size
    return max(near)


def _slope(sizes: Sequence[int]) -> dict[int, float]:
    """The weights whose sum over effects is the least-squares gain of one doubling."""
    centre = fmean(map(math.log2, sizes))
    spread = sum((math.log2(size) - centre) ** 2 for size in sizes)
    return {size: (math.log2(size) - centre) / spread for size in sizes}


def _gain_beyond(fit: Fit, size: int, plateau: Sequence[int]) -> dict[int, float]:
    return _slope(plateau if len(plateau) > 1 else [each for each in fit.effects if each >= size])


def _has_ended(fit: Fit, size: int) -> bool:
    """Whether it is shown that throughput rises no more beyond `size`."""
    near = _near_the_best(fit)
    return max(fit.effects) not in near or _bends(fit, size, [each for each in near if each >= size])


def _bends(fit: Fit, size: int, plateau: Sequence[int]) -> bool:
    """Is a doubling beyond `size` worth less than half of what it was worth before, or nothing, with 99% confidence?"""
    after = _gain_beyond(fit, size, plateau)
    bend = {each: -weight for each, weight in after.items()}
    for each, weight in _slope([min(fit.effects), size]).items():
        bend[each] = bend.get(each, 0.0) + weight / 2
    found = fit.contrast(bend)
    if found.value > fit.half_of(found, BEND_CONFIDENCE):
        return True
    gained = fit.contrast(after)
    return gained.value + fit.half_of(gained, BEND_CONFIDENCE) < LEVEL


def _repeats_to_show(fit: Fit, size: int, plateau: Sequence[int]) -> int:
    """How many repeats would show that it is level beyond `size`, where it looks so but might rise; 0: it does rise."""
    gained = fit.contrast(_gain_beyond(fit, size, plateau))
    if gained.value >= LEVEL or max(plateau) < 4 * size:
        return 0
    done = len(fit.observations) / len(fit.effects)
    unseen = student_t(BEND_CONFIDENCE, fit.freedom) * gained.error * math.sqrt(done) / (LEVEL - min(gained.value, 0.0))
    return max(min(MAX_REPEATS, math.ceil(unseen**2)), math.floor(done) + 1)


def _repeats_needed(fit: Fit, near: Sequence[int], margin: float) -> int:
    """How many repeats would compare two of the sizes that matter within the resolution, the noise staying what it is;
    0: those there are do."""
    sizes = len(fit.effects)
    done = len(fit.observations) / sizes
    noise = max([fmean(map(fit.noise_at, near)), *(fit.noise_at(size) for size in near if size in fit.restless)])
    if student_t(CONFIDENCE, fit.freedom) * noise * math.sqrt(2 / done) <= RESOLUTION * margin:
        return 0
    for repeats in range(math.floor(done) + 1, MAX_REPEATS):
        freedom = (sizes - 1) * (repeats - 1)
        if student_t(CONFIDENCE, freedom) * noise * math.sqrt(2 / repeats) <= RESOLUTION * margin:
            return repeats
    return max(MAX_REPEATS, math.floor(done) + 1)


def _knee(
    fit: Fit, shape: str, size: int | None, plateau: tuple[int, ...], reason: str = "", repeats_needed: int = 0
) -> Knee:
    intervals = {each: fit.interval(each) for each in fit.effects}
    rps = math.exp(fmean(fit.effects[each] for each in plateau)) if plateau else 0.0
    return Knee(shape, size, plateau, rps, Noise(fit.noise, fit.freedom), intervals, reason, repeats_needed)


def _invalid(fit: Fit, reason: str, repeats_needed: int = 0) -> Knee:
    return _knee(fit, "invalid", None, (), reason, repeats_needed)
