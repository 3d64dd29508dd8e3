"""One load over time: what its sweeps found, the newest at the right. Pure."""

from collections.abc import Sequence
from datetime import datetime

from pooldemo.sweep.analyse.statistics import digits
from pooldemo.sweep.facts import SweepResult, Verdict
from pooldemo.sweep.report.charts import Axis, Point, Series
from pooldemo.sweep.report.figures import Lines, described, load_of, look_of
from pooldemo.sweep.report.moment import moment

DAY_S = 86_400.0


def trend(sweeps: Sequence[SweepResult]) -> Lines | None:
    """The throughput at the size that each verdict names, a line for each stack; None: fewer than three tell it.

    The sweeps are of one load, in any order; their trials are not needed.
    """
    told = sorted((each for each in sweeps if each.started_at), key=lambda each: each.started_at)
    last = datetime.fromisoformat(told[-1].started_at) if told else None
    lines: dict[str, list[Point]] = {}
    for sweep in told:
        for verdict in sweep.verdicts:
            if verdict.rps is not None and last is not None:
                days = (datetime.fromisoformat(sweep.started_at) - last).total_seconds() / DAY_S
                lines.setdefault(verdict.stack, []).append(_point(sweep, verdict, verdict.rps, days))
    series = [Series(stack, tuple(points), look_of(stack)) for stack, points in lines.items() if len(points) > 2]
    if not series:
        return None
    first = min(point.x for line in series for point in line.points)
    axis = Axis("days, the newest at the right", tuple(round(first * part / 4, 2) for part in (4, 3, 2, 1, 0)))
    title = f"This load over time: {load_of(told[-1])}"
    return Lines(title, described(series), tuple(series), axis, Axis("requests/s at the size to use"))


def _point(sweep: SweepResult, verdict: Verdict, rps: float, days: float) -> Point:
    words = f"sweep {sweep.id}, {moment(sweep.started_at)}: {verdict.stack} {digits(rps)} requests/s"
    return Point(days, rps, verdict.rps_low, verdict.rps_high, f"{words} at MAX_CONNS={verdict.max_conns}")
