"""What each size shows over its repeats: the one source of these numbers for tables, charts and JSON. Pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import TypeVar

from pooldemo.sweep.analyse.blocks import levels
from pooldemo.sweep.analyse.latency import Spread, quantile_ms
from pooldemo.sweep.analyse.saturation import hold_of
from pooldemo.sweep.analyse.statistics import Interval, digits
from pooldemo.sweep.facts import SizeResult, SweepResult, TrialResult, Verdict

T = TypeVar("T")


def _once(find: Callable[[SweepResult, str], T]) -> Callable[[SweepResult, str], T]:
    """What is found of one stack of a sweep, kept with the sweep: each chart and table asks for it. A sweep is frozen,
    so it stays true, and it goes with the sweep."""

    @wraps(find)
    def found(sweep: SweepResult, stack: str) -> T:
        kept: dict[str, T] = vars(sweep).setdefault(f"_{find.__name__}", {})
        if stack not in kept:
            kept[stack] = find(sweep, stack)
        return kept[stack]

    return found


def sizes_of(sweep: SweepResult) -> tuple[SizeResult, ...]:
    """Each stack's sizes, rising, in the order of the stacks and of the workers; trials that failed are left out."""
    return tuple(each for view in sweep.views for stack in sweep.plan.stacks for each in sizes_of_stack(view, stack))


@_once
def sizes_of_stack(sweep: SweepResult, stack: str) -> tuple[SizeResult, ...]:
    """The same of one stack, at one number of workers."""
    rps, spread = levels_of(sweep, stack), Spread(trials_of(sweep, stack), "p95_ms")
    return tuple(
        _size(own, rps.get(size, Interval(0.0, 0.0, 0.0)), spread)  # an interval of nothing: no request succeeded
        for size, own in by_size(sweep, stack).items()
    )


@_once
def levels_of(sweep: SweepResult, stack: str) -> Mapping[int, Interval]:
    """Requests a second of each of its sizes at which a request succeeded."""
    return levels(trials_of(sweep, stack))


@_once
def by_size(sweep: SweepResult, stack: str) -> Mapping[int, Sequence[TrialResult]]:
    """Its trials that ran, by their size, rising."""
    found: dict[int, list[TrialResult]] = {}
    for trial in sorted(trials_of(sweep, stack), key=lambda each: each.size):
        found.setdefault(trial.size, []).append(trial)
    return found


@_once
def holds_of(sweep: SweepResult, stack: str) -> Mapping[int, float]:
    """For how many milliseconds a request held its slot at each size, where the stack tells."""
    holds = ((size, hold_of(trials)) for size, trials in by_size(sweep, stack).items())
    return {size: hold_ms for size, hold_ms in holds if hold_ms}


@_once
def trials_of(sweep: SweepResult, stack: str) -> Sequence[TrialResult]:
    """Its trials that ran."""
    return [trial for trial in sweep.trials if trial.stack == stack and not trial.error]


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
