"""Rows in, SVG out: line charts and bars that need no script, no style sheet and no library. Pure.

What is drawn says itself what it is: axes start at zero and carry their unit, lines are named where they end, markers
differ in shape as well as in colour, a touch on a marker shows its numbers, and `<title>` and `<desc>` say it to a
screen reader. A page's script goes from marker to marker by the keyboard; it draws nothing. What a sweep's charts show
is in `figures.py`; here nobody has heard of a pool.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape

from pooldemo.sweep.report.canvas import (
    FAINT,
    LINE_HEIGHT,
    QUIET,
    WIDE,
    Frame,
    Scale,
    colour_of,
    figure,
    is_logarithmic,
    linear,
    marker,
    n,
    nice_ticks,
    rule,
    svg,
    text,
    width_of,
    with_ticks,
    with_title,
    x_scale,
)
from pooldemo.sweep.report.legend import Name, column, places, swatch, with_legend


@dataclass(frozen=True)
class Point:
    """A value at `x`, the range in which the true one lies (None: not known), and the words of its tooltip; a `doubt`
    puts an exclamation mark beside it. `text` is the value as printed, where its range has a say in that, `name` is
    written beside the point."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    hint: str = ""
    doubt: str = ""
    text: str = ""
    name: str = ""


@dataclass(frozen=True)
class Series:
    """A line with its name. `mark` is the x of the point to ring, with `mark_label` and `mark_reason` above it;
    `dashed`: theory, not data; `stepped`: counts, which hold until the next one; `dots` are single measurements.

    `look` is its colour and the shape of its markers (None: the text's own colour, no markers).
    """

    name: str
    points: tuple[Point, ...]
    look: int | None = 0
    dashed: bool = False
    mark: float | None = None
    mark_label: str = ""
    mark_reason: str = ""
    dots: tuple[Point, ...] = ()
    stepped: bool = False


@dataclass(frozen=True)
class Axis:
    """What an axis measures, in words with the unit, and which values get a tick (none: round ones from 0). A
    `tight` one begins at its first tick and not at 0."""

    label: str
    ticks: tuple[float, ...] = ()
    tight: bool = False


@dataclass(frozen=True)
class Bar:
    """Bars side by side at one place: `allowed` is an outline that they should stay inside, `seen` one value for each
    name."""

    label: str
    allowed: float
    seen: tuple[float | None, ...]


def line_chart(
    title: str, description: str, series: Sequence[Series], x_axis: Axis, y_axis: Axis, frame: Frame = WIDE
) -> str:
    """Lines over a common x, both axes from zero; x is logarithmic (base 2) when its ticks span a factor of 8 or more.

    Dashed lines leave the picture at the top when they are far above the data. Without a point it says so.
    """
    drawn = [each for each in series if each.points]
    solid = [point for each in drawn if not each.dashed for point in each.points]
    if not solid:
        return _empty(title, description, frame)
    ticks = x_axis.ticks or nice_ticks(max(point.x for point in solid))
    tops = [point.high if point.high is not None else point.y for point in solid]
    y_ticks = y_axis.ticks or nice_ticks(1.06 * max(tops))
    frame = with_legend(with_title(frame, title), _names(drawn))
    frame = with_ticks(frame, y_ticks)
    x = x_scale(ticks, frame, x_axis.tight)
    marked = _marked(drawn)
    labels = _labels(marked, x, frame)
    raised = _raised(marked, frame)
    higher = raised + LINE_HEIGHT * max([0, *(floor - 1 for _, floor in labels.values())])
    frame = replace(frame, top=frame.top + higher, height=frame.height + higher)
    y = linear(0, y_ticks[-1], frame.base, frame.top)
    parts = [*_grid(y_axis, y_ticks, y, frame), *_x_ticks(ticks, x, x_axis, frame)]
    named = [(x(point.x), y(point.y)) for each in drawn for point in each.points if point.x == each.mark]
    for each in sorted(drawn, key=lambda one: not one.dashed):
        parts += _line(each, x, y, y_ticks[-1], named)
    parts += _marks(marked, labels, x, y, frame, raised)
    parts += _legend(drawn, frame) if frame.legend else _end_labels(drawn, x, y, y_ticks[-1], frame)
    # For the script that moves a line: what the ends of both axes are.
    scale = {"x": [min(ticks), max(ticks)], "log": is_logarithmic(ticks), "top": y_ticks[-1]}
    scale |= {"left": x(min(ticks)), "right": x(max(ticks)), "base": frame.base, "ceiling": frame.top}
    return svg(title, description, frame, *parts, attributes=f' data-scale="{escape(json.dumps(scale))}"')


