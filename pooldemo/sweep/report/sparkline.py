"""A curve the size of a word, for the rows of a list. Pure."""

from collections.abc import Sequence
from html import escape

from pooldemo.sweep.report.canvas import colour_of, n


def sparkline(values: Sequence[float], mark: int | None = None, label: str = "", look: int = 0) -> str:
    """A line the size of a word, from zero, with a ring around the `mark`th value (from 0); for the rows of a list."""
    width, height, pad = 96, 24, 5
    if not values:
        return ""
    top = max(values) or 1
    step = (width - 2 * pad) / max(1, len(values) - 1)
    points = [
        (pad + step * place, height - pad - (height - 2 * pad) * value / top) for place, value in enumerate(values)
    ]
    path = " ".join(f"{n(x)},{n(y)}" for x, y in points)
    dot = ""
    if mark is not None:
        x, y = points[mark]
        dot = f'<circle cx="{n(x)}" cy="{n(y)}" r="3.4" fill="{colour_of(look)}"/>'
    return (
        f'<svg class="sparkline" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{escape(label)}"><title>{escape(label)}</title>'
        f'<polyline points="{path}" fill="none" stroke="{colour_of(look)}" stroke-width="1.6" stroke-linejoin="round" '
        f'stroke-linecap="round"/>{dot}</svg>'
    )
