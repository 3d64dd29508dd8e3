"""The charts of a sweep: throughput, latency, one against the other, connections. From facts to `charts`, nothing else.
Pure.

A figure holds what is to be seen, and draws itself as SVG: wide, and narrow for a phone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from pooldemo.sweep import plan as planning
from pooldemo.sweep import stacks
from pooldemo.sweep.analyse import theory
from pooldemo.sweep.analyse.sizes import by_size, carried, holds_of, levels_of, sizes_of_stack, trials_of
from pooldemo.sweep.analyse.statistics import counted, digits
from pooldemo.sweep.analyse.warnings import EXPECTED
from pooldemo.sweep.facts import SweepResult, TrialResult, Verdict
from pooldemo.sweep.report import answer, charts, heatmap
from pooldemo.sweep.report.canvas import NARROW, WIDE, Frame
from pooldemo.sweep.report.charts import Axis, Bar, Point, Series
from pooldemo.sweep.report.legend import Name
from pooldemo.sweep.report.sparkline import sparkline
from pooldemo.sweep.report.tables import shape_of
from pooldemo.sweep.workloads import has_length

SIZE = "MAX_CONNS of one worker"
MOST_DOTS = 500  # of all lines; more would be a cloud, and a page of megabytes
KNOWN_BEST = ("pooldemo", "geventpool", "psycopg-pool", "upool", "queuepool", "persistent")
"""Stacks that stand beside each other most often: their colours differ."""


@dataclass(frozen=True)
class Figure:
    """Something to draw: `title` in the picture, `description` for those who do not see it."""

    title: str
    description: str

    @cached_property
    def svg(self) -> str:
        return self.draw(WIDE)

    @cached_property
    def narrow(self) -> str:
        return self.draw(NARROW)

    def draw(self, frame: Frame) -> str:
        raise NotImplementedError


@dataclass(frozen=True)
class Lines(Figure):
    """Lines over a common x."""

    series: tuple[Series, ...]
    x_axis: Axis
    y_axis: Axis

    def draw(self, frame: Frame) -> str:
        return charts.line_chart(self.title, self.description, self.series, self.x_axis, self.y_axis, frame)


@dataclass(frozen=True)
class Bars(Figure):
    """A bar of each stack for each size, inside what it is allowed."""

    names: tuple[Name, ...]
    bars: tuple[Bar, ...]
    x_axis: Axis
    y_axis: Axis

    def draw(self, frame: Frame) -> str:
        return charts.bar_chart(
            self.title, self.description, self.names, self.bars, self.x_axis.label, self.y_axis, "allowed", frame
        )


Shown = Figure | heatmap.HeatMap


def look_of(stack: str) -> int:
    """The colour and shape of a stack: the same in every chart, list and report."""
    if planning.label(stack):  # a variant, beside its own
        return look_of(planning.base(stack)) + 3
    known = [*KNOWN_BEST, *(name for name in stacks.names() if name not in KNOWN_BEST)]
    return known.index(stack) if stack in known else len(known) + sum(stack.encode())


def throughput(sweep: SweepResult) -> Lines:
    """Requests a second against size: a line for each stack with its 95% intervals, a dot for each trial, the bound
    dashed, the sizes to use ringed."""
    series = [throughput_line(stack, sweep) for stack in sweep.plan.stacks]
    if bound := _bound(sweep):
        series.append(bound)
    title = f"Throughput against pool size: {load_of(sweep)}"
    return Lines(title, described(series), tuple(series), size_axis(sweep.trials), Axis("requests/s"))


def latency(sweep: SweepResult) -> Lines:
    """The p95 of the successes of every stack against size, on one scale: a whisker from p50 to p99 at each point, the
    limits of the SLO dashed."""
    series = [_latency(stack, sweep) for stack in sweep.plan.stacks]
    sizes = size_axis(sweep.trials)
    ends = (min(sizes.ticks), max(sizes.ticks)) if sizes.ticks else ()
    for limit in sweep.plan.slo:
        if limit.metric != "errors":
            points = tuple(Point(x, limit.at_most) for x in ends)
            series.append(Series(f"SLO {limit.metric}", points, None, dashed=True))
    title = "Latency against pool size: p95, and p50 to p99 as its whisker"
    return Lines(title, described(series, "ms"), tuple(series), sizes, Axis("milliseconds"))


def tradeoff(sweep: SweepResult) -> Lines:
    """p95 against throughput: a point for each size, joined as sizes rise. Right and low is better."""
    series = [_tradeoff(stack, sweep) for stack in sweep.plan.stacks]
    words = "; ".join(point.hint for each in series for point in each.points)
    title = "What a size costs: p95 against throughput, a point for each size"
    return Lines(title, words, tuple(series), Axis("requests/s"), Axis("p95, milliseconds"))


def connections(sweep: SweepResult) -> Bars:
    """The most connections that PostgreSQL saw at each size, each stack inside (or outside) the outline of what is
    allowed."""
    bars = []
    for size in sorted({trial.size for trial in sweep.trials if not trial.error}):
        seen = tuple(_peak(sweep, stack, size) for stack in sweep.plan.stacks)
        if any(value is not None for value in seen):
            bars.append(Bar(str(size), size * sweep.plan.workers, seen))
    words = "; ".join(f"at {bar.label}: {bar.allowed:g} allowed, seen {', '.join(map(str, bar.seen))}" for bar in bars)
    title = "Connections that PostgreSQL saw"
    names = tuple(Name(stack, look_of(stack)) for stack in sweep.plan.stacks)
    return Bars(title, words, names, tuple(bars), Axis(SIZE), Axis("connections"))


def figures_of(sweep: SweepResult) -> dict[str, Shown]:
    """Those of its page and of its report; none when no trial succeeded. Of several numbers of workers the maps show
    all, the rest that which the first verdict names. A new one is a line here: page and report draw them all."""
    found: dict[str, Shown] = {f"map-{place}": each for place, each in enumerate(heatmap.maps(sweep))}
    sweep = sweep.chosen
    if not any(not trial.error for trial in sweep.trials):
        return found
    found |= {"throughput": throughput(sweep)}
    found |= {"latency": latency(sweep)}
    found |= {"tradeoff": tradeoff(sweep)}
    if any(trial.peak_connections is not None for trial in sweep.trials):
        found |= {"connections": connections(sweep)}
    return found


def sweep_sparkline(sweep: SweepResult, stack: str) -> str:
    """The stack's throughput over its sizes, the size to use dotted."""
    sweep = sweep.chosen
    found = levels_of(sweep, stack)
    means = {size: each.mean for size, each in found.items()}
    verdict = _verdict(sweep, stack)
    sizes = list(means)
    mark = sizes.index(verdict.max_conns) if verdict and verdict.max_conns in means else None
    label = f"{stack}: " + ", ".join(f"{size}: {each.text}" for size, each in found.items())
    return sparkline(list(means.values()), mark, f"{label} requests/s", look_of(stack))


