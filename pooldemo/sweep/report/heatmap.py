"""Throughput and p95 over workers and sizes: a field for each split, the one to use framed. SVG."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from pooldemo.sweep.analyse.sizes import carried, sizes_of
from pooldemo.sweep.analyse.statistics import counted, digits
from pooldemo.sweep.facts import SizeResult, SweepResult
from pooldemo.sweep.report.canvas import COLOURS, NARROW, WIDE, Frame, n, svg, text, width_of

HEIGHT = 44.0
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

    @cached_property
    def svg(self) -> str:
        return _draw(self, replace(WIDE, left=96, top=76))

    @cached_property
    def narrow(self) -> str:
        return _draw(self, replace(NARROW, left=72, top=76))


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


def _draw(found: HeatMap, frame: Frame) -> str:
    """The map as one SVG element, as wide as any other chart, so that its letters are as large, or wider where its
    numbers have no room; readable without colours: each field says its number. On a phone sizes that have no room side
    by side stand below each other, with the workers beside."""
    most, least = max(found.values.values()), min(found.values.values())
    widest = 8 + max(map(width_of, found.texts.values()))
    turned = frame.legend and widest * len(found.sizes) > frame.width - frame.left - 8
    across, down = (found.workers, found.sizes) if turned else (found.sizes, found.workers)
    width = max((frame.width - frame.left - 8) / len(across), widest)
    height = frame.top + HEIGHT * len(down) + 8
    frame = replace(frame, width=frame.left + width * len(across) + 8, height=height)
    described = "; ".join(
        f"{counted(w, 'worker')} with {counted(size, 'slot')}: {said}"
        for (w, size), said in sorted(found.texts.items())
    )
    parts = [text(frame.left, frame.top - 28, "workers" if turned else "MAX_CONNS of one worker", opacity=0.76)]
    for column, each in enumerate(across):
        parts.append(text(frame.left + width * (column + 0.5), frame.top - 10, str(each), anchor="middle"))
    for row, each in enumerate(down):
        top = frame.top + HEIGHT * row
        name = counted(each, "slot" if turned else "worker")
        parts.append(text(12, top + HEIGHT / 2 + 4, name))
        for column, other in enumerate(across):
            cell = (other, each) if turned else (each, other)
            value = found.values.get(cell)
            if value is None:
                continue
            left = frame.left + width * column
            share = (value - least) / (most - least) if most > least else 1.0
            chosen = cell == found.chosen
            framed = ' stroke="currentColor" stroke-width="3"' if chosen else ""
            parts.append(
                f'<rect x="{n(left + 2)}" y="{n(top + 2)}" width="{n(width - 4)}" height="{n(HEIGHT - 4)}" rx="3" '
                f'fill="{COLOURS[0]}" fill-opacity="{0.05 + 0.35 * share:.2f}"{framed}/>'
            )
            weight = "700" if chosen else "400"
            said = found.texts[cell]
            parts.append(text(left + width / 2, top + HEIGHT / 2 + 4, said, anchor="middle", weight=weight))
    return svg(found.title, described, frame, *parts)
