"""The smallest parts of a chart: its frame, its scales, its texts, a colour and a shape for each line. Pure.

Only presentation attributes are used: they are allowed where a content security policy forbids inline styles. Text,
axes and grid are in `currentColor`, so that a page's dark mode is the chart's; no text has another colour, because a
colour that a line can have on a white and on a black page is too faint for letters.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#C2689B", "#997000", "#7B68C8")
"""After Okabe and Ito 2008, distinct to colour-blind eyes; each has a contrast of 3 to 1 on white and on black."""

LINE_HEIGHT = 15
FAINT, QUIET = 0.13, 0.76

Scale = Callable[[float], float]


@dataclass(frozen=True)
class Frame:
    """The size of a chart and the margins around what it plots. `legend`: names stand below, not where lines end."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    legend: bool = False

    @property
    def end(self) -> float:
        """Where the plot ends on the right."""
        return self.width - self.right

    @property
    def base(self) -> float:
        return self.height - self.bottom


WIDE = Frame(720, 392, 64, 132, 72, 52)
NARROW = Frame(380, 340, 50, 14, 84, 52, legend=True)
"""For a phone: a wide chart shrunk to it would have letters of five pixels."""


def linear(low: float, high: float, start: float, end: float) -> Scale:
    span = (high - low) or 1
    return lambda value: start + (value - low) / span * (end - start)


def is_logarithmic(ticks: Sequence[float]) -> bool:
    """Whether an axis with these ticks is drawn by powers of two: when they span a factor of 8 or more."""
    return min(ticks) > 0 and max(ticks) / min(ticks) >= 8


def x_scale(ticks: Sequence[float], frame: Frame, tight: bool = False) -> Scale:
    low, high = min(ticks), max(ticks)
    if is_logarithmic(ticks):
        scale = linear(math.log2(low), math.log2(high), frame.left + 14, frame.end - 10)
        return lambda value: scale(math.log2(value))
    if tight:
        return linear(low, high, frame.left, frame.end)
    return linear(min(0.0, low), high, frame.left, frame.end - 10)


def nice_ticks(top: float, wanted: int = 5, whole: bool = False) -> tuple[float, ...]:
    """Round values from 0 to at least `top`, about `wanted` steps of 1, 2, 2.5 or 5 times a power of ten; of what is
    counted, `whole` ones."""
    if top <= 0:
        return (0, 1)
    raw = top / wanted
    power = 10 ** math.floor(math.log10(raw))
    steps = (factor * power for factor in ((1, 2, 5, 10) if whole else (1, 2, 2.5, 5, 10)))
    step = next((each for each in steps if each >= raw * (1 - 1e-9) and (each >= 1 or not whole)), 1.0)
    return tuple(round(step * place, 12) for place in range(math.ceil(top / step - 1e-9) + 1))


def svg(title: str, description: str, frame: Frame, *parts: str, attributes: str = "") -> str:
    """The whole picture, with its title in it and its words for a screen reader."""
    kind = "plot narrow" if frame.legend else "plot"  # no "chart": django-unfold's script takes one for a canvas
    lines = _wrapped(title, frame)
    heading = "".join(text(12, 22 + 18 * row, line, weight="650", size=15) for row, line in enumerate(lines))
    return (
        f'<svg class="{kind}" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {n(frame.width)} {n(frame.height)}" '
        f'role="img" aria-label="{escape(title)}" font-family="system-ui, -apple-system, Segoe UI, Roboto, sans-serif" '
        f'font-size="12" fill="currentColor" color="currentColor"{attributes}><title>{escape(title)}</title>'
        f"<desc>{escape(description)}</desc>{heading}{''.join(parts)}</svg>"
    )


def text(
    x: float, y: float, words: str, *, anchor: str = "start", opacity: float = 1, weight: str = "400", size: float = 12
) -> str:
    middle = "" if anchor == "start" else f' text-anchor="{anchor}"'
    faint = "" if opacity == 1 else f' fill-opacity="{opacity:g}"'
    heavy = "" if weight == "400" else f' font-weight="{weight}"'
    large = "" if size == 12 else f' font-size="{size:g}"'
    return f'<text x="{n(x)}" y="{n(y)}"{middle}{faint}{heavy}{large}>{escape(words)}</text>'


def rule(x1: float, y1: float, x2: float, y2: float, opacity: float) -> str:
    return (
        f'<line x1="{n(x1)}" y1="{n(y1)}" x2="{n(x2)}" y2="{n(y2)}" stroke="currentColor" '
        f'stroke-opacity="{opacity:g}"/>'
    )


def colour_of(look: int | None) -> str:
    return "currentColor" if look is None else COLOURS[look % len(COLOURS)]


def marker(x: float, y: float, look: int | None) -> str:
    """One of six shapes of about the same weight. Colour and shape together tell 36 looks apart."""
    colour, look = colour_of(look), look or 0
    shapes = (
        f'<circle cx="{n(x)}" cy="{n(y)}" r="4.2" fill="{colour}"/>',
        f'<rect x="{n(x - 3.8)}" y="{n(y - 3.8)}" width="7.6" height="7.6" fill="{colour}"/>',
        f'<path d="M{n(x)} {n(y - 5)}l4.8 8.6h-9.6z" fill="{colour}"/>',
        f'<path d="M{n(x)} {n(y - 5.4)}l5.4 5.4l-5.4 5.4l-5.4 -5.4z" fill="{colour}"/>',
        f'<path d="M{n(x)} {n(y + 5)}l4.8 -8.6h-9.6z" fill="{colour}"/>',
        f'<path d="M{n(x - 4)} {n(y - 4)}l8 8m0 -8l-8 8" stroke="{colour}" stroke-width="2.4" fill="none"/>',
    )
    return shapes[(look + look // len(COLOURS)) % len(shapes)]


def figure(value: float) -> str:
    return f"{value:,.10g}"


def n(value: float) -> str:
    """A coordinate to a tenth of a unit, which nobody can see the rest of."""
    return f"{value:.1f}".removesuffix(".0")


def width_of(words: str, size: float = 12) -> float:
    """About how wide these words are; no narrower in bold, and in capitals, which are wider."""
    return size * sum(0.86 if each.isupper() else 0.62 for each in words)


def with_title(frame: Frame, title: str) -> Frame:
    """A wide frame grows where its title takes a second line; a narrow one has room for it."""
    more = 0 if frame.legend else 18 * (len(_wrapped(title, frame)) - 1)
    return replace(frame, top=frame.top + more, height=frame.height + more)


def with_ticks(frame: Frame, ticks: Sequence[float]) -> Frame:
    """With room on the left for the numbers of its grid."""
    widest = max(sum(4.0 if each in ",." else 7.7 for each in figure(tick)) for tick in ticks)
    return replace(frame, left=max(frame.left, widest + 8))


def _wrapped(words: str, frame: Frame) -> list[str]:
    """Two lines at most: a title that is longer ends in three dots."""
    most = int((frame.width - 24) / 8.8)
    if len(words) <= most:
        return [words]
    cut = words.rfind(" ", 0, most + 1)
    cut = cut if cut > 0 else most
    rest = words[cut:].strip()
    return [words[:cut], rest if len(rest) <= most else f"{rest[: most - 1]}…"]
