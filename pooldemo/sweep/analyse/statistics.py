"""The arithmetic of repeats: percentiles, intervals, and what few repeats can tell apart. Pure, standard library only.

What a size is good for is decided in `verdict`; here numbers go in and numbers come out. Noise is always *relative*
(0.03: 3% of the mean): a server's scatter grows with its throughput, and only then may sizes share one estimate of
it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean

CONFIDENCE = 0.95
"""How sure a statement has to be; two-sided for intervals, one-sided for comparisons."""


def percentile(histogram: Iterable[tuple[float, int]], fraction: float) -> float | None:
    """The value below or at which `fraction` (0 to 1) of a histogram's observations lie; None when it is empty.

    `histogram` holds pairs of (value, count) in rising order. Nearest rank (Hyndman and Fan 1996, definition 1):
    always a value that was seen, never one in between, because the gap between two waves of requests is empty and
    must stay so.
    """
    pairs = [(value, count) for value, count in histogram if count > 0]
    if not 0 <= fraction <= 1:
        raise ValueError(f"percentile takes a fraction from 0 to 1, not {fraction!r}; 95% is 0.95")
    rank = max(1, math.ceil(round(fraction * sum(count for _, count in pairs), 9)))
    seen = 0
    for value, count in pairs:
        seen += count
        if seen >= rank:
            return value
    return None


def student_t(probability: float, freedom: float) -> float:
    """Student's t: the value that a variable with `freedom` degrees of freedom stays below with this probability (0.5
    to 1). Between whole degrees of freedom it is drawn straight.
    """
    whole = math.floor(freedom)
    if whole == freedom:
        return _whole_t(probability, whole)
    low, high = _whole_t(probability, whole), _whole_t(probability, whole + 1)
    return low + (high - low) * (freedom - whole)


@lru_cache(maxsize=4096)
def _whole_t(probability: float, freedom: int) -> float:
    """Bisection of the exact finite series for whole degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    if not 0.5 <= probability < 1 or freedom < 1:
        raise ValueError(f"student_t takes 0.5 <= p < 1 and freedom >= 1, not p={probability!r}, freedom={freedom!r}")
    low, high = 0.0, 1.0
    while _t_below(high, freedom) < probability:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_below(middle, freedom) < probability else (low, middle)
    return (low + high) / 2


def _t_below(t: float, freedom: int) -> float:
    """P(T < t) for t >= 0."""
    angle = math.atan(t / math.sqrt(freedom))
    cos2 = math.cos(angle) ** 2
    odd = freedom % 2
    term, total = (math.cos(angle), 0.0) if odd else (1.0, 0.0)
    for step in range(2 if odd else 1, freedom, 2):
        total += term
        term *= cos2 * step / (step + 1)
    sine = math.sin(angle)
    return 0.5 + ((angle + sine * total) / math.pi if odd else sine * total / 2)


@dataclass(frozen=True)
class Noise:
    """How far repeats scatter: `relative` standard deviation of one trial, known with `freedom` degrees of freedom.

    With `freedom` 0 nothing was repeated and nothing is known: intervals are infinitely wide.
    """

    relative: float
    freedom: int

    def half_width(self, error: float, probability: float = CONFIDENCE) -> float:
        """How far a relative estimate may be off: t x noise x `error`, the latter in units of one trial's scatter."""
        if not self.freedom:
            return math.inf
        return student_t(probability, self.freedom) * self.relative * error


def pooled_noise(samples: Iterable[Sequence[float]]) -> Noise:
    """One estimate of the relative noise from the repeats of several sizes.

    The standard deviation of three repeats is itself off by 50%; pooled over seven sizes it has 14 degrees of freedom
    and is off by 19%. Squares of the relative deviations are added and divided by the sum of (repeats - 1): the
    pooled variance of an analysis of variance with one factor.
    """
    squares, freedom = 0.0, 0
    for values in samples:
        mean = fmean(values) if values else 0.0
        if mean > 0:
            squares += sum((value / mean - 1) ** 2 for value in values)
            freedom += len(values) - 1
    return Noise(math.sqrt(squares / freedom) if freedom else 0.0, freedom)


