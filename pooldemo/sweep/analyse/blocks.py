"""The trials of one stack as what they are: a randomised block design. Pure, standard library only.

A repeat measures every size once, in an order drawn by chance: it is a block. What differs between blocks (a machine
that got slower, a neighbour that came and left) says nothing about sizes, so it is taken out before sizes are
compared, and so is a steady trend inside the blocks where there is one. What is left is the noise.

Everything happens to the logarithm of the throughput: a server's scatter grows with its throughput, a drift
multiplies it, and "5% less" is the same distance everywhere. Two-way analysis of variance with a covariate by least
squares (Montgomery, Design and Analysis of Experiments, chapters 4 and 15).
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from statistics import NormalDist, fmean
from typing import NamedTuple

from pooldemo.sweep.analyse.least_squares import Design, design
from pooldemo.sweep.analyse.observations import Observation, observed
from pooldemo.sweep.analyse.statistics import CONFIDENCE, WIDEST, Interval, Noise, satterthwaite, student_t
from pooldemo.sweep.facts import TrialResult

LEAST_NOISE = 0.005
"""A machine does not repeat itself better than this, whatever two repeats that happen to agree may say."""

ENOUGH_FREEDOM = 5
"""Degrees of freedom from which a trend, an outlier or a noise that grows can be told from chance."""

OUTLIER_DOUBT, LEAST_OUTLIER = 0.01, 0.05
"""An outlier is farther off than chance puts one trial of all in 1% of the sweeps, and by more than 5%."""

RESTLESS_DOUBT, LEAST_OTHERS = 0.2, 2
"""A size is restless that scatters so much more than the others that chance makes one so in 20% of the sweeps; and the
degrees of freedom of these others. A calm size that is taken for restless costs an answer now and then, a restless one
that is taken for calm gives a wrong one."""


class Contrast(NamedTuple):
    """A weighted sum of sizes' effects, on the scale of logarithms, its standard error, and with how many degrees of
    freedom that is known."""

    value: float
    error: float
    freedom: float


class Fit:
    """What the sizes carry once blocks, and a trend where there is one, are taken out.

    `noise` is the relative standard deviation of one trial, `freedom` its degrees of freedom, `effects` the logarithm
    of each size's throughput, `trend` the relative change from the first to the last trial of a repeat (0: none
    shown), `growth` the power of the size with which the noise grows (0: it does not). `restless` sizes, whose repeats
    scatter far more than those of the others, have each a noise of their own.
    """

    def __init__(
        self,
        observations: Sequence[Observation],
        made: Design,
        restless: Collection[frozenset[int]] = (),
        *,
        grows: bool = True,
        doubted: bool = False,
    ) -> None:
        self.observations = observations
        self._design, self._restless, self._grows, self._doubted = made, restless, grows, doubted
        logs = [math.log(each.value) for each in observations]
        found = made.effects(logs)
        self.residuals = [y - f for y, f in zip(logs, made.fitted(found), strict=True)]
        self.freedom = len(logs) - made.columns
        self.effects: Mapping[int, float] = dict(zip(made.sizes, found.sizes, strict=True))
        self.block_levels = found.blocks
        self.slope = found.slope
        places = [each.place for each in observations]
        self.trend = self.slope * (max(places) - min(places))
        self.growth = _growth(self.residuals, observations) if grows and self.freedom >= ENOUGH_FREEDOM else 0.0
        middle = fmean(map(math.log, self.effects))
        # The noise at a size, relative to that at the middle of the sizes.
        self._shares = {size: math.exp(self.growth * (math.log(size) - middle)) for size in self.effects}
        self._scatter = dict.fromkeys(self.effects, (0.0, 0.0))  # of each size: squares, and their degrees of freedom
        for each, residual, leverage in zip(observations, self.residuals, made.leverages, strict=True):
            squares, freedom = self._scatter[each.size]
            square = (residual / self._shares[each.size]) ** 2
            self._scatter[each.size] = squares + square, freedom + 1 - leverage
        told = {sizes: self._noise_of(sizes) for sizes in restless}
        self.restless: Mapping[int, Noise] = {size: told[sizes] for sizes in restless for size in sorted(sizes)}
        self._calm = self._noise_of(self.effects.keys() - self.restless)
        self.noise = self._calm.relative

    def _noise_of(self, sizes: Collection[int]) -> Noise:
        """The noise of their trials together; of none that of those that have the most."""
        if not self.freedom or not sizes:
            return max(self.restless.values(), key=lambda each: each.relative) if self.freedom else Noise(0.0, 0)
        parts = [found for size, found in self._scatter.items() if size in sizes]
        squares, freedom = (sum(each) for each in zip(*parts, strict=True))
        freedom = max(freedom, 0.5)  # of a size that was hardly repeated nothing is known
        return Noise(max(math.sqrt(squares / freedom), LEAST_NOISE), freedom)

    def noise_at(self, size: int) -> float:
        """The relative standard deviation of one trial at `size`."""
        return self.restless.get(size, self._calm).relative * self._shares[size]

    def doubting(self, size: int) -> "Fit":
        """The same, but that the noise of this size is known by its own repeats alone, and not better than by these."""
        restless = {*self._restless, frozenset({size})}
        return Fit(self.observations, self._design, restless, grows=self._grows, doubted=True)

    def half_of(self, found: Contrast, probability: float) -> float:
        """How far a contrast lies at most from its true value, to one side of it, with this probability."""
        return student_t(probability, found.freedom if self._doubted else self.freedom) * found.error

    def contrast(self, weights: Mapping[int, float]) -> Contrast:
        """The sum of `weights` x effects, and its error: that of a sum of independent trials, each with its noise."""
        value = sum(weight * self.effects[size] for size, weight in weights.items())
        squares = dict.fromkeys(self.effects, 0.0)
        for share, each in zip(self._design.shares(weights), self.observations, strict=True):
            squares[each.size] += share * share
        variances: dict[Noise, float] = {}
        for size, square in squares.items():
            noise = self.restless.get(size, self._calm)
            variances[noise] = variances.get(noise, 0.0) + square * self.noise_at(size) ** 2
        error = math.sqrt(sum(variances.values()))
        if len(variances) < 2:
            return Contrast(value, error, max(1, self.freedom))
        return Contrast(value, error, satterthwaite((each, noise.freedom) for noise, each in variances.items()))

    def wildest(self, alike: Callable[[int], Collection[int]]) -> Collection[frozenset[int]]:
        """The sizes, of those that are `alike`, that scatter far more than the others; or two such at once, of which
        each hides the other (F of two variances, by its cube root: Paulson 1942; Bonferroni). Empty: none do, or there
        is too little to tell."""
        calm = self.effects.keys() - self.restless
        groups = sorted({frozenset(calm & set(alike(size))) for size in calm}, key=min)
        wildest: Collection[frozenset[int]] = ()
        least = RESTLESS_DOUBT / max(1, len(groups))
        for sizes in groups:
            if (chance := self._chance(sizes)) < least * (1 - 1e-9):  # of equals the first, in any unit
                wildest, least = (sizes,), chance
        if wildest or len(groups) < 4:
            return wildest
        both = sorted(groups, key=lambda sizes: self._noise_of(sizes).relative)[-2:]
        is_odd = self._chance(frozenset().union(*both)) < RESTLESS_DOUBT / math.comb(len(groups), 2)
        return tuple(both) if is_odd else ()

    def _chance(self, sizes: Collection[int]) -> float:
        """How likely chance alone makes these sizes scatter so much more than the other calm ones; 1: nobody knows."""
        freedom = sum(each.size in sizes for each in self.observations) - len(sizes)
        others = round(self._calm.freedom - freedom, 9)  # a sum: 2 may be 1.999...
        if not freedom or others < LEAST_OTHERS:
            return 1.0
        # By the blocks they are in the others' residuals as well, and that is theirs.
        own = self._noise_of(sizes).relative ** 2
        rest = max((self._calm.relative**2 * self._calm.freedom - own * freedom) / others, LEAST_NOISE**2)
        root, above, below = (own / rest) ** (1 / 3), 2 / 9 / freedom, 2 / 9 / others
        return NormalDist().cdf(((1 - above) - (1 - below) * root) / math.sqrt(above + below * root**2))

    @property
    def drift(self) -> float:
        """By how much the fastest repeat as a whole lies above the slowest, relative, beyond what chance does."""
        chance = 2 * self.noise / math.sqrt(len(self.effects))
        apart = min(700.0, max(self.block_levels) - min(self.block_levels))  # beyond it arithmetic overflows
        return max(0.0, math.expm1(apart) - chance)

    def scatter_at(self, size: int) -> float:
        """How far the repeats of one size scatter, relative: the standard deviation of what blocks do not explain."""
        own = [e for e, each in zip(self.residuals, self.observations, strict=True) if each.size == size]
        return math.sqrt(sum(e * e for e in own) / (len(own) - 1)) if len(own) > 1 else 0.0

    def slope_is_shown(self) -> bool:
        """Is the trend inside the blocks there with 95% confidence (two-sided)?"""
        share = sum((each * self.noise) ** 2 for each in self._design.shares({}, slope=1.0))
        return abs(self.slope) > student_t((1 + CONFIDENCE) / 2, self.freedom) * math.sqrt(share)

    def outlier(self) -> Observation | None:
        """The trial farthest off, if chance hardly puts one there: externally studentised residuals, Bonferroni."""
        freedom = self._calm.freedom if self.restless else self.freedom
        if freedom < ENOUGH_FREEDOM:
            return None
        every = zip(self.observations, self.residuals, self._design.leverages, strict=True)
        own = [each for each in every if each[0].size not in self.restless]
        squares = sum(residual**2 for _, residual, _ in own)
        farthest, which = 0.0, None
        for each, residual, leverage in own:
            room = 1 - leverage
            if room < 1e-9:
                continue
            others = max((squares - residual**2 / room) / (freedom - 1), LEAST_NOISE**2)
            off = abs(residual) / math.sqrt(others * room)
            if off > farthest * (1 + 1e-9) and abs(residual) > LEAST_OUTLIER * room:  # of equals the first, in any unit
                farthest, which = off, each
        limit = student_t(1 - OUTLIER_DOUBT / 2 / len(self.residuals), freedom - 1)
        return which if farthest > limit else None

    def error(self, weights: Mapping[int, float]) -> tuple[float, float]:
        """The standard error of a size's value as such, or of a mean with `weights` that sum to 1, and its degrees of
        freedom."""
        found = self.contrast(weights)
        return self._on_any_day(found.error**2, found.freedom)

    def _on_any_day(self, own: float, known: float) -> tuple[float, float]:
        """The error of a value whose variance, of the trials alone, is `own`, with the freedom that is known with.

        Another day is another block: how far blocks differ counts here, though it does not when sizes are compared.
        """
        repeats, sizes = len(self.block_levels), len(self.effects)
        if not self.freedom:
            return math.inf, 1.0
        if repeats < 2:  # they could not be told from the noise, and are in it
            return math.sqrt(own), known
        between = sum(level**2 for level in self.block_levels) / (repeats - 1)  # s^2 of blocks, + noise^2 / sizes
        noise = self.noise**2 / sizes
        # Var = own + s_b^2 / repeats, with s_b^2 = between - noise; both parts have their own freedom.
        within, among = max(own - noise / repeats, 0.0), between / repeats
        freedom = satterthwaite([(within, known), (among, repeats - 1)])
        least = LEAST_NOISE**2 / len(self.observations)
        return math.sqrt(max(within + among, least)), freedom

    def repeats(self, size: int) -> int:
        """How often a size was measured."""
        return sum(each.size == size for each in self.observations)

    def half_width(self, size: int, probability: float) -> float:
        """How far a size's value on any such day lies at most from its effect, as a logarithm, to one side of it, with
        this probability."""
        error, freedom = self.error({size: 1.0})
        return student_t(probability, freedom) * error

    def alone(self, sizes: Collection[int]) -> Noise:
        """The noise of one trial by the trials of these sizes, which scatter alike, whatever the others show."""
        found = self._noise_of(sizes)
        freedom = sum(each.size in sizes for each in self.observations) - len(sizes)
        return Noise(found.relative * max(self._shares[size] for size in sizes), freedom)

    def half_width_alone(self, size: int, probability: float) -> float:
        """The same by the scatter of its own repeats; infinite of one."""
        noise = self.alone({size})
        if not noise.freedom or not self.freedom:
            return math.inf
        error, freedom = self._on_any_day(noise.relative**2 / self.repeats(size), noise.freedom)
        return student_t(probability, freedom) * error

    def interval(self, size: int) -> Interval:
        """What a size carries, and where that lies on any such day with 95% confidence (two-sided)."""
        effect = self.effects[size]
        half = self.half_width(size, (1 + CONFIDENCE) / 2)
        high = math.exp(effect + half) if half < WIDEST else math.inf
        return Interval(math.exp(effect), math.exp(effect - half), high)


def _growth(residuals: Sequence[float], observations: Sequence[Observation]) -> float:
    """The power of the size with which the noise grows, from 0 to 1; drawn towards 0 as far as it may be chance.

    Least squares of log |residual|, whose standard deviation is 1.11 for normal noise, over log size.
    """
    xs = [math.log(each.size) for each in observations]
    middle = fmean(xs)
    spread = sum((x - middle) ** 2 for x in xs)
    if not spread:
        return 0.0
    found = sum((x - middle) * math.log(abs(e) + 1e-4) for x, e in zip(xs, residuals, strict=True)) / spread
    error = 1.11 / math.sqrt(spread)
    return min(found * (1 - (error / found) ** 2), 1.0) if found > error else 0.0


def fit_blocks(observations: Sequence[Observation]) -> tuple[Fit | None, tuple[Observation, ...]]:
    """The fit, and the trials left out of it as outliers (one in eight at most). None: nothing was repeated.

    A size of which most would be left out, or one of four at most because it was too fast, which no accident is, has no
    outliers: it is restless, and all of its trials count.
    """
    return _fit_blocks(tuple(sorted(observations)))


@lru_cache(maxsize=8)  # a page asks for the same in each of its charts and tables
def _fit_blocks(observations: tuple[Observation, ...]) -> tuple[Fit | None, tuple[Observation, ...]]:
    kept, restless = list(observations), set[frozenset[int]]()
    left_out: list[Observation] = []
    designs = Designs(kept)
    fit = fit_all(kept, designs=designs)
    while fit is not None and (outlier := fit.outlier()):
        trials, gone = (sum(each.size == outlier.size for each in some) for some in (observations, left_out))
        place = kept.index(outlier)
        if 2 * gone + 2 > trials or (fit.residuals[place] > 0 and trials <= 4):
            restless.add(frozenset({outlier.size}))
            left_out = [each for each in left_out if each.size != outlier.size]
            without_these = set(left_out)
            kept = [each for each in observations if each not in without_these]
            designs = Designs(kept)
        elif len(left_out) < len(observations) // 8:
            left_out.append(outlier)
            kept = [*kept[:place], *kept[place + 1 :]]
            designs = designs.without(place)
        else:
            break
        fit = fit_all(kept, restless, designs=designs)
    return (fit_all(kept, restless) if left_out else fit), tuple(left_out)


def alone(size: int) -> set[int]:
    """The sizes that are as restless as this one: no other."""
    return {size}


def fit_every(observations: Sequence[Observation], alike: Callable[[int], Collection[int]] = alone) -> Fit | None:
    """The fit of all of them, outliers included, in which what scatters far more than the rest has a noise of its own,
    which sizes that are `alike` share, and tells little of the blocks (weighted least squares). None of nothing.

    Nobody looks here for the smallest size that is good enough. So no trial need be called an accident, which of three
    leaves two that may agree by luck. Nor does the noise grow with the size: two large sizes that are restless would
    hide in that, and a small one, held against less than its own noise, would be restless for them.
    """
    return _fit_every(tuple(observations), alike)


@lru_cache(maxsize=8)
def _fit_every(observations: tuple[Observation, ...], alike: Callable[[int], Collection[int]]) -> Fit | None:
    restless = set[frozenset[int]]()
    fit = fit_all(observations, grows=False)
    while fit is not None and (odd := fit.wildest(alike)):
        restless.update(odd)
        fit = fit_all(observations, restless, frozenset[int]().union(*restless), grows=False)
    return fit


def fit_all(
    observations: Sequence[Observation],
    restless: Collection[frozenset[int]] = (),
    light: frozenset[int] = frozenset(),
    designs: "Designs | None" = None,
    grows: bool = True,
) -> Fit | None:
    """The fit of all of them, outliers included. With a trend where one is shown; with whole repeats where their parts,
    and without blocks where repeats, have no sizes in common, or there is one size alone; None of nothing."""
    if not observations:
        return None
    designs = designs or Designs(observations, light)
    for whole, trend, least_freedom in (
        (False, True, ENOUGH_FREEDOM), (False, False, 1), (True, True, ENOUGH_FREEDOM), (True, False, 0),
    ):  # fmt: skip
        made = designs.made(whole=whole, trend=trend)
        if made is None or len(observations) - made.columns < least_freedom or len(made.sizes) == 1:
            continue
        fit = Fit(observations, made, restless, grows=grows)
        if not trend or fit.slope_is_shown():
            return fit
    made = design(tuple((each.size, (0, 0), 0.0) for each in observations), trend=False)
    return Fit(observations, made, restless, grows=grows) if made else None


class Designs:
    """The designs of trials in the parts of their repeats or in whole ones, with a trend or without, each made where it
    is asked for."""

    def __init__(self, observations: Sequence[Observation], light: frozenset[int] = frozenset()) -> None:
        self._observations, self._light = observations, light
        self._made: dict[tuple[bool, bool], Design | None] = {}

    def made(self, *, whole: bool, trend: bool) -> Design | None:
        """One of them; None where the trials cannot tell its coefficients apart."""
        if (whole, trend) not in self._made:
            parts = ((each.block, 0 if whole else each.part) for each in self._observations)
            cells = ((each.size, part, each.place) for each, part in zip(self._observations, parts, strict=True))
            self._made[whole, trend] = design(tuple(cells), trend, self._light)
        return self._made[whole, trend]

    def without(self, place: int) -> "Designs":
        """Those of the trials without the one at `place`: what is known of the others is not made anew."""
        others = Designs([*self._observations[:place], *self._observations[place + 1 :]], self._light)
        for which, made in self._made.items():
            if (less := made and made.without(place)) is not None:
                others._made[which] = less
        return others


def levels(trials: Sequence[TrialResult]) -> dict[int, Interval]:
    """Requests a second of each size, with its interval: the one source of this number for every table and chart."""
    fit, _ = fit_blocks(observed(trials))
    return {size: fit.interval(size) for size in fit.effects} if fit else {}
