"""One trial as its page shows it: its course by the second, its latencies, and what it says in words. Pure."""

import math
from collections.abc import Iterator

from pooldemo.sweep.analyse.statistics import counted, digits
from pooldemo.sweep.analyse.warnings import brief
from pooldemo.sweep.facts import SweepResult, TrialResult
from pooldemo.sweep.report.canvas import nice_ticks
from pooldemo.sweep.report.charts import Axis, Point, Series
from pooldemo.sweep.report.figures import Lines, look_of

BINS = 36
IO = {
    "reads": "pages read",
    "writes": "written",
    "extends": "added",
    "evictions": "evicted",
    "wal_fsyncs": "flushes of its log",
}


def headline(trial: TrialResult) -> str:
    """What it showed, in a sentence."""
    if trial.error:
        return f"It failed: {brief(trial.error)}"
    failed = f", {trial.failures:,} failed" if trial.failures else ""
    return f"{digits(trial.rps)} requests/s, p95 {digits(trial.p95_ms)} ms{failed}"


def words(trial: TrialResult, sweep: SweepResult) -> Iterator[tuple[str, str]]:
    """What there is to know of it, as pairs of words; what was not counted is left out."""
    yield "measured", f"{counted(f'{trial.requests:,}', 'request')} in {digits(trial.window_s)} s"
    yield (
        "latency",
        ", ".join(f"{name} {digits(getattr(trial, f'{name}_ms'))} ms" for name in ("p50", "p95", "p99", "max")),
    )
    if trial.wait_p95_ms is not None:
        yield "wait for a slot", f"p50 {digits(trial.wait_p50_ms)} ms, p95 {digits(trial.wait_p95_ms)} ms"
    if trial.hold_mean_ms is not None:
        query = f", of it {digits(trial.query_mean_ms)} ms of query" if trial.query_mean_ms is not None else ""
        yield "hold", f"{digits(trial.hold_mean_ms)} ms on average{query}"
    if trial.peak_connections is not None:
        yield "connections", f"{trial.peak_connections} at most, {trial.size * trial.workers} allowed"
    if trial.efficiency is not None:
        yield "slots were held", f"{100 * trial.efficiency:.0f}% of the time"
    cores = {"PostgreSQL": trial.postgresql_cpu, "the server": trial.server_cpu, "the load": trial.generator_cpu}
    if told := [f"{name} {digits(value, at_most=2)}" for name, value in cores.items() if value is not None]:
        yield "cores in use", f"{', '.join(told)}, of {sweep.conditions.cpus}"
    if trial.waits:
        doing = sorted(trial.waits.items(), key=lambda each: -each[1])
        yield "its connections", ", ".join(f"{digits(count, at_most=2)} {what}" for what, count in doing[:4])
    if trial.io:
        told = [f"{trial.io[name]:,.0f} {what}" for name, what in IO.items() if name in trial.io]
        yield "PostgreSQL, for all its clients", ", ".join(told)


def figures_of(trial: TrialResult) -> dict[str, Lines]:
    """Its course and its latencies, by name; none of a trial that failed."""
    found: dict[str, Lines] = {}
    if trial.per_second:
        lines = [Series("answered", _steps(trial.per_second), look_of(trial.stack), stepped=True)]
        if any(trial.failures_per_second):
            lines.append(Series("failed", _steps(trial.failures_per_second), 1, stepped=True))
        said = f"from {min(trial.per_second)} to {max(trial.per_second)} requests in a second"
        most = max((*trial.per_second, *trial.failures_per_second))
        found["course"] = Lines(
            "Requests by the second", said, tuple(lines), Axis("second of the window"), _requests(most)
        )
    if len(trial.latencies) > 1:
        found["latencies"] = _histogram(trial)
    return found


def _steps(counts: tuple[int, ...]) -> tuple[Point, ...]:
    """Each holds from where it stands to the next."""
    return tuple(Point(float(second), float(count)) for second, count in enumerate((*counts, counts[-1])))


def _requests(most: int) -> Axis:
    return Axis("requests", nice_ticks(1.06 * most, whole=True))


def _histogram(trial: TrialResult) -> Lines:
    low, high = max(0.1, trial.latencies[0][0]), max(0.2, trial.latencies[-1][0])
    ratio = max(high / low, 1.001)
    counts = [0] * BINS
    for ms, count in trial.latencies:
        counts[min(BINS - 1, max(0, int(BINS * math.log(max(ms, low) / low) / math.log(ratio))))] += count
    edges = [low * ratio ** (place / BINS) for place in range(BINS + 1)]
    heights = zip(edges, (*counts, 0), strict=True)
    points = (Point(low, 0.0), *(Point(edge, float(count)) for edge, count in heights))
    ticks = tuple(float(f"{low * ratio ** (part / 6):.3g}") for part in range(7))
    line = Series("answered", points, look_of(trial.stack), stepped=True)
    said = f"half of them within {digits(trial.p50_ms)} ms, 99% within {digits(trial.p99_ms)} ms"
    return Lines("Latencies", said, (line,), Axis("milliseconds", ticks, tight=True), _requests(max(counts)))
