"""One load over time: what its sweeps found, the newest at the right. Pure."""

from collections.abc import Sequence
from datetime import datetime

from pooldemo.sweep.analyse.sizes import carried
from pooldemo.sweep.facts import SweepResult, Verdict
from pooldemo.sweep.report.canvas import nice_ticks
from pooldemo.sweep.report.charts import Axis, Point, Series
from pooldemo.sweep.report.figures import Lines, described, load_of, look_of
from pooldemo.sweep.report.moment import moment

UNITS = {"days": 86_400.0, "hours": 3600.0, "minutes": 60.0}


def trend(sweeps: Sequence[SweepResult]) -> Lines | None:
    """The throughput at the size that each verdict names, a line for each stack; None: fewer than three tell it.

    The sweeps are of one load, in any order; their trials are not needed.
    """
    told = sorted((each for each in sweeps if each.started_at), key=lambda each: each.started_at)
    last = datetime.fromisoformat(told[-1].started_at) if told else None
    unit, unit_s = _unit(told)
    lines: dict[str, list[Point]] = {}
    for sweep in told:
        for verdict in sweep.verdicts:
            if verdict.rps is not None and last is not None:
                ago = (datetime.fromisoformat(sweep.started_at) - last).total_seconds() / unit_s
                lines.setdefault(verdict.stack, []).append(_point(sweep, verdict, verdict.rps, ago))
    series = [Series(stack, tuple(points), look_of(stack)) for stack, points in lines.items() if len(points) > 2]
    if not series:
        return None
    ticks = nice_ticks(-min(point.x for line in series for point in line.points))
    axis = Axis(f"{unit}, the newest at the right", tuple(-tick or 0.0 for tick in reversed(ticks)))
    title = f"This load over time: {load_of(told[-1])}"
    return Lines(title, described(series), tuple(series), axis, Axis("requests/s at the size to use"))


def _unit(told: Sequence[SweepResult]) -> tuple[str, float]:
    """In what the time between the first and the last of them is told, and how many seconds that has."""
    ends = [datetime.fromisoformat(each.started_at) for each in (*told[:1], *told[-1:])]
    span_s = (max(ends) - min(ends)).total_seconds() if ends else 0.0
    return next(((name, size_s) for name, size_s in UNITS.items() if span_s >= 2 * size_s), ("minutes", 60.0))


def _point(sweep: SweepResult, verdict: Verdict, rps: float, ago: float) -> Point:
    words = f"sweep {sweep.id}, {moment(sweep.started_at)}: {verdict.stack} {carried(verdict)} requests/s"
    hint = f"{words} at MAX_CONNS={verdict.max_conns}"
    return Point(ago, rps, verdict.rps_low, verdict.rps_high, hint, text=carried(verdict))
