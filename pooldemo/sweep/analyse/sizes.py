"""What each size shows over its repeats: the one source of these numbers for tables, charts and JSON. Pure."""

import math
from collections.abc import Sequence

from pooldemo.sweep.analyse.blocks import levels
from pooldemo.sweep.analyse.latency import Spread, quantile_ms
from pooldemo.sweep.analyse.statistics import Interval, digits
from pooldemo.sweep.facts import SizeResult, SweepResult, TrialResult, Verdict


def sizes_of(sweep: SweepResult) -> tuple[SizeResult, ...]:
    """Each stack's sizes, rising, in the order of the stacks and of the workers; trials that failed are left out."""
    found: list[SizeResult] = []
    for view in sweep.views:
        ran = [trial for trial in view.trials if not trial.error]
        for stack in sweep.plan.stacks:
            found += sizes_of_stack([each for each in ran if each.stack == stack])
    return tuple(found)


def sizes_of_stack(trials: Sequence[TrialResult]) -> tuple[SizeResult, ...]:
    """The sizes of trials that ran, all of one stack and one number of workers."""
    rps, spread = levels(trials), Spread(trials, "p95_ms")
    by_size: dict[int, list[TrialResult]] = {}
    for trial in sorted(trials, key=lambda each: each.size):
        by_size.setdefault(trial.size, []).append(trial)
    return tuple(
        _size(own, rps.get(size, Interval(0.0, 0.0, 0.0)), spread)  # an interval of nothing: no request succeeded
        for size, own in by_size.items()
    )


def carried(found: SizeResult | Verdict) -> str:
    """The requests a second of a size, or of the one that a verdict names, as every table, chart and sentence prints
    them: with the digits that their interval allows."""
    return digits(found.rps, None if found.rps is None or found.rps_high is None else found.rps_high - found.rps)


def _size(trials: Sequence[TrialResult], rps: Interval, spread: Spread) -> SizeResult:
    first = trials[0]
    known = math.isfinite(rps.high)
    p95_ms = quantile_ms(trials, "p95_ms")
    low, high = spread.interval(first.size, p95_ms)
    return SizeResult(
        stack=first.stack,
        size=first.size,
        workers=first.workers,
        repeats=len(trials),
        rps=rps.mean,
        rps_low=rps.low if known else None,
        rps_high=rps.high if known else None,
        p50_ms=quantile_ms(trials, "p50_ms"),
        p95_ms=p95_ms,
        p95_low_ms=low,
        p95_high_ms=high,
        p99_ms=quantile_ms(trials, "p99_ms"),
        requests=sum(each.requests for each in trials),
        failures=sum(each.failures for each in trials),
    )