def load_of(sweep: SweepResult) -> str:
    """What was asked of the server, in a few words: `slow 100 ms, 64 users, 2 workers`."""
    plan = sweep.plan
    counts = " or ".join(map(str, plan.worker_counts))
    workers = f", {counts} workers" if max(plan.worker_counts) > 1 else ""
    timed = f" {plan.ms:g} ms" if has_length(plan.workload) else ""
    loop = "" if plan.rate is None else f", open loop at {plan.rate:g}/s"
    loop = ", open loop at its highest rate" if plan.search else loop
    return f"{plan.asked}{timed}, {counted(plan.users, 'user')}{workers}{loop}"


def throughput_line(stack: str, sweep: SweepResult) -> Series:
    """The line of one stack in the chart of its throughput."""
    verdict = _verdict(sweep, stack)
    points, own = [], trials_of(sweep, stack)
    for size, found in levels_of(sweep, stack).items():
        known = math.isfinite(found.high)
        spread = f" ({digits(found.low)} to {digits(found.high)})" if known else " (one repeat)"
        hint = f"{stack} at {size}: {found.text} requests/s{spread}"
        low, high = (found.low, found.high) if known else (None, None)
        points.append(Point(size, found.mean, low, high, hint, _doubt(by_size(sweep, stack)[size]), found.text))
    dots = tuple(Point(t.size, t.rps, hint=_dot(t)) for t in own) if len(sweep.trials) <= MOST_DOTS else ()
    line = Series(stack, tuple(points), look_of(stack), dots=dots)
    if verdict is None or verdict.max_conns is None:
        return line
    label, reason = f"MAX_CONNS={verdict.max_conns}", answer.reason(sweep.plan, verdict)
    if verdict.shape == "rising":
        label, reason = f"{label}, the best so far", reason or shape_of(verdict)
    return replace(line, mark=verdict.max_conns, mark_label=label, mark_reason=reason)


