"""The charts of a sweep: throughput, latency and connections against size. From facts to `charts`, nothing else.
Pure.

A figure holds what is to be seen; `svg` draws it, and a page's script draws the same points on a canvas.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pooldemo.sweep.analyse import theory
from pooldemo.sweep.analyse.blocks import levels
from pooldemo.sweep.analyse.latency import SHARES, quantile_ms
from pooldemo.sweep.analyse.saturation import hold_of, mean_of
from pooldemo.sweep.analyse.statistics import digits
from pooldemo.sweep.analyse.warnings import EXPECTED
from pooldemo.sweep.facts import SweepResult, TrialResult, Verdict
from pooldemo.sweep.report import charts
from pooldemo.sweep.report.charts import Axis, Bar, Point, Series
from pooldemo.sweep.workloads import has_length

SIZE = "MAX_CONNS of one worker"


@dataclass(frozen=True)
class Lines:
    """Lines over the pool's size."""

    title: str
    description: str
    series: tuple[Series, ...]
    x_axis: Axis
    y_axis: Axis

    @property
    def svg(self) -> str:
        return charts.line_chart(self.title, self.description, self.series, self.x_axis, self.y_axis)


@dataclass(frozen=True)
class Bars:
    """A bar of each stack for each size, inside what it is allowed."""

    title: str
    description: str
    names: tuple[str, ...]
    bars: tuple[Bar, ...]
    x_axis: Axis
    y_axis: Axis

    @property
    def svg(self) -> str:
        return charts.bar_chart(
            self.title, self.description, self.names, self.bars, self.x_axis.label, self.y_axis, "allowed"
        )


Figure = Lines | Bars


def throughput(sweep: SweepResult) -> Lines:
    """Requests a second against size: a line for each stack with its 95% intervals, the bound dashed, the sizes to
    use ringed."""
    series = _all_throughput(sweep)
    if bound := _bound(sweep):
        series.append(bound)
    title = f"Throughput against pool size: {load_of(sweep)}"
    return Lines(title, _described(series), tuple(series), _sizes(sweep.trials), Axis("requests/s"))


def latency(sweep: SweepResult, stack: str) -> Lines:
    """p50, p95 and p99 of the successes against size, the hold below them, and the limits of the SLO as dashed
    lines."""
    rows = (("p99", "p99_ms", 1), ("p95", "p95_ms", 4), ("p50", "p50_ms", 0), ("hold", "hold_mean_ms", 2))
    series = [_latency(name, field, colour, _of(sweep.trials, stack)) for name, field, colour in rows]
    sizes = _sizes(sweep.trials)
    ends = (min(sizes.ticks), max(sizes.ticks)) if sizes.ticks else ()
    for limit in sweep.plan.slo:
        if limit.metric != "errors":
            points = tuple(Point(x, limit.at_most) for x in ends)
            series.append(Series(f"SLO {limit.metric}", points, None, dashed=True))
    title = f"Latency of {stack}: {load_of(sweep)}"
    return Lines(title, _described(series), tuple(series), sizes, Axis("milliseconds"))


def connections(sweep: SweepResult) -> Bars:
    """The most connections that PostgreSQL saw at each size, each stack inside (or outside) the outline of what is
    allowed."""
    bars = []
    for size in sorted({trial.size for trial in sweep.trials if not trial.error}):
        seen = tuple(_peak(sweep.trials, stack, size) for stack in sweep.plan.stacks)
        if any(value is not None for value in seen):
            bars.append(Bar(str(size), size * sweep.plan.workers, seen))
    described = "; ".join(
        f"at {bar.label}: {bar.allowed:g} allowed, seen {', '.join(map(str, bar.seen))}" for bar in bars
    )
    title = "Connections that PostgreSQL saw"
    return Bars(title, described, sweep.plan.stacks, tuple(bars), Axis(SIZE), Axis("connections"))


def overlay(sweeps: Sequence[SweepResult]) -> Lines:
    """The throughput of several sweeps in one figure, a line for each stack of each; the bounds are left out."""
    lines = [(sweep, line) for sweep in sweeps for line in _all_throughput(sweep.chosen)]
    series = [
        replace(line, name=f"{sweep.id} {line.name}", colour=place, mark_label=f"{sweep.id}: {line.mark_label}")
        for place, (sweep, line) in enumerate(lines)
    ]
    loads = {load_of(sweep) for sweep in sweeps}
    title = f"Throughput of {len(sweeps)} sweeps" + (f": {loads.pop()}" if len(loads) == 1 else "")
    trials = [trial for sweep in sweeps for trial in sweep.trials]
    return Lines(title, _described(series), tuple(series), _sizes(trials), Axis("requests/s"))


def figures_of(sweep: SweepResult) -> dict[str, Figure]:
    """The figures of a sweep by name, the most important first; none when no trial succeeded. A new one is a line here:
    the page and the HTML report draw them all."""
    sweep = sweep.chosen
    stacks = {trial.stack for trial in sweep.trials if not trial.error}
    if not stacks:
        return {}
    found: dict[str, Figure] = {"throughput": throughput(sweep), "connections": connections(sweep)}
    for place, stack in enumerate(sweep.plan.stacks):
        if stack in stacks:
            found[f"latency-{place}"] = latency(sweep, stack)
    return found