def bar_chart(
    title: str,
    description: str,
    names: Sequence[Name],
    bars: Sequence[Bar],
    x_label: str,
    y_axis: Axis,
    allowed: str,
    frame: Frame = WIDE,
) -> str:
    """Groups of bars, each inside the outline of what is `allowed`; what sticks out is more than was allowed, its
    number bold."""
    values = [value for bar in bars for value in (bar.allowed, *bar.seen) if value is not None]
    if not values:
        return _empty(title, description, frame)
    every = [*names, Name(allowed, None)]
    y_ticks = nice_ticks(1.06 * max(values), whole=True)
    frame = with_ticks(with_legend(with_title(frame, title), every), y_ticks)
    y = linear(0, y_ticks[-1], frame.base, frame.top)
    room = (frame.end - frame.left) / len(bars)
    parts = _grid(y_axis, y_ticks, y, frame)
    for place, bar in enumerate(bars):
        parts += _bars(bar, names, frame.left + room * place, room, y)
    middles = ((frame.left + room * (place + 0.5), bar.label) for place, bar in enumerate(bars))
    parts += _tick_labels(middles, frame)
    parts.append(text((frame.left + frame.end) / 2, frame.base + 40, x_label, anchor="middle", opacity=QUIET))
    for name, left, top in places(every, frame) if frame.legend else column(every, frame):
        parts += swatch(name, left, top)
    return svg(title, description, frame, *parts)


# -- parts ---------------------------------------------------------------------------------------------------------


def _empty(title: str, description: str, frame: Frame) -> str:
    words = text(frame.width / 2, frame.height / 2, "nothing measured yet", anchor="middle", opacity=QUIET)
    return svg(title, description, frame, words)


def _grid(y_axis: Axis, ticks: Sequence[float], y: Scale, frame: Frame) -> list[str]:
    """Horizontal grid with its numbers, the base line, and what y is, above it, where nobody has to turn the head."""
    parts = [text(12, frame.top - 14, y_axis.label, opacity=QUIET)]
    for tick in ticks:
        parts.append(rule(frame.left, y(tick), frame.end, y(tick), FAINT if tick else 0.6))
        parts.append(text(frame.left - 8, y(tick) + 4, figure(tick), anchor="end", opacity=QUIET))
    return parts


def _x_ticks(ticks: Sequence[float], x: Scale, axis: Axis, frame: Frame) -> Iterator[str]:
    for tick in ticks:
        yield rule(x(tick), frame.base, x(tick), frame.base + 4, 0.6)
    yield from _tick_labels(((x(tick), figure(tick)) for tick in ticks), frame)
    yield text((frame.left + frame.end) / 2, frame.base + 38, axis.label, anchor="middle", opacity=QUIET)


def _tick_labels(labels: Iterable[tuple[float, str]], frame: Frame) -> Iterator[str]:
    """Those below an axis that have room beside the one before."""
    last = -math.inf
    for middle, words in labels:
        if middle - last >= 10 + 7 * len(words):
            yield text(middle, frame.base + 18, words, anchor="middle", opacity=QUIET)
            last = middle


