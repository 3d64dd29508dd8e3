"""Two sweeps side by side: what changed, and whether that is more than luck. Pure.

Throughput and p95 of each stack are compared at each size that both sweeps have, and over all of them together, on the
logarithm, with repeats as blocks (`blocks`): how far whole repeats lie apart says how far another hour would have.
B is better or worse where that is more than 5% *and* shown with 95% confidence for all comparisons together: the
comparisons over all sizes share half of the doubt, those of single sizes the other half (Bonferroni).

The 5% stand for what neither sweep knows: the machine was another one that day. A slower day of more than that looks
like a worse B; only trials of both in one run can tell them apart. `compare_sides` compares these: A and B of `sweep
--against` share their repeats, so what made a repeat slower slowed both, and 1% is a change. It is held against its own
promise as well: that a loss of the margin would have been found in 95% of such sweeps.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

from pooldemo.sweep import plan as planning
from pooldemo.sweep.analyse.comparison import NEGLIGIBLE, Change, Comparison, Moved
from pooldemo.sweep.analyse.gains import Pair, Sides, changes_of, would_find
from pooldemo.sweep.analyse.objective import share_bounds
from pooldemo.sweep.analyse.sizes import sizes_of
from pooldemo.sweep.analyse.statistics import CONFIDENCE
from pooldemo.sweep.facts import MARGIN, Plan, SizeResult, SweepResult, Verdict

SAME = ("workload", "ms", "think_ms", "urls", "locustfile", "users", "workers", "rate")
"""What two plans must share, or their numbers mean different things."""

UNSURE = ("noise", "level")
"""Causes of an invalid verdict that come and go by chance while the repeats differ no more than they did."""


class NotComparable(ValueError):
    """The two sweeps measured different things."""


def compare_sweeps(before: SweepResult, after: SweepResult, margin: float = MARGIN) -> Comparison:
    """What changed from `before` to `after`. Raises NotComparable when plans differ or share no stack and size."""
    for name in SAME:
        old, new = getattr(before.plan, name), getattr(after.plan, name)
        if old != new:
            raise NotComparable(
                f"the sweeps measured different things: {name} is {old} in the first and {new} in the second; "
                f"compare sweeps that share {', '.join(SAME)}"
            )
    before, after = _flat(before), _flat(after)
    if not _tried(before) & _tried(after):
        raise NotComparable("the sweeps have no stack and size in common: measure the same --stack and --sizes")
    pairs = [Pair(stack, before.trials, after.trials) for stack in before.plan.stacks]
    changes = (*changes_of(pairs, -math.log1p(-margin / 100)), *_of_sizes(before, after))
    moved = tuple(_moved(before, after, {pair.stack: pair.is_noisier for pair in pairs}))
    return Comparison(changes, moved, tuple(_differences(before, after)))


def compare_sides(sweep: SweepResult) -> Comparison | None:
    """What changed from A to B of a sweep that measured both, `sweep --against`; None of another sweep."""
    sides = plan_sides(sweep)
    if sides is None:
        return None
    before, after = map(_flat, sides)
    pairs = [Sides(stack, before.trials, after.trials) for stack in before.plan.stacks]
    changes = (*changes_of(pairs, NEGLIGIBLE), *_of_sizes(before, after))
    moved = tuple(_moved(before, after, {pair.stack: pair.is_noisier for pair in pairs}))
    finds = would_find(pairs, NEGLIGIBLE)
    return Comparison(changes, moved, (), finds, sweep.plan.margin / 100, sweep.plan.repeats)


def plan_sides(sweep: SweepResult) -> tuple[SweepResult, SweepResult] | None:
    """A and B of a sweep as two, whose stacks have the same names; None where it measured no stack twice."""
    pairs = planning.pairs(sweep.plan.stacks)
    if not pairs:
        return None
    names = tuple(pairs.values())

    def side(renamed: Mapping[str, str]) -> SweepResult:
        plan = replace(sweep.plan, stacks=names)
        trials = tuple(replace(each, stack=renamed[each.stack]) for each in sweep.trials if each.stack in renamed)
        verdicts = tuple(replace(each, stack=renamed[each.stack]) for each in sweep.verdicts if each.stack in renamed)
        return replace(sweep, plan=plan, trials=trials, verdicts=verdicts)

    return side(pairs), side({name: name for name in names})


def _flat(sweep: SweepResult) -> SweepResult:
    """With a stack for each number of workers where there are several."""
    if not sweep.plan.splits:
        return sweep
    names = {(stack, n): f"{stack} x {n} workers" for n in sweep.plan.splits for stack in sweep.plan.stacks}
    trials = tuple(replace(each, stack=names.get((each.stack, each.workers), each.stack)) for each in sweep.trials)
    plan = replace(sweep.plan, stacks=tuple(names.values()), splits=())
    return replace(sweep, plan=plan, trials=trials)


def _tried(sweep: SweepResult) -> set[tuple[str, int]]:
    """Stacks and sizes that it ran, whatever became of them; of one that ran nothing those of its plan."""
    ran = {(trial.stack, trial.size) for trial in sweep.trials}
    return ran or set(itertools.product(sweep.plan.stacks, sweep.plan.sizes))


def _of_sizes(before: SweepResult, after: SweepResult) -> Iterator[Change]:
    """Sizes that B lost, and failures that A did not have."""
    carried = [each for each in sizes_of(before) if each.rps > 0]
    found = {(each.stack, each.size): each for each in sizes_of(after)}
    for old in carried:
        new = found.get((old.stack, old.size))
        if new is None or not new.rps:
            yield Change(old.stack, old.size, "rps", old.rps, 0.0, -1.0, None, None, "lost")
        if new is not None and new.failures + old.failures:
            yield _failures(old, new, 1 - (1 - CONFIDENCE) / len(carried))


def _failures(old: SizeResult, new: SizeResult, probability: float) -> Change:
    shares = [each.failures / each.requests if each.requests else 0.0 for each in (old, new)]
    (old_low, old_high), (new_low, new_high) = (
        share_bounds([(each.failures, each.requests)], probability) for each in (old, new)
    )
    low, high = new_low - old_high, new_high - old_low
    kind = "worse" if low > 0 else "better" if high < 0 else "same"
    return Change(old.stack, old.size, "failures", shares[0], shares[1], shares[1] - shares[0], low, high, kind)


def _moved(before: SweepResult, after: SweepResult, noisier: dict[str, bool]) -> Iterator[Moved]:
    old = {verdict.stack: verdict for verdict in before.verdicts}
    for new in after.verdicts:
        if new.stack in old and _short(old[new.stack]) != _short(new):
            worse = _is_worse(old[new.stack], new, noisier.get(new.stack, True))
            yield Moved(new.stack, _short(old[new.stack]), _short(new), worse)


def _is_worse(old: Verdict, new: Verdict, noisier: bool) -> bool:
    if old.shape != "invalid" and new.shape == "invalid":
        return noisier or new.cause not in UNSURE
    return bool(old.slo and new.slo and old.slo.state == "met" and new.slo.state == "missed")


def _short(verdict: Verdict) -> str:
    text = verdict.shape if verdict.max_conns is None else f"{verdict.shape} at {verdict.max_conns}"
    return f"{text}, SLO {verdict.slo.state}" if verdict.slo else text


def _differences(before: SweepResult, after: SweepResult) -> Iterator[str]:
    yield from _of_plans(before.plan, after.plan)
    old, new = before.conditions, after.conditions
    for name in ("commit", "machine", "cpus", "max_connections"):
        if getattr(old, name) != getattr(new, name):
            yield f"{name}: {getattr(old, name)} -> {getattr(new, name)}"
    for kind, olds, news in (("version", old.versions, new.versions), ("setting", old.settings, new.settings)):
        for name in sorted(olds.keys() | news.keys()):
            if olds.get(name) != news.get(name):
                yield f"{kind} {name}: {olds.get(name, '-')} -> {news.get(name, '-')}"


def _of_plans(old: Plan, new: Plan) -> Iterator[str]:
    for name in ("duration_s", "warmup_s", "repeats", "processes"):
        if getattr(old, name) != getattr(new, name):
            yield f"{name}: {getattr(old, name)} -> {getattr(new, name)}"
