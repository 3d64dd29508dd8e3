"""The arithmetic of repeats: percentiles, intervals, and what few repeats can tell apart. Pure, standard library only.

What a size is good for is decided in `judge`; here numbers go in and numbers come out. Noise is always *relative*
(0.03: 3% of the mean): a server's scatter grows with its throughput, and only then may sizes share one estimate of
it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

CONFIDENCE = 0.95
"""How sure a statement has to be; two-sided for intervals, one-sided for comparisons."""

LONG_SERIES = 500
"""Degrees of freedom beyond which Student's t is known to nine digits without its series."""

WIDEST = 20.0
"""An interval whose ends lie farther apart than by this power of e, to each side, tells nothing, and overflows."""


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
    """Bisection of the exact finite series for whole degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4); of
    many, whose series is long, their expansion about the normal distribution (26.7.5)."""
    if not 0.5 <= probability < 1 or freedom < 1:
        raise ValueError(f"student_t takes 0.5 <= p < 1 and freedom >= 1, not p={probability!r}, freedom={freedom!r}")
    if freedom > LONG_SERIES:
        x = NormalDist().inv_cdf(probability)
        return x * (
            1
            + (x**2 + 1) / 4 / freedom
            + (5 * x**4 + 16 * x**2 + 3) / 96 / freedom**2
            + (3 * x**6 + 19 * x**4 + 17 * x**2 - 15) / 384 / freedom**3
            + (79 * x**8 + 776 * x**6 + 1482 * x**4 - 1920 * x**2 - 945) / 92160 / freedom**4
        )
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


def satterthwaite(parts: Iterable[tuple[float, float]]) -> float:
    """The degrees of freedom of a sum of variances, from (variance, its degrees of freedom) of each (Satterthwaite
    1946, Welch 1947); at least 1."""
    total = known = 0.0
    for variance, freedom in parts:
        total += variance
        known += variance**2 / freedom if variance else 0.0
    return max(1.0, total**2 / known) if known else 1.0


@dataclass(frozen=True)
class Noise:
    """How far repeats scatter: `relative` standard deviation of one trial, known with `freedom` degrees of freedom.

    With `freedom` 0 nothing was repeated and nothing is known.
    """

    relative: float
    freedom: float


@dataclass(frozen=True)
class Interval:
    """A mean, and the range in which the true one lies with 95% confidence (two-sided)."""

    mean: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        return self.high - self.mean

    @property
    def text(self) -> str:
        """The mean as every table, chart and sentence prints it: with the digits that the interval allows."""
        return digits(self.mean, self.half_width)


def first_against_second_half(counts: Sequence[int]) -> float:
    """How much more the second half of a window's seconds holds than the first, relative to the whole; 0 when too
    short.

    A warmed-up server gives 0; one that is still warming up gives more than 0. An odd second in the middle is left out.
    """
    half = len(counts) // 2
    first, second = sum(counts[:half]), sum(counts[len(counts) - half :])
    return (second - first) / ((first + second) / 2) if first + second else 0.0


def digits(value: float | None, half_width: float | None = None, at_most: int = 3) -> str:
    """A number as it may be printed: three significant digits, or two when its interval allows no more, and never more
    than two places after the point: of no unit of ours is a thousandth worth a look.

    The last digit printed is that of the interval's first: 612.3 +- 40 is `610`, 612.3 +- 4 is `612`. But it is worth
    2% at most: 152 and 136 would be `150` and `140`, beside a sentence that says how far they lie apart. None is a
    dash. No exponent: 12345 is `12,300`, and 0.0004 is `<0.01`.
    """
    if value is None or not math.isfinite(value):
        return "-"
    if not value:
        return "0"
    magnitude = math.floor(math.log10(abs(float(f"{value:.{at_most - 1}e}"))))
    place = magnitude - at_most + 1
    if half_width and math.isfinite(half_width):
        coarsest = magnitude - (1 if abs(value) >= 5 * 10.0**magnitude else 2)
        place = max(place, min(math.floor(math.log10(abs(half_width))), coarsest))
    if abs(value) < 0.005:
        return "<0.01" if value > 0 else ">-0.01"
    place = max(place, -2)
    return f"{round(value, -place):,.{max(0, -place)}f}"


def counted(number: int | str, noun: str) -> str:
    """`1 worker`, `2 workers`; of a number as it is printed as well."""
    return f"{number} {noun}{'' if str(number) == '1' else 's'}"


def two_digits(value: float) -> str:
    """`0.4`, `1.9` or `130`: for what nobody compares to the digit; no exponent either."""
    return f"{value:.2g}" if not value or 0.005 <= abs(value) < 99.5 else digits(value, at_most=2)
