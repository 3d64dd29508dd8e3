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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pooldemo.sweep import plan as planning
from pooldemo.sweep.analyse.comparison import NEGLIGIBLE, Change, Comparison, Moved
from pooldemo.sweep.analyse.gains import Pair, Sides, changes_of, would_find
from pooldemo.sweep.analyse.objective import bursts, share_bounds
from pooldemo.sweep.analyse.sizes import sizes_of
from pooldemo.sweep.analyse.slo import typed
from pooldemo.sweep.analyse.statistics import CONFIDENCE, counted
from pooldemo.sweep.facts import MARGIN, Plan, SizeResult, SweepResult, Verdict

SAME = ("workload", "ms", "think_ms", "urls", "locustfile", "users", "workers", "rate", "search", "poisson")
"""What two plans must share, or their numbers mean different things."""

AT = " x "  # between a stack and its workers

UNSURE = ("noise", "level")
"""Causes of an invalid verdict that come and go by chance while the repeats differ no more than they did."""

BEGUN = ("running", "interrupted")
"""States of a sweep that has not measured all of its plan: what is missing is not lost."""


class NotComparable(ValueError):
    """The two sweeps measured different things."""


def compare_sweeps(before: SweepResult, after: SweepResult, margin: float = MARGIN) -> Comparison:
    """What changed from `before` to `after`. Raises NotComparable when plans differ or share no stack and size."""
    shared = (*SAME, "slo") if before.plan.search else SAME
    for name in shared:
        old, new = _asked(before.plan, name), _asked(after.plan, name)
        if old != new:
            raise NotComparable(
                f"the sweeps measured different things: {name} is {old} in the first and {new} in the second; "
                f"compare sweeps that share {', '.join(shared)}"
            )
    before, after = _flat(before), _flat(after)
    if not _tried(before) & _tried(after):
        raise NotComparable("the sweeps have no stack and size in common: measure the same --stack and --sizes")
    pairs = [Pair(stack, before.trials, after.trials) for stack in before.plan.stacks]
    changes = (*changes_of(pairs, -math.log1p(-margin / 100)), *_of_sizes(before, after))
    return Comparison(changes, tuple(_moved(before, after, pairs)), tuple(_differences(before, after)))


def compare_sides(sweep: SweepResult) -> Comparison | None:
    """What changed from A to B of a sweep that measured both, `sweep --against`; None of another sweep."""
    sides = plan_sides(sweep)
    if sides is None:
        return None
    before, after = map(_flat, sides)
    pairs = [Sides(stack, before.trials, after.trials) for stack in before.plan.stacks]
    changes = (*changes_of(pairs, NEGLIGIBLE), *_of_sizes(before, after))
    finds, repeats = would_find(pairs, NEGLIGIBLE), planning.repeats_of(sweep.plan)
    return Comparison(changes, tuple(_moved(before, after, pairs)), (), finds, sweep.plan.margin / 100, repeats)


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
    names = {(stack, n): f"{stack}{AT}{counted(n, 'worker')}" for n in sweep.plan.splits for stack in sweep.plan.stacks}
    trials = tuple(replace(each, stack=names.get((each.stack, each.workers), each.stack)) for each in sweep.trials)
    plan = replace(sweep.plan, stacks=tuple(names.values()), splits=())
    return replace(sweep, plan=plan, trials=trials)


def _tried(sweep: SweepResult) -> set[tuple[str, int]]:
    """Stacks and sizes that it ran, whatever became of them; of one that ran nothing those of its plan."""
    ran = {(trial.stack, trial.size) for trial in sweep.trials}
    return ran or set(itertools.product(sweep.plan.stacks, sweep.plan.sizes))


def _of_sizes(before: SweepResult, after: SweepResult) -> Iterator[Change]:
    """Sizes that B lost, and failures that A did not have."""
    told = tuple(map(_counts, (before, after)))
    squares, freedom = map(sum, zip((0.0, 0), *(bursts(each) for of in told for each in of.values()), strict=True))
    burst = squares / freedom if freedom else 1.0
    expected = {(each.stack, each.size) for each in after.trials} if after.status in BEGUN else None
    carried = [
        each for each in sizes_of(before) if each.rps > 0 and (expected is None or (each.stack, each.size) in expected)
    ]
    found = {(each.stack, each.size): each for each in sizes_of(after)}
    for old in carried:
        new = found.get((old.stack, old.size))
        if new is None or not new.rps:
            yield Change(old.stack, old.size, "rps", old.rps, 0.0, -1.0, None, None, "lost")
        if new is not None and new.failures + old.failures:
            counts = [of[old.stack, old.size] for of in told]
            yield _failures(old, new, counts, burst, 1 - (1 - CONFIDENCE) / len(carried))


def _counts(sweep: SweepResult) -> dict[tuple[str, int], list[tuple[int, int]]]:
    """Failures of how many requests, of each repeat of each stack and size."""
    found: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for each in sweep.trials:
        if not each.error:
            found.setdefault((each.stack, each.size), []).append((each.failures, each.requests))
    return found


def _failures(
    old: SizeResult, new: SizeResult, counts: Sequence[Sequence[tuple[int, int]]], burst: float, probability: float
) -> Change:
    """`burst`: by how much more than chance failures differ between repeats, over all sizes of both."""
    shares = [each.failures / each.requests if each.requests else 0.0 for each in (old, new)]
    (old_low, old_high), (new_low, new_high) = (share_bounds(each, probability, max(1.0, burst)) for each in counts)
    low, high = new_low - old_high, new_high - old_low
    kind = "worse" if low > 0 else "better" if high < 0 else "same"
    return Change(old.stack, old.size, "failures", shares[0], shares[1], shares[1] - shares[0], low, high, kind)


def _moved(before: SweepResult, after: SweepResult, pairs: Sequence[Pair]) -> Iterator[Moved]:
    old = {verdict.stack: verdict for verdict in before.verdicts}
    told = {pair.stack.partition(AT)[0] for pair in pairs}
    noisier = dict.fromkeys(told, False) | {pair.stack.partition(AT)[0]: True for pair in pairs if pair.is_noisier}
    ran = {trial.stack.partition(AT)[0] for trial in after.trials} if after.status in BEGUN else old.keys()
    for new in after.verdicts:
        if new.stack in old.keys() & ran and _short(old[new.stack]) != _short(new):
            worse = _is_worse(old[new.stack], new, noisier.get(new.stack, True), begun=after.status in BEGUN)
            yield Moved(new.stack, _short(old[new.stack]), _short(new), worse)


def _is_worse(old: Verdict, new: Verdict, noisier: bool, *, begun: bool) -> bool:
    if old.shape != "invalid" and new.shape == "invalid":
        if begun and new.cause in ("sizes", *UNSURE):
            return False
        return new.cause != "repeats" and (noisier or new.cause not in UNSURE)  # it was asked for one: not its fault
    if old.slo is None or new.slo is None or old.slo.text != new.slo.text:  # two questions
        return False
    return (old.slo.state, new.slo.state) == ("met", "missed")


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
    seconds = ("duration_s", "window_cycles", "warmup_s", "warmup_cycles")
    for name in (*seconds, "repeats", "processes", "margin", "slo"):
        if _asked(old, name) != _asked(new, name):
            yield f"{name}: {_asked(old, name)} -> {_asked(new, name)}"


def _asked(plan: Plan, name: str) -> Any:
    """A field of the plan as people read it."""
    if name == "slo":
        return typed(plan.slo) or "none"
    value = planning.repeats_of(plan) if name == "repeats" else getattr(plan, name)
    return "none" if value is None else value