def _dot(trial: TrialResult) -> str:
    return f"{trial.key}: {digits(trial.rps)} requests/s"


def _bound(sweep: SweepResult) -> Series | None:
    """min(U / (Z + S), N / S) with S measured at each size; of the first stack that tells its hold."""
    plan = sweep.plan
    for stack in plan.stacks:
        points = tuple(
            Point(size, theory.bound(size, plan.workers, plan.users, hold, rate=plan.rate).rps)
            for size, hold in holds_of(sweep, stack).items()
        )
        if len(points) > 1:
            return Series("bound", points, None, dashed=True)
    return None


def _latency(stack: str, sweep: SweepResult) -> Series:
    points = []
    for each in sizes_of_stack(sweep, stack):
        if each.p95_ms is not None:
            words = f"p50 {digits(each.p50_ms)}, p95 {digits(each.p95_ms)}, p99 {digits(each.p99_ms)} ms"
            points.append(Point(each.size, each.p95_ms, each.p50_ms, each.p99_ms, f"{stack} at {each.size}: {words}"))
    verdict = _verdict(sweep, stack)
    return Series(stack, tuple(points), look_of(stack), mark=verdict.max_conns if verdict else None)


def _tradeoff(stack: str, sweep: SweepResult) -> Series:
    points, mark, verdict = [], None, _verdict(sweep, stack)
    for each in sizes_of_stack(sweep, stack):
        if each.p95_ms is None:
            continue
        hint = f"{stack} at {each.size}: {carried(each)} requests/s, p95 {digits(each.p95_ms)} ms"
        points.append(Point(each.rps, each.p95_ms, hint=hint, name=str(each.size)))
        mark = each.rps if verdict and each.size == verdict.max_conns else mark
    return Series(stack, tuple(points), look_of(stack), mark=mark)


def _peak(sweep: SweepResult, stack: str, size: int) -> int | None:
    trials = by_size(sweep, stack).get(size, ())
    return max((each.peak_connections for each in trials if each.peak_connections is not None), default=None)


def _verdict(sweep: SweepResult, stack: str) -> Verdict | None:
    return next((verdict for verdict in sweep.verdicts if verdict.stack == stack), None)


def size_axis(trials: Sequence[TrialResult]) -> Axis:
    """The sizes of the trials that ran."""
    return Axis(SIZE, tuple(sorted({float(trial.size) for trial in trials if not trial.error})))


def _doubt(trials: Sequence[TrialResult]) -> str:
    """The codes of the warnings there are at a point, but for those that each sweep has."""
    return ", ".join(sorted({each.code for trial in trials for each in trial.warnings} - set(EXPECTED)))


def described(series: Sequence[Series], unit: str = "") -> str:
    """What the lines show, in words."""
    lines = [
        f"{each.name}: "
        + ", ".join(
            f"{point.x:g}: {point.text or digits(point.y)}{f' {unit}' if unit else ''}" for point in each.points
        )
        for each in series
        if each.points
    ]
    return "; ".join(lines)
