"""The numbers of a sweep as people read them: a row for each size, and the conditions that they depend on. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pooldemo.sweep.analyse.saturation import mean_of
from pooldemo.sweep.analyse.sizes import by_size, carried, sizes_of_stack
from pooldemo.sweep.analyse.statistics import counted, digits, two_digits
from pooldemo.sweep.facts import OWN, Plan, SizeResult, SweepResult, TrialResult, Verdict

SHAPES = {
    "knee": "a knee was found",
    "rising": "still rising",
    "flat": "flat: the pool is not the bottleneck",
    "invalid": "invalid: it cannot be told",
}


def shape_of(verdict: Verdict) -> str:
    """The shape in words."""
    return "perhaps still rising" if verdict.level_from is not None else SHAPES[verdict.shape]


@dataclass(frozen=True)
class Row:
    """A size as the table shows it: `found` with its interval, and means of what the trials tell besides."""

    found: SizeResult
    wait_p95_ms: float | None
    hold_mean_ms: float | None
    peak_connections: int | None
    allowed_connections: int
    efficiency: float | None
    warnings: tuple[str, ...]

    @property
    def size(self) -> int:
        return self.found.size

    @property
    def cells(self) -> tuple[str, ...]:
        """As printed, in the order of HEADERS."""
        found = self.found
        half = None if found.rps_high is None else found.rps_high - found.rps
        spread = "" if half is None else f" ± {digits(half, at_most=1)}"
        peak = f"{self.peak_connections} of {self.allowed_connections}"
        latencies = (found.p50_ms, found.p95_ms, found.p99_ms, self.wait_p95_ms, self.hold_mean_ms)
        return (
            str(self.size),
            f"{carried(found)}{spread}",
            *map(digits, latencies),
            peak if self.peak_connections is not None else "-",
            digits(self.efficiency, at_most=2),
            f"{found.failures:,}",
        )


HEADERS = (
    "size",
    "requests/s",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "wait p95 ms",
    "hold ms",
    "connections",
    "efficiency",
    "failures",
)


def rows_of(sweep: SweepResult, stack: str) -> list[Row]:
    """The table of one stack, by rising size; failed trials are left out."""
    own = by_size(sweep, stack)
    return [_row(found, own[found.size], sweep) for found in sizes_of_stack(sweep, stack)]


def _row(found: SizeResult, trials: Sequence[TrialResult], sweep: SweepResult) -> Row:
    peaks = [trial.peak_connections for trial in trials if trial.peak_connections is not None]
    return Row(
        found=found,
        wait_p95_ms=mean_of(trials, "wait_p95_ms"),
        hold_mean_ms=mean_of(trials, "hold_mean_ms"),
        peak_connections=max(peaks, default=None),
        allowed_connections=found.size * sweep.plan.workers,
        efficiency=mean_of(trials, "efficiency"),
        warnings=tuple(sorted({warning.code for trial in trials for warning in trial.warnings})),
    )


def _least(seconds: float, cycles: float) -> str:
    return f"{'at least ' if cycles else ''}{seconds:g} s"


def repeats(plan: Plan) -> str:
    """`3 repeats`, or `3 to 6 repeats` where sizes were added later: their neighbours are measured again with them."""
    counts = [sum(size in repeated for repeated in plan.repeated) for size in plan.sizes]
    least, most = min(counts, default=0), max(counts, default=0)
    return counted(most, "repeat") if least == most else f"{least} to {most} repeats"


def named(stack: str, view: SweepResult, sweep: SweepResult) -> str:
    """What a table is of: the stack, and at how many workers where there are several."""
    return f"{stack} x {counted(view.plan.workers, 'worker')}" if sweep.plan.splits else stack


def conditions_of(sweep: SweepResult) -> Iterator[tuple[str, str]]:
    """Everything that the numbers depend on, as pairs of words."""
    plan, conditions = sweep.plan, sweep.conditions
    yield (
        "load",
        f"{plan.asked}, {'' if plan.workload in OWN else f'{plan.ms:g} ms, '}{counted(plan.users, 'user')}, "
        + _loop(plan),
    )
    yield (
        "trials",
        f"{_least(plan.duration_s, plan.window_cycles)} after {_least(plan.warmup_s, plan.warmup_cycles)} of warm-up, "
        f"{repeats(plan)}, seed {plan.seed}",
    )
    workers = f"{' or '.join(map(str, plan.splits))} workers" if plan.splits else counted(plan.workers, "worker")
    yield "server", workers + (f", {conditions.gunicorn}" if conditions.gunicorn else "")
    yield (
        "machine",
        f"{counted(conditions.cpus, 'CPU')}, load before {two_digits(conditions.load_before)}"
        + (f", {conditions.machine}" if conditions.machine else ""),
    )
    if conditions.versions:
        yield "versions", ", ".join(f"{name} {version}" for name, version in sorted(conditions.versions.items()))
    if conditions.max_connections:
        yield (
            "PostgreSQL",
            ", ".join(
                [
                    *([counted(conditions.room, "connection")] if conditions.room else []),
                    *(f"{name} = {value}" for name, value in sorted(conditions.settings.items())),
                ]
            ),
        )
    if conditions.settings_module:
        yield "settings", conditions.settings_module
    if conditions.commit:
        yield "commit", conditions.commit


def reasons_of_failure(sweep: SweepResult) -> list[tuple[str, list[str]]]:
    """Why trials did not run, each reason once, and which ones: no figure shows them."""
    reasons: dict[str, list[str]] = {}
    for trial in sweep.trials:
        if trial.error:
            reasons.setdefault(trial.error, []).append(str(trial.key))
    return list(reasons.items())


def title(sweep: SweepResult) -> str:
    """The sweep's number and what was measured."""
    plan = sweep.plan
    number = f"Sweep {sweep.id}" if sweep.id is not None else "Sweep"
    status = "" if sweep.status == "done" else f" ({sweep.status})"
    return f"{number}{status}: {', '.join(plan.stacks)} under {plan.asked}, {counted(plan.users, 'user')}"


def _loop(plan: Plan) -> str:
    if plan.search:
        return "open loop, at the highest rate that meets the SLO"
    if plan.rate is None:
        return "closed loop"
    return f"open loop, {plan.rate:g} requests/s {'at random' if plan.poisson else 'evenly spaced'}"
