"""Which sizes to measure next: powers of two first, then around the knee, where the answer is decided. Pure.

A sweep of 1, 2, 4 ... 64 says "16, and 8 is too small": the truth lies anywhere above 8. The next round measures
between the two, and stops when neighbours are within a fifth of each other, which is as fine as a few repeats can
tell apart.
"""

from collections.abc import Collection

from pooldemo.sweep.analyse.analysis import Judgement
from pooldemo.sweep.analyse.saturation import is_users

FINENESS = 1.2
"""Neighbouring sizes closer than this factor are not split: they differ by less than noise and margin together."""


def coarse_sizes(largest: int) -> tuple[int, ...]:
    """Powers of two up to `largest`, and `largest` itself: 20 gives 1, 2, 4, 8, 16, 20."""
    if largest < 1:
        raise ValueError(f"coarse_sizes takes a largest size of 1 or more, not {largest!r}")
    powers = {1 << power for power in range(largest.bit_length())}
    return tuple(sorted(size for size in powers | {largest} if size <= largest))


def next_sizes(judgement: Judgement, measured: Collection[int], largest: int) -> tuple[int, ...]:
    """The sizes that would sharpen this judgement, none of them in `measured`, none above `largest`; empty: it is
    sharp enough.

    A knee: one or two between it and the next smaller size, at equal ratios. Rising: twice the largest, while users
    and connections last. Flat or invalid: nothing, since more sizes do not help there.
    """
    knee, plan = judgement.knee, judgement.plan
    if judgement.budget:
        largest = min(largest, judgement.budget // plan.workers)
    if judgement.shape == "knee" and knee.size and judgement.failing_below:
        wanted = _between(judgement.failing_below, knee.size)
    elif judgement.shape == "rising" and knee.size and judgement.failing_above:
        wanted = _between(knee.size, judgement.failing_above)
    elif judgement.shape == "knee" and knee.size and knee.below:
        wanted = _between(knee.below, knee.size)
    elif judgement.shape == "rising" and knee.size and not is_users(knee.size, plan):
        wanted = [min(2 * max(measured), largest, -(-plan.users // plan.workers))]
    elif judgement.shape == "rising" and knee.size and knee.below:
        wanted = _between(knee.below, knee.size)
    else:
        wanted = []
    return tuple(size for size in wanted if size not in measured and size <= largest)


def deciding_sizes(judgement: Judgement) -> tuple[int, ...]:
    """The sizes of which another repeat would help to decide what cannot be told yet; empty: nothing, or nothing would.

    Of a verdict that is invalid for its noise those that may be the best or as good, and the next smaller one; of
    an SLO that is undecided the recommended size and its neighbours, unless it takes another warm-up or other users.
    """
    intervals = judgement.knee.intervals
    sizes = sorted(intervals)
    if judgement.knee.reason == "repeats":
        return tuple(sizes)
    if judgement.knee.reason in ("noise", "level"):
        best = max(each.mean for each in intervals.values())
        apart = max(judgement.plan.margin / 100, 2 * judgement.knee.noise.relative)
        first = next(place for place, size in enumerate(sizes) if intervals[size].mean >= (1 - apart) * best)
        odd = map(sizes.index, judgement.knee.restless)  # whose own noise is not the one above
        return tuple(sizes[max(0, min([first, *odd]) - 1) :])
    helps = not judgement.slo_needs.startswith(("--warmup", "--users"))
    if judgement.checks and judgement.slo == "undecided" and helps:
        place = sizes.index(judgement.size or sizes[0])
        return tuple(sizes[max(0, place - 1) : place + 2])
    return ()


def _between(low: int, high: int) -> list[int]:
    """At most two whole numbers between, at equal ratios."""
    if high - low < 2 or high / low < FINENESS:
        return []
    count = 2 if high - low > 2 and high / low > FINENESS**2 else 1
    points = {round(low * (high / low) ** (step / (count + 1))) for step in range(1, count + 1)}
    return sorted(points - {low, high})
