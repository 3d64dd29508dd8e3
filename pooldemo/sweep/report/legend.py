"""How lines and bars are called: a name with its marker, beside a wide chart, in rows below a narrow one. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pooldemo.sweep.report.canvas import LINE_HEIGHT, QUIET, Frame, marker, n, text, width_of

MOST = 32  # characters of a name


@dataclass(frozen=True)
class Name:
    """How a line or a bar is called, and what it looks like."""

    words: str
    look: int | None = 0

    @property
    def shown(self) -> str:
        """As much of the words as leaves a chart its room: their beginning and their end, which tell variants apart."""
        half = MOST // 2
        return self.words if len(self.words) <= MOST else f"{self.words[:half]}…{self.words[1 - half :]}"


def swatch(name: Name, left: float, top: float) -> Iterator[str]:
    """A name with its marker; of theory a piece of its dashed line."""
    if name.look is None:
        yield (
            f'<path d="M{n(left)} {n(top - 4)}h14" fill="none" stroke="currentColor" stroke-width="1.5" '
            'stroke-dasharray="4 3" stroke-opacity="0.7"/>'
        )
    else:
        yield marker(left + 6, top - 4, name.look)
    yield text(left + 17, top, name.shown, opacity=QUIET if name.look is None else 1)


def with_legend(frame: Frame, names: Sequence[Name]) -> Frame:
    """A narrow frame grows by the rows that its names take below; a wide one leaves room for the longest of them, and
    grows where they are more than stand beside it."""
    if not frame.legend:
        right = max([frame.right, *(32 + width_of(name.shown) for name in names)])
        height = max(frame.height, frame.top + (LINE_HEIGHT + 5) * len(names) + frame.bottom)
        return replace(frame, right=right, height=height)
    room = LINE_HEIGHT * len(_rows(names, frame)) + 8
    return replace(frame, height=frame.height + room, bottom=frame.bottom + room)


def _rows(names: Sequence[Name], frame: Frame) -> list[list[tuple[Name, float]]]:
    rows: list[list[tuple[Name, float]]] = [[]]
    left = 12.0
    for name in names:
        width = 32 + width_of(name.shown)
        if rows[-1] and left + width > frame.width:
            rows.append([])
            left = 12.0
        rows[-1].append((name, left))
        left += width
    return rows


def places(names: Sequence[Name], frame: Frame) -> Iterator[tuple[Name, float, float]]:
    """Where each name stands in the rows below a narrow chart."""
    for row, found in enumerate(_rows(names, frame)):
        for name, left in found:
            yield name, left, frame.base + 62 + LINE_HEIGHT * row


def column(names: Sequence[Name], frame: Frame) -> Iterator[tuple[Name, float, float]]:
    """Where each stands on the right of a wide one."""
    for place, name in enumerate(names):
        yield name, frame.end + 10, frame.top + 8 + place * (LINE_HEIGHT + 5)


def marker_alone(look: int) -> str:
    """The marker of a line by itself, to stand beside its name in a page's text."""
    shape = marker(7, 7, look)
    return f'<svg class="swatch" viewBox="0 0 14 14" width="14" height="14" aria-hidden="true">{shape}</svg>'