def _line(series: Series, x: Scale, y: Scale, top: float, named: list[tuple[float, float]]) -> Iterator[str]:
    """`named` are the places of names so far, of all lines."""
    colour = colour_of(series.look)
    points = [(point.x, point.y) for point in series.points]
    inside = _cut(points, top)
    if series.stepped:
        inside = [
            corner for at, (px, py) in enumerate(inside) for corner in ((px, inside[max(0, at - 1)][1]), (px, py))
        ]
    path = " ".join(f"{n(x(px))},{n(y(py))}" for px, py in inside)
    dashes = ' stroke-dasharray="5 5" stroke-opacity="0.7"' if series.dashed else ""
    width = 1.5 if series.dashed else 2.2
    kind = f' class="theory" data-name="{escape(series.name)}"' if series.dashed else ""
    drawn = (
        f'<polyline{kind} points="{path}" fill="none" stroke="{colour}" stroke-width="{width}" '
        f'stroke-linejoin="round" stroke-linecap="round"{dashes}/>'
    )
    if series.dashed or series.stepped:
        yield drawn
        return
    yield f'<g class="series" data-name="{escape(series.name)}">{drawn}'
    for dot in series.dots:
        yield (
            f'<circle cx="{n(x(dot.x))}" cy="{n(y(min(top, dot.y)))}" r="2.2" fill="{colour}" fill-opacity="0.45">'
            f"<title>{escape(dot.hint)}</title></circle>"
        )
    for point in series.points:
        px, py = x(point.x), y(point.y)
        # Names that would stand on each other are left out.
        is_free = not any(abs(px - left) <= 18 and abs(py - height) <= 13 for left, height in named)
        if point.name and is_free:
            named.append((px, py))
        shown = point if is_free or point.x == series.mark else replace(point, name="")
        yield _point(shown, series.look, px, y, top)
    yield "</g>"


def _point(point: Point, look: int | None, px: float, y: Scale, top: float) -> str:
    whisker, colour = "", colour_of(look)
    if point.low is not None and point.high is not None:
        low, high = y(max(0.0, point.low)), y(min(top, point.high))
        whisker = (
            f'<path d="M{n(px)} {n(low)}V{n(high)}M{n(px - 4)} {n(low)}h8M{n(px - 4)} {n(high)}h8" '
            f'stroke="{colour}" stroke-width="1.4" stroke-opacity="0.75" fill="none"/>'
        )
    words = f"{point.hint}; in doubt: {point.doubt}" if point.doubt else point.hint
    hint = f"<title>{escape(words)}</title>" if words else ""
    py = y(point.y)
    doubt = text(px + 7, py - 6, "!", weight="700", size=14) if point.doubt else ""
    name = text(px + 8, py + 15, point.name, opacity=QUIET, size=11) if point.name else ""
    return f'<g class="point">{hint}{whisker}{doubt}{name}{marker(px, py, look)}</g>'


def _cut(points: Sequence[tuple[float, float]], top: float) -> list[tuple[float, float]]:
    """The line up to `top`: where a segment crosses it, the crossing takes the place of what lies above."""
    inside: list[tuple[float, float]] = []
    for place, (px, py) in enumerate(points):
        before = points[place - 1] if place else None
        if before and (before[1] - top) * (py - top) < 0:
            share = (top - before[1]) / (py - before[1])
            inside.append(
                (before[0] * (px / before[0]) ** share if before[0] > 0 else before[0] + share * (px - before[0]), top)
            )
        if py <= top:
            inside.append((px, py))
    return inside


Marked = dict[tuple[float, str], list[tuple[Point, Series]]]
"""What is ringed, by its place and its label."""


def _marked(series: Sequence[Series]) -> Marked:
    marked: Marked = {}
    for each in series:
        for point in each.points:
            if point.x == each.mark:
                marked.setdefault((point.x, each.mark_label), []).append((point, each))
    return marked


def _reason(marked: Marked) -> str:
    """The reason of the one place that is marked; of several none has room."""
    return next(iter(marked.values()))[0][1].mark_reason if len(marked) == 1 else ""


def _raised(marked: Marked, frame: Frame) -> int:
    """How much higher a reason stands that has no room beside what y is."""
    return LINE_HEIGHT if width_of(_reason(marked)) > frame.width - frame.left - 44 else 0


def _labels(marked: Marked, x: Scale, frame: Frame) -> dict[tuple[float, str], tuple[float, int]]:
    """Where the middle of each label stands, and on which floor: on the lowest where it covers no other."""
    ends: list[float] = []
    found = {}
    for mark, label in sorted(marked):
        if not label:
            continue
        half = max(width_of(label), width_of(_reason(marked))) / 2
        middle = min(max(x(mark), frame.left + 40 + half), frame.width - half - 4)
        floor = next((floor for floor, end in enumerate(ends) if middle - half >= end + 8), len(ends))
        ends[floor : floor + 1] = [middle + half]
        found[mark, label] = middle, floor
    return found


