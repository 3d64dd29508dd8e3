"""Least squares by sizes, repeats and places: a matrix that is solved once for all sweeps of one plan. Pure, standard
library only.

What is fitted with it, and how sure that is, is in `blocks`.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean

LIGHT = 0.01
"""How much a trial of a restless size counts beside another where blocks are told: it scatters ten times as far."""

Row = tuple[tuple[int, float], ...]
"""A row of a matrix that has few entries: (column, value), columns rising; all others are 0."""


@dataclass(frozen=True)
class Design:
    """The matrix of a least-squares fit, solved once: sweeps of one plan share it.

    Columns: an effect for each size, one for each block (they sum to 0), and the trend. `solution[i][c]` is how much
    observation i adds to coefficient c.
    """

    sizes: tuple[int, ...]
    blocks: tuple[tuple[int, int], ...]
    columns: int
    rows: tuple[Row, ...]
    solution: tuple[Sequence[float], ...]


Cell = tuple[int, tuple[int, int], float]


@lru_cache(maxsize=32)  # one of 10,000 trials takes some 80 MB
def design(cells: tuple[Cell, ...], trend: bool, light: frozenset[int] = frozenset()) -> Design | None:
    """The design of trials at (size, (repeat, part), place); None where they cannot tell its coefficients apart. Those
    of `light` sizes say next to nothing of the blocks."""
    places: dict[tuple[int, int], list[float]] = {}
    for _, block, place in cells:
        places.setdefault(block, []).append(place)
    sizes, blocks = sorted({size for size, _, _ in cells}), sorted(places)
    column = {size: i for i, size in enumerate(sizes)}
    ones: dict[tuple[int, int], Row] = {block: ((i, 1.0),) for i, block in enumerate(blocks, start=len(sizes))}
    columns = len(sizes) + len(blocks) - 1
    ones[blocks[-1]] = tuple((i, -1.0) for i in range(len(sizes), columns))
    middle = {block: fmean(each) for block, each in places.items()}
    rows: list[Row] = []
    for size, block, place in cells:
        last = ((columns, place - middle[block]),) if trend else ()
        rows.append(((column[size], 1.0), *ones[block], *last))
    columns += trend
    squares = [[0.0] * columns for _ in range(columns)]
    counts = [LIGHT if size in light else 1.0 for size, _, _ in cells]
    for row, count in zip(rows, counts, strict=True):
        for (i, x), (j, y) in itertools.product(row, row):
            squares[i][j] += count * x * y
    inverse = _inverse(squares)
    if inverse is None:
        return None
    by_column = list(zip(*inverse, strict=True))
    solution = tuple(
        combined([(column, count * x) for column, x in row], by_column) for row, count in zip(rows, counts, strict=True)
    )
    return Design(tuple(sizes), tuple(blocks), columns, tuple(rows), solution)


def combined(row: Iterable[tuple[int, float]], vectors: Sequence[Sequence[float]]) -> Sequence[float]:
    """The sum of the row's values x the vectors of its columns."""
    total: Sequence[float] = [0.0] * len(vectors[0])
    for column, value in row:
        total = [before + value * each for before, each in zip(total, vectors[column], strict=True)]
    return total


def _inverse(matrix: Sequence[Sequence[float]]) -> list[list[float]] | None:
    """The inverse by Gauss and Jordan, or None of a matrix that has none."""
    size = len(matrix)
    rows = [[*row, *(float(i == j) for j in range(size))] for i, row in enumerate(matrix)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda i: abs(rows[i][column]))
        if abs(rows[pivot][column]) < 1e-9:
            return None
        rows[column], rows[pivot] = rows[pivot], rows[column]
        head = [value / rows[column][column] for value in rows[column]]
        entries = [(j, value) for j, value in enumerate(head) if value]  # few, before much is eliminated
        for i, row in enumerate(rows):
            if factor := row[column] * (i != column):
                for j, value in entries:
                    row[j] -= factor * value
        rows[column] = head
    return [row[size:] for row in rows]
