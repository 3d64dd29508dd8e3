"""The charts of the live pool: slots and waiters, and the wait, over the last ten minutes. From moments to figures."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pooldemo.monitor.history import SPAN_S, Moment
from pooldemo.sweep.analyse.statistics import digits
from pooldemo.sweep.report.canvas import nice_ticks
from pooldemo.sweep.report.charts import Axis, Point, Series
from pooldemo.sweep.report.figures import Lines

COUNTS = "greenlets, connections"
STEPS = {2: 0.5, 5: 1.0, SPAN_S // 60: 2.0}
"""How far back the axis goes, in minutes, and how far its ticks are apart: no further than there is a past."""


def figures_of(past: Sequence[Moment], now_s: float | None = None) -> Iterator[tuple[str, Lines]]:
    """Both, by name; none where there is no past."""
    if not past:
        return
    now_s = time.time() if now_s is None else now_s
    axis = _ago((now_s - past[0].at_s) / 60)
    series = (
        Series("Active", _points(past, "active", now_s), 0, stepped=True),
        Series("Pending", _points(past, "pending", now_s), 1, stepped=True),
        Series("Max", _points(past, "max", now_s), None, dashed=True, stepped=True),
    )
    last = past[-1]
    most = max(each.pending for each in past)
    words = f"now {last.active} active, {last.pending} pending, {last.max} slots; at most {most} were pending"
    highest = max(max(each.active, each.pending, each.max) for each in past)
    counts = nice_ticks(1.06 * highest, whole=True)
    yield "slots", Lines("Slots and waiters, the last ten minutes", words, series, axis, Axis(COUNTS, counts))
    if any(each.wait_ms is not None for each in past):
        longest = digits(max(each.wait_ms or 0 for each in past))
        name = "p95 of each five seconds"
        lines = tuple(Series(name, _points(run, "wait_ms", now_s), 1, stepped=True) for run in _served(past))
        yield "wait", Lines("Wait for a slot", f"at most {longest} ms", lines, axis, Axis("milliseconds, p95"))


def _served(past: Sequence[Moment]) -> Iterator[list[Moment]]:
    """Moments in a row in which somebody got a slot. Between them nobody did: the site was idle, or it stood still."""
    run: list[Moment] = []
    for each in past:
        if each.wait_ms is not None:
            run.append(each)
        elif run:
            yield [*run, replace(each, wait_ms=run[-1].wait_ms)]
            run = []
    if run:
        yield run


def _points(past: Sequence[Moment], name: str, now_s: float) -> tuple[Point, ...]:
    return tuple(Point(min(0.0, (each.at_s - now_s) / 60), float(getattr(each, name))) for each in past)


def _ago(minutes: float) -> Axis:
    back = next((each for each in STEPS if minutes <= each), SPAN_S // 60)
    step = STEPS[back]
    return Axis("minutes, now at the right", tuple(step * place - back for place in range(round(back / step) + 1)))