def sweep_sparkline(sweep: SweepResult, stack: str) -> str:
    """The stack's throughput over its sizes, the size to use dotted."""
    sweep = sweep.chosen
    found = levels(_of(sweep.trials, stack))
    means = {size: each.mean for size, each in found.items()}
    verdict = _verdict(sweep, stack)
    sizes = list(means)
    mark = sizes.index(verdict.max_conns) if verdict and verdict.max_conns in means else None
    label = f"{stack}: " + ", ".join(f"{size}: {each.text}" for size, each in found.items())
    return charts.sparkline(list(means.values()), mark, f"{label} requests/s")


def load_of(sweep: SweepResult) -> str:
    """What was asked of the server, in a few words: `slow 100 ms, 64 users, 2 workers`."""
    plan = sweep.plan
    counts = " or ".join(map(str, plan.worker_counts))
    workers = f", {counts} workers" if max(plan.worker_counts) > 1 else ""
    timed = f" {plan.ms:g} ms" if has_length(plan.workload) else ""
    return f"{plan.asked}{timed}, {plan.users} users{workers}"


def _all_throughput(sweep: SweepResult) -> list[Series]:
    return [
        _throughput(stack, place, sweep.trials, _verdict(sweep, stack)) for place, stack in enumerate(sweep.plan.stacks)
    ]


def _throughput(stack: str, place: int, trials: Sequence[TrialResult], verdict: Verdict | None) -> Series:
    points = []
    for size, found in levels(_of(trials, stack)).items():
        known = math.isfinite(found.high)
        spread = f" ({digits(found.low)} to {digits(found.high)})" if known else " (one repeat)"
        hint = f"{stack} at {size}: {found.text} requests/s{spread}"
        low, high = (found.low, found.high) if known else (None, None)
        points.append(Point(size, found.mean, low, high, hint, _doubt(stack, size, trials), found.text))
    mark = verdict.max_conns if verdict else None
    # A rise that goes on has a best size so far, but none to use: that one is ringed without the line to copy.
    label = f"MAX_CONNS={mark}" if verdict and verdict.shape != "rising" else "still rising"
    return Series(stack, tuple(points), place, mark=mark, mark_label=label)


def _bound(sweep: SweepResult) -> Series | None:
    """min(U / (Z + S), N / S) with S measured at each size; of the first stack that tells its hold."""
    plan = sweep.plan
    for stack in plan.stacks:
        own = _of(sweep.trials, stack)
        holds = {
            size: hold_of([trial for trial in own if trial.size == size]) for size in sorted({t.size for t in own})
        }
        points = tuple(
            Point(size, theory.bound(size, plan.workers, plan.users, hold, rate=plan.rate).rps)
            for size, hold in holds.items()
            if hold
        )
        if len(points) > 1:
            return Series("bound", points, None, dashed=True)
    return None


def _latency(name: str, field: str, colour: int, trials: Sequence[TrialResult]) -> Series:
    points = []
    for size in sorted({trial.size for trial in trials}):
        repeats = [trial for trial in trials if trial.size == size]
        mean = quantile_ms(repeats, field) if field in SHARES else mean_of(repeats, field)
        if mean is None:
            continue
        values = [getattr(trial, field) for trial in repeats if getattr(trial, field) is not None]
        hint = f"{name} at {size}: {digits(mean)} ms ({digits(min(values))} to {digits(max(values))})"
        points.append(Point(size, mean, min(values), max(values), hint))
    return Series(name, tuple(points), colour)


def _of(trials: Sequence[TrialResult], stack: str) -> list[TrialResult]:
    return [trial for trial in trials if trial.stack == stack and not trial.error]


def _peak(trials: Sequence[TrialResult], stack: str, size: int) -> int | None:
    peaks = [t.peak_connections for t in _of(trials, stack) if t.size == size and t.peak_connections is not None]
    return max(peaks, default=None)


def _verdict(sweep: SweepResult, stack: str) -> Verdict | None:
    return next((verdict for verdict in sweep.verdicts if verdict.stack == stack), None)


def _sizes(trials: Sequence[TrialResult]) -> Axis:
    return Axis(SIZE, tuple(sorted({float(trial.size) for trial in trials if not trial.error})))


def _doubt(stack: str, size: int, trials: Sequence[TrialResult]) -> str:
    """The codes of the warnings there are at this point, but for those that each sweep has."""
    at = [trial for trial in _of(trials, stack) if trial.size == size]
    return ", ".join(sorted({each.code for trial in at for each in trial.warnings} - set(EXPECTED)))


def _described(series: Sequence[Series]) -> str:
    lines = [
        f"{each.name}: " + ", ".join(f"{point.x:g}: {point.text or digits(point.y)}" for point in each.points)
        for each in series
        if each.points
    ]
    return "; ".join(lines)
