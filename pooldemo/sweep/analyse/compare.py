"""Two sweeps side by side: what changed, and whether that is more than luck. Pure.

Throughput and p95 of each stack are compared at each size that both sweeps have, and over all of them together, on the
logarithm, with repeats as blocks (`blocks`): how far whole repeats lie apart says how far another hour would have.
B is better or worse where that is more than 5% *and* shown with 95% confidence for all comparisons together: the
comparisons over all sizes share half of the doubt, those of single sizes the other half (Bonferroni).

The 5% stand for what neither sweep knows: the machine was another one that day. A slower day of more than that looks
like a worse B; only trials of both in one run could tell them apart.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from pooldemo.sweep.analyse.blocks import Fit, fit_all, fit_blocks, observed
from pooldemo.sweep.analyse.objective import share_bounds
from pooldemo.sweep.analyse.sizes import sizes_of
from pooldemo.sweep.analyse.statistics import CONFIDENCE, student_t
from pooldemo.sweep.facts import MARGIN, Plan, SizeResult, SweepResult, TrialResult, Verdict

METRICS = {"rps": 1, "p95_ms": -1}
"""What is compared, and the sign of better."""

SAME = ("workload", "ms", "think_ms", "urls", "locustfile", "users", "workers", "rate")
"""What two plans must share, or their numbers mean different things."""

NOISIER = 0.99
"""How sure it must be that B's repeats scatter more than A's: noise alone makes one verdict in some invalid."""

UNSURE = ("noise", "level")
"""Causes of an invalid verdict that come and go by chance while the repeats differ no more than they did."""


class NotComparable(ValueError):
    """The two sweeps measured different things."""


@dataclass(frozen=True)
class Change:
    """One metric of one stack at one size (None: over all sizes): `ratio` is after / before - 1, `low` .. `high` where
    it lies with 95% confidence over all (None: nothing was repeated).

    `metric` is rps, p95_ms or failures (their share; its `ratio` is the difference of shares). `kind` is better, worse,
    same (within what luck and margin allow), unknown (too few repeats) or, of rps, lost: B measured nothing there.
    """

    stack: str
    size: int | None
    metric: str
    before: float
    after: float
    ratio: float
    low: float | None
    high: float | None
    kind: str

    @property
    def is_worse(self) -> bool:
        return self.kind in ("worse", "lost")


@dataclass(frozen=True)
class Moved:
    """A verdict that is another one in B: what it said, says, and whether that is worse."""

    stack: str
    before: str
    after: str
    is_worse: bool


@dataclass(frozen=True)
class Comparison:
    """All changes, the verdicts that moved, and in what the conditions differ (in words)."""

    changes: tuple[Change, ...]
    moved: tuple[Moved, ...]
    differences: tuple[str, ...]

    @property
    def is_worse(self) -> bool:
        return any(each.is_worse for each in self.changes) or any(each.is_worse for each in self.moved)

    @property
    def is_known(self) -> bool:
        """Some comparison had repeats enough to be decided."""
        return any(change.kind != "unknown" for change in self.changes if change.metric != "failures")


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
    pairs = [_Pair(stack, before.trials, after.trials) for stack in before.plan.stacks]
    changes = (*_of_pairs(pairs, -math.log1p(-margin / 100)), *_of_sizes(before, after))
    moved = tuple(_moved(before, after, {pair.stack: pair.is_noisier for pair in pairs}))
    return Comparison(changes, moved, tuple(_differences(before, after)))


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


class _Pair:
    """The fits of one stack in both sweeps, for each metric that both have."""

    def __init__(self, stack: str, before: Sequence[TrialResult], after: Sequence[TrialResult]) -> None:
        self.stack = stack
        old, new = ([each for each in trials if each.stack == stack] for trials in (before, after))
        self.fits: dict[str, tuple[Fit, Fit]] = {}
        for metric in METRICS:
            fits = [
                fit_blocks(observed(own))[0] if metric == "rps" else fit_all(observed(own, metric))
                for own in (old, new)
            ]
            if fits[0] and fits[1]:
                self.fits[metric] = fits[0], fits[1]

    def sizes(self, metric: str) -> list[int]:
        old, new = self.fits[metric]
        return sorted(old.effects.keys() & new.effects.keys())

    @property
    def is_noisier(self) -> bool:
        """B's repeats scatter more than A's, beyond chance (Fisher's z of two variances)."""
        if "rps" not in self.fits or not all(fit.freedom for fit in self.fits["rps"]):
            return True
        old, new = self.fits["rps"]
        error = math.sqrt((1 / old.freedom + 1 / new.freedom) / 2)
        return math.log(new.noise / old.noise) > NormalDist().inv_cdf(NOISIER) * error


def _of_pairs(pairs: Sequence[_Pair], margin: float) -> Iterator[Change]:
    whole = [(pair, metric) for pair in pairs for metric in pair.fits if len(pair.sizes(metric)) > 1]
    single = [(pair, metric, size) for pair in pairs for metric in pair.fits for size in pair.sizes(metric)]
    doubt = (1 - CONFIDENCE) / (2 if whole else 1)
    for pair, metric in whole:
        sizes = pair.sizes(metric)
        yield _change(pair, metric, None, dict.fromkeys(sizes, 1 / len(sizes)), 1 - doubt / len(whole), margin)
    for pair, metric, size in single:
        yield _change(pair, metric, size, {size: 1.0}, 1 - doubt / len(single), margin)


def _change(
    pair: _Pair, metric: str, size: int | None, weights: dict[int, float], probability: float, margin: float
) -> Change:
    old, new = pair.fits[metric]
    values = [fit.contrast(weights).value for fit in (old, new)]
    gain = values[1] - values[0]
    if not (old.freedom and new.freedom):
        kind, half = "unknown", math.inf
    else:
        (error, freedom), (other, others) = (fit.error(weights) for fit in (old, new))
        total = error**2 + other**2
        half = student_t(probability, total**2 / (error**4 / freedom + other**4 / others)) * math.sqrt(total)
        shown = "same" if abs(gain) - half <= margin else "better" if gain * METRICS[metric] > 0 else "worse"
        kind = shown
    low, high = (math.expm1(gain + way * half) if half < 700 else None for way in (-1, 1))
    return Change(pair.stack, size, metric, math.exp(values[0]), math.exp(values[1]), math.expm1(gain), low, high, kind)


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
