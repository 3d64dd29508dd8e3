"""Rows in, SVG out: line charts, bars and sparklines that need no script, no style sheet and no library. Pure.

What is drawn says itself what it is: axes start at zero and carry their unit, lines are labelled where they end,
markers differ in shape as well as in colour (Okabe and Ito 2008: distinct to colour-blind eyes), a touch on a marker
shows its numbers, and `<title>` and `<desc>` say it to a screen reader. Text, axes and grid are in `currentColor`, so
that a page's dark mode is the chart's. Only presentation attributes are used: they are allowed where a content
security policy forbids inline styles. What a sweep's charts show is in `sweep.figures`; here nobody has heard of a
pool.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's, without yellow and black, which a white or a black page would hide."""

WIDTH, HEIGHT = 720, 392
LEFT, RIGHT, TOP, BOTTOM = 64, 132, 72, 52
LINE_HEIGHT = 15
FAINT, QUIET = 0.13, 0.68

Scale = Callable[[float], float]


@dataclass(frozen=True)
class Point:
    """A value at `x`, the range in which the true one lies (None: not known), and the words of its tooltip; a `doubt`
    puts an exclamation mark beside it. `text` is the value as printed, where its range has a say in that."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    hint: str = ""
    doubt: str = ""
    text: str = ""


@dataclass(frozen=True)
class Series:
    """A line with its name. `mark` is the x of the point to ring, with `mark_label` above it; `dashed`: theory, not
    data.

    `colour` is a place in COLOURS (None: the text's own), which is a marker's shape as well.
    """

    name: str
    points: tuple[Point, ...]
    colour: int | None = 0
    dashed: bool = False
    mark: float | None = None
    mark_label: str = ""


@dataclass(frozen=True)
class Axis:
    """What an axis measures, in words with the unit, and for x: which values get a tick."""

    label: str
    ticks: tuple[float, ...] = ()


@dataclass(frozen=True)
class Bar:
    """Bars side by side at one place: `allowed` is an outline that they should stay inside, `seen` one value for each
    name."""

    label: str
    allowed: float
    seen: tuple[float | None, ...]


def line_chart(title: str, description: str, series: Sequence[Series], x_axis: Axis, y_axis: Axis) -> str:
    """Lines over a common x, both axes from zero; x is logarithmic (base 2) when its ticks span a factor of 8 or more.

    Dashed lines leave the picture at the top when they are far above the data. Without a point it says so.
    """
    drawn = [each for each in series if each.points]
    solid = [point for each in drawn if not each.dashed for point in each.points]
    if not solid:
        return _svg(
            title, description, _text(WIDTH / 2, HEIGHT / 2, "nothing measured yet", anchor="middle", opacity=QUIET)
        )
    ticks = x_axis.ticks or tuple(sorted({point.x for point in solid}))
    tops = [point.high if point.high is not None else point.y for point in solid]
    y_ticks = nice_ticks(1.06 * max(tops))
    x, y = _x_scale(ticks), _linear(0, y_ticks[-1], HEIGHT - BOTTOM, TOP)
    parts = [*_frame(y_axis, y_ticks, y), *_x_ticks(ticks, x, x_axis)]
    for each in sorted(drawn, key=lambda one: not one.dashed):
        parts += _line(each, x, y, y_ticks[-1])
    parts += _marks(drawn, x, y)
    parts += _end_labels(drawn, x, y, y_ticks[-1])
    return _svg(title, description, *parts)


def bar_chart(
    title: str, description: str, names: Sequence[str], bars: Sequence[Bar], x_label: str, y_axis: Axis, allowed: str
) -> str:
    """Groups of bars, each inside the outline of what is `allowed`; what sticks out is more than was allowed, its
    number bold."""
    values = [value for bar in bars for value in (bar.allowed, *bar.seen) if value is not None]
    if not values:
        return _svg(
            title, description, _text(WIDTH / 2, HEIGHT / 2, "nothing measured yet", anchor="middle", opacity=QUIET)
        )
    y_ticks = nice_ticks(1.06 * max(values))
    y = _linear(0, y_ticks[-1], HEIGHT - BOTTOM, TOP)
    room = (WIDTH - LEFT - RIGHT) / len(bars)
    parts = _frame(y_axis, y_ticks, y)
    for place, bar in enumerate(bars):
        parts += _bars(bar, LEFT + room * place, room, y)
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x_label, anchor="middle", opacity=QUIET))
    parts += _legend(names, allowed)
    return _svg(title, description, *parts)


def sparkline(values: Sequence[float], mark: int | None = None, label: str = "") -> str:
    """A line the size of a word, from zero, with a dot on the `mark`th value (from 0); for the rows of a list."""
    width, height, pad = 96, 24, 4
    if not values:
        return ""
    top = max(values) or 1
    step = (width - 2 * pad) / max(1, len(values) - 1)
    points = [
        (pad + step * place, height - pad - (height - 2 * pad) * value / top) for place, value in enumerate(values)
    ]
    path = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
    dot = ""
    if mark is not None:
        x, y = points[mark]
        dot = f'<circle cx="{_n(x)}" cy="{_n(y)}" r="3.2" fill="{COLOURS[1]}"/>'
    return (
        f'<svg class="sparkline" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{escape(label)}"><title>{escape(label)}</title>'
        f'<polyline points="{path}" fill="none" stroke="{COLOURS[0]}" stroke-width="1.6" stroke-linejoin="round" '
        f'stroke-linecap="round"/>{dot}</svg>'
    )


def nice_ticks(top: float, wanted: int = 5) -> tuple[float, ...]:
    """Round values from 0 to at least `top`, about `wanted` steps of 1, 2, 2.5 or 5 times a power of ten."""
    if top <= 0:
        return (0, 1)
    raw = top / wanted
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * (1 - 1e-9))
    return tuple(round(step * place, 12) for place in range(math.ceil(top / step - 1e-9) + 1))


# -- scales --------------------------------------------------------------------------------------------------------


def _linear(low: float, high: float, start: float, end: float) -> Scale:
    span = (high - low) or 1
    return lambda value: start + (value - low) / span * (end - start)


def _x_scale(ticks: Sequence[float]) -> Scale:
    low, high = min(ticks), max(ticks)
    left, right = LEFT + 14, WIDTH - RIGHT - 10
    if low > 0 and high / low >= 8:
        scale = _linear(math.log2(low), math.log2(high), left, right)
        return lambda value: scale(math.log2(value))
    return _linear(0, high, LEFT, right)


# -- parts ---------------------------------------------------------------------------------------------------------


def _frame(y_axis: Axis, ticks: Sequence[float], y: Scale) -> list[str]:
    """Horizontal grid with its numbers, the base line, and what y is, above it, where nobody has to turn the head."""
    parts = [_text(LEFT, TOP - 14, y_axis.label, opacity=QUIET)]
    for tick in ticks:
        opacity = FAINT if tick else 0.6
        parts.append(_rule(LEFT, y(tick), WIDTH - RIGHT, y(tick), opacity))
        parts.append(_text(LEFT - 8, y(tick) + 4, _figure(tick), anchor="end", opacity=QUIET))
    return parts


def _x_ticks(ticks: Sequence[float], x: Scale, axis: Axis) -> Iterator[str]:
    base, last = HEIGHT - BOTTOM, -math.inf
    for tick in ticks:
        yield _rule(x(tick), base, x(tick), base + 4, 0.6)
        if x(tick) - last >= 10 + 7 * len(_figure(tick)):
            yield _text(x(tick), base + 18, _figure(tick), anchor="middle", opacity=QUIET)
            last = x(tick)
    yield _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, axis.label, anchor="middle", opacity=QUIET)


def _line(series: Series, x: Scale, y: Scale, top: float) -> Iterator[str]:
    colour = _colour(series.colour)
    points = [(point.x, point.y) for point in sorted(series.points, key=lambda each: each.x)]
    inside = _cut(points, top)
    path = " ".join(f"{_n(x(px))},{_n(y(py))}" for px, py in inside)
    dashes = ' stroke-dasharray="5 5" stroke-opacity="0.6"' if series.dashed else ""
    width = 1.5 if series.dashed else 2.2
    yield (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linejoin="round" '
        f'stroke-linecap="round"{dashes}/>'
    )
    if series.dashed:
        return
    for point in series.points:
        whisker = ""
        if point.low is not None and point.high is not None:
            px, low, high = x(point.x), y(max(0.0, point.low)), y(min(top, point.high))
            whisker = (
                f'<path d="M{_n(px)} {_n(low)}V{_n(high)}M{_n(px - 4)} {_n(low)}h8M{_n(px - 4)} {_n(high)}h8" '
                f'stroke="{colour}" stroke-width="1.4" stroke-opacity="0.75" fill="none"/>'
            )
        words = f"{point.hint}; in doubt: {point.doubt}" if point.doubt else point.hint
        hint = f"<title>{escape(words)}</title>" if words else ""
        doubt = _text(x(point.x) + 7, y(point.y) - 6, "!", colour=colour, weight="700", size=14) if point.doubt else ""
        yield f"<g>{hint}{whisker}{doubt}{_marker(x(point.x), y(point.y), series.colour or 0, colour)}</g>"


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


def _marks(series: Sequence[Series], x: Scale, y: Scale) -> Iterator[str]:
    """A ring around each recommended point, and a thin line up to its label: one label for a place, on two floors if
    need be."""
    places: dict[tuple[float, str], list[tuple[Point, str]]] = {}
    for each in series:
        for point in each.points:
            if point.x == each.mark:
                places.setdefault((point.x, each.mark_label), []).append((point, _colour(each.colour)))
    last = -math.inf
    floor = 0
    for (mark, label), rings in sorted(places.items()):
        px, half = x(mark), 3.8 * len(label)
        floor = 1 - floor if px - half < last + 8 else 0
        last = px + half
        for point, colour in rings:
            yield (
                f'<circle cx="{_n(px)}" cy="{_n(y(point.y))}" r="9" fill="none" stroke="{colour}" stroke-width="2"/>'
            )
        highest = min(y(point.y) for point, _ in rings)
        yield (
            f'<line x1="{_n(px)}" y1="{_n(TOP - 8)}" x2="{_n(px)}" y2="{_n(highest - 12)}" stroke="currentColor" '
            f'stroke-width="1.2" stroke-opacity="0.45" stroke-dasharray="2 3"/>'
        )
        colour = rings[0][1] if len(rings) == 1 else "currentColor"
        centre = min(max(px, LEFT + 96 + half), WIDTH - half - 4)
        yield _text(centre, TOP - 14 - LINE_HEIGHT * floor, label, anchor="middle", colour=colour, weight="600")


def _end_labels(series: Sequence[Series], x: Scale, y: Scale, top: float) -> Iterator[str]:
    """Each name where its line ends, pushed apart until none covers another."""
    ends = []
    for each in series:
        inside = _cut([(point.x, point.y) for point in sorted(each.points, key=lambda one: one.x)], top)
        if inside:
            ends.append((y(inside[-1][1]), x(inside[-1][0]), each))
    ends.sort(key=lambda end: end[0])
    floor = TOP + 2.0
    places: list[float] = []
    for wanted, _, _ in ends:
        places.append(max(wanted, floor))
        floor = places[-1] + LINE_HEIGHT
    ceiling = HEIGHT - BOTTOM - 4.0
    for place in reversed(range(len(places))):
        places[place] = min(places[place], ceiling)
        ceiling = places[place] - LINE_HEIGHT
    for (_, end_x, each), middle in zip(ends, places, strict=True):
        at = WIDTH - RIGHT + 6 if end_x > WIDTH - RIGHT - 40 else end_x + 12
        yield _text(at, middle + 4, each.name, colour=_colour(each.colour), weight="400" if each.dashed else "600")


def _bars(bar: Bar, left: float, room: float, y: Scale) -> Iterator[str]:
    base = y(0)
    gap = min(10.0, room * 0.14)
    width = min(64.0, room - 2 * gap)
    start = left + (room - width) / 2
    each_width = width / max(1, len(bar.seen))
    for place, value in enumerate(bar.seen):
        if value is None:
            continue
        colour = _colour(place)
        px, py = start + each_width * place, y(value)
        yield (
            f"<g><title>{escape(bar.label)}: {_figure(value)} seen, {_figure(bar.allowed)} allowed</title>"
            f'<rect x="{_n(px + 1)}" y="{_n(py)}" width="{_n(each_width - 2)}" height="{_n(base - py)}" rx="1.5" '
            f'fill="{colour}"/></g>'
        )
        label = _figure(value)
        if each_width >= 6.4 * len(label):
            weight = "700" if value > bar.allowed else "400"
            yield _text(px + each_width / 2, py - 5, label, anchor="middle", weight=weight, size=10.5)
    top = y(bar.allowed)
    yield (
        f'<path d="M{_n(start - 3)} {_n(base)}V{_n(top)}H{_n(start + width + 3)}V{_n(base)}" fill="none" '
        f'stroke="currentColor" stroke-width="1.3" stroke-dasharray="4 3" stroke-opacity="0.65"/>'
    )
    yield _text(left + room / 2, base + 18, bar.label, anchor="middle", opacity=QUIET)


def _legend(names: Sequence[str], allowed: str) -> Iterator[str]:
    left, top = WIDTH - RIGHT + 12, TOP + 8
    for place, name in enumerate(names):
        at = top + place * (LINE_HEIGHT + 5)
        yield f'<rect x="{left}" y="{at - 9}" width="11" height="11" rx="1.5" fill="{_colour(place)}"/>'
        yield _text(left + 17, at + 1, name, colour=_colour(place), weight="600")
    at = top + len(names) * (LINE_HEIGHT + 5)
    yield (
        f'<path d="M{left} {at + 2}v-11h11v11" fill="none" stroke="currentColor" stroke-width="1.3" '
        f'stroke-dasharray="4 3" stroke-opacity="0.65"/>'
    )
    yield _text(left + 17, at + 1, allowed, opacity=QUIET)


def _marker(x: float, y: float, shape: int, colour: str) -> str:
    """Six shapes of about the same weight, by the place of the colour."""
    shapes = (
        f'<circle cx="{_n(x)}" cy="{_n(y)}" r="4.2" fill="{colour}"/>',
        f'<rect x="{_n(x - 3.8)}" y="{_n(y - 3.8)}" width="7.6" height="7.6" fill="{colour}"/>',
        f'<path d="M{_n(x)} {_n(y - 5)}l4.8 8.6h-9.6z" fill="{colour}"/>',
        f'<path d="M{_n(x)} {_n(y - 5.4)}l5.4 5.4l-5.4 5.4l-5.4 -5.4z" fill="{colour}"/>',
        f'<path d="M{_n(x)} {_n(y + 5)}l4.8 -8.6h-9.6z" fill="{colour}"/>',
        f'<path d="M{_n(x - 4)} {_n(y - 4)}l8 8m0 -8l-8 8" stroke="{colour}" stroke-width="2.4" fill="none"/>',
    )
    return shapes[shape % len(shapes)]


# -- the smallest parts --------------------------------------------------------------------------------------------


def _svg(title: str, description: str, *parts: str) -> str:
    heading = _text(16, 24, title, weight="650", size=15)
    return (
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}" font-family="system-ui, -apple-system, Segoe UI, Roboto, sans-serif" '
        f'font-size="12" fill="currentColor" color="currentColor"><title>{escape(title)}</title>'
        f"<desc>{escape(description)}</desc>{heading}{''.join(parts)}</svg>"
    )


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    colour: str = "currentColor",
    opacity: float = 1,
    weight: str = "400",
    size: float = 12,
) -> str:
    return (
        f'<text x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}" fill="{colour}" fill-opacity="{opacity:g}" '
        f'font-weight="{weight}" font-size="{size:g}">{escape(text)}</text>'
    )


def _rule(x1: float, y1: float, x2: float, y2: float, opacity: float) -> str:
    return (
        f'<line x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}" stroke="currentColor" '
        f'stroke-opacity="{opacity:g}"/>'
    )


def _colour(place: int | None) -> str:
    return "currentColor" if place is None else COLOURS[place % len(COLOURS)]


def _figure(value: float) -> str:
    return f"{value:,.10g}"


def _n(value: float) -> str:
    """A coordinate to a tenth of a unit, which nobody can see the rest of."""
    return f"{value:.1f}".removesuffix(".0")
