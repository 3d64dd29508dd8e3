"""Two sweeps side by side: what changed, and whether that is more than luck. Pure.

Throughput and p95 are compared for each stack and size that both sweeps have. A change counts when it is more than 5%
*and* shown with 95% confidence over all comparisons together (Bonferroni): of twenty equal pairs one would otherwise
look changed. The 5% stand for what repeats inside one sweep cannot know: the machine was another one that day.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from pooldemo.sweep.analyse.statistics import CONFIDENCE, Noise, pooled_noise, shortfall
from pooldemo.sweep.facts import MARGIN, Plan, SweepResult, TrialResult

METRICS = {"rps": 1, "p95_ms": -1}
"""What is compared, and the sign of better."""

SAME = ("workload", "ms", "think_ms", "users", "workers", "rate")
"""What two plans must share, or their numbers mean different things."""

Samples = dict[tuple[str, int], list[float]]


class NotComparable(ValueError):
    """The two sweeps measured different things."""


@dataclass(frozen=True)
class Change:
    """One metric of one stack at one size: `ratio` is after / before - 1, `half_width` its uncertainty (95%
    over all).

    `kind` is better, worse, same (within what luck and margin allow) or unknown (too few repeats).
    """

    stack: str
    size: int
    metric: str
    before: float
    after: float
    ratio: float
    half_width: float
    kind: str


@dataclass(frozen=True)
class Comparison:
    """All changes, the verdicts that moved (stack, before, after), and in what the conditions differ (in words)."""

    changes: tuple[Change, ...]
    moved: tuple[tuple[str, str, str], ...]
    differences: tuple[str, ...]

    @property
    def is_worse(self) -> bool:
        return any(change.kind == "worse" for change in self.changes)

    @property
    def is_known(self) -> bool:
        """Some comparison had repeats enough to be decided."""
        return any(change.kind != "unknown" for change in self.changes)


def compare_sweeps(before: SweepResult, after: SweepResult) -> Comparison:
    """What changed from `before` to `after`. Raises NotComparable when plans differ or no stack and size is in both."""
    for name in SAME:
        old, new = getattr(before.plan, name), getattr(after.plan, name)
        if old != new:
            raise NotComparable(
                f"the sweeps measured different things: {name} is {old} in the first and {new} in the second; "
                f"compare sweeps that share {', '.join(SAME)}"
            )
    pairs = [(metric, _samples(before.trials, metric), _samples(after.trials, metric)) for metric in METRICS]
    comparisons = sum(len(old.keys() & new.keys()) for _, old, new in pairs)
    if not comparisons:
        raise NotComparable("the sweeps have no stack and size in common: measure the same --stack and --sizes")
    probability = 1 - (1 - CONFIDENCE) / (2 * comparisons)  # either way it may have changed
    changes = tuple(change for metric, old, new in pairs for change in _changes(metric, old, new, probability))
    return Comparison(changes, tuple(_moved(before, after)), tuple(_differences(before, after)))


def _changes(metric: str, old: Samples, new: Samples, probability: float) -> Iterator[Change]:
    noise = pooled_noise([*old.values(), *new.values()])
    for stack, size in sorted(old.keys() & new.keys()):
        yield _change(metric, stack, size, old[stack, size], new[stack, size], noise, probability)


def _change(
    metric: str, stack: str, size: int, old: Sequence[float], new: Sequence[float], noise: Noise, probability: float
) -> Change:
    fall = shortfall(new, [old], noise, probability)
    shown = abs(fall.by) > max(MARGIN / 100, fall.half_width)
    better = METRICS[metric] * fall.by < 0
    kind = "unknown" if not noise.freedom else "same" if not shown else "better" if better else "worse"
    return Change(stack, size, metric, fmean(old), fmean(new), -fall.by, fall.half_width, kind)


def _samples(trials: Sequence[TrialResult], metric: str) -> Samples:
    samples: Samples = {}
    for trial in trials:
        value = getattr(trial, metric)
        if not trial.error and value:
            samples.setdefault((trial.stack, trial.size), []).append(value)
    return samples


def _moved(before: SweepResult, after: SweepResult) -> Iterator[tuple[str, str, str]]:
    old = {verdict.stack: _short(verdict.shape, verdict.max_conns) for verdict in before.verdicts}
    for verdict in after.verdicts:
        new = _short(verdict.shape, verdict.max_conns)
        if verdict.stack in old and old[verdict.stack] != new:
            yield verdict.stack, old[verdict.stack], new


def _short(shape: str, max_conns: int | None) -> str:
    return shape if max_conns is None else f"{shape} at {max_conns}"


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