def _marks(
    marked: Marked, labels: dict[tuple[float, str], tuple[float, int]], x: Scale, y: Scale, frame: Frame, raised: int
) -> Iterator[str]:
    """A ring around each recommended point, and a thin line up to its label: one label for a place, with its reason
    where there is one place alone."""
    for (mark, label), rings in sorted(marked.items()):
        px = x(mark)
        for point, each in rings:
            yield (
                f'<circle cx="{n(px)}" cy="{n(y(point.y))}" r="9" fill="none" stroke="{colour_of(each.look)}" '
                'stroke-width="2"/>'
            )
        if not label:
            continue
        highest = min(y(point.y) for point, _ in rings)
        yield (
            f'<line x1="{n(px)}" y1="{n(frame.top - 8)}" x2="{n(px)}" y2="{n(highest - 12)}" stroke="currentColor" '
            f'stroke-width="1.2" stroke-opacity="0.45" stroke-dasharray="2 3"/>'
        )
        reason = _reason(marked)
        centre, floor = labels[mark, label]
        top = frame.top - 14 - raised - LINE_HEIGHT * floor
        if reason:
            yield text(centre, top - LINE_HEIGHT, label, anchor="middle", weight="600")
            yield text(centre, top, reason, anchor="middle", opacity=QUIET)
        else:
            yield text(centre, top, label, anchor="middle", weight="600")


# -- names ---------------------------------------------------------------------------------------------------------


def _end_labels(series: Sequence[Series], x: Scale, y: Scale, top: float, frame: Frame) -> Iterator[str]:
    """Each name where its line ends, with its marker, pushed apart until none covers another."""
    ends = []
    for each in series:
        inside = _cut([(point.x, point.y) for point in each.points], top)
        if inside:
            ends.append((y(inside[-1][1]), x(inside[-1][0]), each))
    ends.sort(key=lambda end: end[0])
    floor = frame.top + 2.0
    middles: list[float] = []
    for wanted, _, _ in ends:
        middles.append(max(wanted, floor))
        floor = middles[-1] + LINE_HEIGHT
    ceiling = frame.base - 4.0
    for place in reversed(range(len(middles))):
        middles[place] = min(middles[place], ceiling)
        ceiling = middles[place] - LINE_HEIGHT
    for (_, _, each), middle in zip(ends, middles, strict=True):
        yield from swatch(Name(each.name, None if each.dashed else each.look), frame.end + 8, middle + 4)


def _names(series: Iterable[Series]) -> list[Name]:
    """Each once: a line with gaps is several of one name."""
    return list(dict.fromkeys(Name(each.name, None if each.dashed else each.look) for each in series))


def _legend(series: Iterable[Series], frame: Frame) -> Iterator[str]:
    for name, left, top in places(_names(series), frame):
        yield from swatch(name, left, top)


def _bars(bar: Bar, names: Sequence[Name], left: float, room: float, y: Scale) -> Iterator[str]:
    base = y(0)
    gap = min(10.0, room * 0.14)
    width = min(64.0, room - 2 * gap)
    start = left + (room - width) / 2
    each_width = width / max(1, len(bar.seen))
    for place, (name, value) in enumerate(zip(names, bar.seen, strict=True)):
        if value is None:
            continue
        px, py = start + each_width * place, y(value)
        hint = f"{name.words} at {bar.label}: {figure(value)} seen, {figure(bar.allowed)} allowed"
        yield (
            f'<g class="point"><title>{escape(hint)}</title>'
            f'<rect x="{n(px + 0.5)}" y="{n(py)}" width="{n(max(1.0, each_width - 1))}" height="{n(base - py)}" '
            f'rx="1.5" fill="{colour_of(name.look)}"/></g>'
        )
        label = figure(value)
        if each_width >= 6.4 * len(label):
            weight = "700" if value > bar.allowed else "400"
            yield text(px + each_width / 2, py - 5, label, anchor="middle", weight=weight, size=10.5)
    top = y(bar.allowed)
    yield (
        f'<path d="M{n(start - 3)} {n(base)}V{n(top)}H{n(start + width + 3)}V{n(base)}" fill="none" '
        f'stroke="currentColor" stroke-width="1.3" stroke-dasharray="4 3" stroke-opacity="0.65"/>'
    )
