"""Throughput and p95 over workers and sizes: a field for each split, the one to use framed. SVG."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from pooldemo.sweep.analyse.sizes import carried, sizes_of
from pooldemo.sweep.analyse.statistics import digits
from pooldemo.sweep.facts import SizeResult, SweepResult

WIDTH, HEIGHT, LEFT, TOP = 88, 44, 96, 56
METRICS = {"rps": "requests/s", "p95_ms": "p95 in ms"}


@dataclass(frozen=True)
class HeatMap:
    """A number for each (workers, size) of one stack; `chosen` is the split that its verdict names."""

    title: str
    workers: tuple[int, ...]
    sizes: tuple[int, ...]
    values: dict[tuple[int, int], float]
    texts: dict[tuple[int, int], str]
    chosen: tuple[int, int | None]


def maps(sweep: SweepResult) -> Iterator[HeatMap]:
    """Two for each stack of a sweep over several numbers of workers; none of another."""
    if not sweep.plan.splits:
        return
    every = sizes_of(sweep)
    for verdict in sweep.verdicts:
        own = [each for each in every if each.stack == verdict.stack]
        for metric, unit in METRICS.items():
            if values := _values(own, metric):
                sizes = tuple(sorted({size for _, size in values}))
                texts = {cell: digits(value) for cell, value in values.items()}
                if metric == "rps":
                    texts = {(each.workers, each.size): carried(each) for each in own}
                chosen = verdict.workers, verdict.max_conns
                yield HeatMap(f"{verdict.stack}: {unit}", sweep.plan.splits, sizes, values, texts, chosen)


def _values(sizes: Sequence[SizeResult], metric: str) -> dict[tuple[int, int], float]:
    found = {(each.workers, each.size): getattr(each, metric) for each in sizes}
    return {cell: value for cell, value in found.items() if value is not None}


def svg(found: HeatMap) -> str:
    """The map as one SVG element, readable without colours: each field says its number."""
    most, least = max(found.values.values()), min(found.values.values())
    width, height = LEFT + WIDTH * len(found.sizes) + 8, TOP + HEIGHT * len(found.workers) + 8
    described = "; ".join(f"{w} x {n}: {text}" for (w, n), text in sorted(found.texts.items()))
    parts = [
        f'<svg class="chart" role="img" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="currentColor">',
        f"<title>{escape(found.title)}</title><desc>{escape(described)}</desc>",
        f'<text x="8" y="18" font-weight="600">{escape(found.title)}</text>',
    ]
    for column, size in enumerate(found.sizes):
        parts.append(_text(LEFT + WIDTH * (column + 0.5), TOP - 10, str(size) + (" slots" if not column else "")))
    for row, workers in enumerate(found.workers):
        middle = TOP + HEIGHT * (row + 0.5) + 5
        parts.append(_text(LEFT / 2, middle, f"{workers} worker{'' if workers == 1 else 's'}"))
        for column, size in enumerate(found.sizes):
            value = found.values.get((workers, size))
            if value is None:
                continue
            x, y = LEFT + WIDTH * column, TOP + HEIGHT * row
            share = (value - least) / (most - least) if most > least else 1.0
            framed = ' stroke="currentColor" stroke-width="3"' if (workers, size) == found.chosen else ""
            parts.append(
                f'<rect x="{x + 2}" y="{y + 2}" width="{WIDTH - 4}" height="{HEIGHT - 4}" rx="3" fill="#00795a" '
                f'fill-opacity="{0.06 + 0.44 * share:.2f}"{framed}/>'
            )
            parts.append(_text(x + WIDTH / 2, middle, found.texts[workers, size]))
    return "".join([*parts, "</svg>"])


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="middle">{escape(text)}</text>'