@dataclass(frozen=True)
class Interval:
    """A mean, and the range in which the true one lies with 95% confidence (two-sided)."""

    mean: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        return self.high - self.mean


def interval(values: Sequence[float], noise: Noise | None = None) -> Interval | None:
    """Mean and 95% interval of repeats: mean +- t x s / sqrt(n), Student 1908; None without values.

    `noise` is what the sizes share (`pooled_noise`); without it these values speak for themselves. One value and no
    noise: the interval is (-inf, inf), since a single repeat says nothing about the next.
    """
    if not values:
        return None
    mean = fmean(values)
    noise = noise or pooled_noise([values])
    half = abs(mean) * noise.half_width(1 / math.sqrt(len(values)), (1 + CONFIDENCE) / 2) if mean else 0.0
    return Interval(mean, mean - half, mean + half)


@dataclass(frozen=True)
class Comparison:
    """How much smaller one mean is than another, relative: `by` 0.05 means 5% below; negative: above."""

    by: float
    half_width: float

    @property
    def is_shown(self) -> bool:
        """With 95% confidence (one-sided) it is below at all."""
        return self.by - self.half_width > 0

    def is_more_than(self, margin: float) -> bool:
        """With 95% confidence (one-sided) it is below by more than `margin`."""
        return self.by - self.half_width > margin

    def is_at_most(self, margin: float) -> bool:
        """With 95% confidence (one-sided) it is not below by more than `margin`: a test of non-inferiority."""
        return self.by + self.half_width <= margin


def shortfall(
    values: Sequence[float], references: Sequence[Sequence[float]], noise: Noise, probability: float = CONFIDENCE
) -> Comparison:
    """How far the mean of `values` lies below the mean of the `references`' means, as a fraction of the latter.

    One-sided t for two means with a common variance: the error of the difference is s x sqrt(1/n + sum(1/n_i) / k^2)
    for k references. Comparing with a *mean* of several sizes, not with the largest of them, is what takes the
    winner's curse out: the largest of seven equal means at 3% noise and three repeats is 2.3% too high by luck alone.
    """
    reference = fmean(fmean(each) for each in references)
    error = math.sqrt(1 / len(values) + sum(1 / len(each) for each in references) / len(references) ** 2)
    by = 1 - fmean(values) / reference if reference > 0 else 0.0
    return Comparison(by, noise.half_width(error, probability))


def slope(points: Mapping[float, Sequence[float]]) -> tuple[float, float]:
    """Least-squares slope of the logarithm of the means over x, and its error in units of one trial's relative noise.

    With x = log2(size) the slope is the (logarithmic) gain of one doubling. At least two points, means above 0.
    """
    centre = fmean(points)
    spread = sum((x - centre) ** 2 for x in points)
    gain = sum((x - centre) * math.log(fmean(values)) for x, values in points.items()) / spread
    error = math.sqrt(sum(((x - centre) / spread) ** 2 / len(values) for x, values in points.items()))
    return gain, error


def first_against_second_half(counts: Sequence[int]) -> float:
    """How much more the second half of a window's seconds holds than the first, relative to the whole; 0 when too
    short.

    A warmed-up server gives 0; one that is still warming up gives more than 0. An odd second in the middle is left out.
    """
    half = len(counts) // 2
    first, second = sum(counts[:half]), sum(counts[len(counts) - half :])
    return (second - first) / ((first + second) / 2) if first + second else 0.0


def digits(value: float | None, half_width: float | None = None, at_most: int = 3) -> str:
    """A number as it may be printed: three significant digits, or fewer when its interval allows no more.

    The last digit printed is at most one place finer than the interval's first: 612.3 +- 40 is `610`, 612.3 +- 4 is
    `612`. None is a dash. No exponent: 12345 is `12,300`.
    """
    if value is None or not math.isfinite(value):
        return "-"
    if not value:
        return "0"
    magnitude = math.floor(math.log10(abs(float(f"{value:.{at_most - 1}e}"))))
    place = magnitude - at_most + 1
    if half_width and math.isfinite(half_width):
        place = max(place, min(math.floor(math.log10(abs(half_width))), magnitude))
    return f"{round(value, -place):,.{max(0, -place)}f}"
