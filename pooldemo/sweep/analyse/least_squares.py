"""Least squares by sizes, repeats and places: a matrix that is solved once for all sweeps of one plan. Pure, standard
library only.

What is fitted with it, and how sure that is, is in `blocks`.

No trial has two sizes, or two blocks. So the effects of the more numerous of the two are eliminated one by one, and
what is left to invert is as small as the other (Schur's complement): thousands of trials cost little more each than
one of twenty.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import add, mul
from statistics import fmean
from typing import Any

LIGHT = 0.01
"""How much a trial of a restless size counts beside another where blocks are told: it scatters ten times as far."""

Cell = tuple[int, tuple[int, int], float]
Row = tuple[int, int, float]
Ties = Mapping[int, float]
Matrix = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Effects:
    """What was fitted: of each size, of each block (they sum to 0), and of a place (0: without a trend)."""

    sizes: tuple[float, ...]
    blocks: tuple[float, ...]
    slope: float


@dataclass(frozen=True)
class Design:
    """The matrix of a least-squares fit, solved once: sweeps of one plan share it.

    Coefficients: an effect for each size, one for each block, and the trend (`trend`), `columns` of them to be told.
    `rows` are the trials: which of the many, which of the few (`sizes_are_few`), and how far from the middle of its
    block. `counts` says how much each counts, `leverages` how much its own value adds to what is fitted there.
    `weights` and `ties` are the counts of each of the many, alone and by the few that it meets (the trend is the last
    of the few); `inverse` is that of the few, once the many are eliminated.
    """

    sizes: tuple[int, ...]
    blocks: tuple[tuple[int, int], ...]
    trend: bool
    sizes_are_few: bool
    rows: tuple[Row, ...]
    counts: tuple[float, ...]
    leverages: tuple[float, ...]
    weights: tuple[float, ...]
    ties: tuple[Ties, ...]
    inverse: Matrix

    @property
    def columns(self) -> int:
        return len(self.sizes) + len(self.blocks) - 1 + self.trend

    def effects(self, values: Sequence[float]) -> Effects:
        """What fits these values, one for each row, best."""
        many, few = [0.0] * len(self.weights), [0.0] * len(self.inverse)
        for (i, j, place), count, value in zip(self.rows, self.counts, values, strict=True):
            many[i] += count * value
            few[j] += count * value
            if self.trend:
                few[-1] += count * value * place
        many, few = self._solved(many, few)
        slope = few.pop() if self.trend else 0.0
        sizes, blocks = (few, many) if self.sizes_are_few else (many, few)
        level = fmean(blocks)
        return Effects(tuple(each + level for each in sizes), tuple(each - level for each in blocks), slope)

    def fitted(self, found: Effects) -> list[float]:
        """What these effects say of each row."""
        many, few = (found.blocks, found.sizes) if self.sizes_are_few else (found.sizes, found.blocks)
        return [many[i] + few[j] + found.slope * place for i, j, place in self.rows]

    def shares(self, weights: Mapping[int, float], slope: float = 0.0) -> list[float]:
        """How much the value of each row adds to the sum of `weights` x sizes' effects, and of `slope` x the trend."""
        sizes = [weights.get(size, 0.0) for size in self.sizes]
        blocks = [sum(sizes) / len(self.blocks)] * len(self.blocks)  # an effect of a size is that in the mean block
        few, many = (sizes, blocks) if self.sizes_are_few else (blocks, sizes)
        return self._along(*self._solved(many, [*few, slope] if self.trend else few))

    def without(self, place: int) -> "Design | None":
        """The design without the row at `place` (Sherman and Morrison 1950); None where nothing else tells of it."""
        room = 1 - self.leverages[place]
        if room < 1e-9:
            return None
        i, j, where = self.rows[place]
        count = self.counts[place]
        many, few = [0.0] * len(self.weights), [0.0] * len(self.inverse)
        many[i] = few[j] = 1.0
        if self.trend:
            few[-1] = where
        many, few = self._solved(many, few)
        factor = count / room
        added = [factor * share**2 / one for share, one in zip(self._along(many, few), self.counts, strict=True)]
        gone = {j: count} | ({len(few) - 1: count * where} if self.trend else {})
        tied = {k: value - gone.get(k, 0.0) for k, value in self.ties[i].items()}
        inverse = [
            [each + factor * x * y for each, y in zip(row, few, strict=True)]
            for row, x in zip(self.inverse, few, strict=True)
        ]
        return Design(
            self.sizes, self.blocks, self.trend, self.sizes_are_few, _but(self.rows, place),
            _but(self.counts, place),
            _but(tuple(map(add, self.leverages, added)), place),
            (*self.weights[:i], self.weights[i] - count, *self.weights[i + 1 :]),
            (*self.ties[:i], tied, *self.ties[i + 1 :]), inverse,
        )  # fmt: skip

    def _along(self, many: Sequence[float], few: Sequence[float]) -> list[float]:
        """Each row's count x what these coefficients say of it."""
        slope = few[-1] if self.trend else 0.0
        return [
            count * (many[i] + few[j] + slope * place)
            for (i, j, place), count in zip(self.rows, self.counts, strict=True)
        ]

    def _solved(self, many: Sequence[float], few: Sequence[float]) -> tuple[list[float], list[float]]:
        """The coefficients of which the normal equations have these right sides; one solution of several that differ
        only in how much is added to all sizes and taken from all blocks."""
        right = list(few)
        for weight, tied, value in zip(self.weights, self.ties, many, strict=True):
            if value:
                for k, tie in tied.items():
                    right[k] -= value * tie / weight
        found = [sum(map(mul, row, right)) for row in self.inverse]
        rest = [
            (value - _summed(found, tied)) / weight
            for weight, tied, value in zip(self.weights, self.ties, many, strict=True)
        ]
        return rest, found


@lru_cache(maxsize=32)  # one of 10,000 trials takes some megabytes
def design(cells: tuple[Cell, ...], trend: bool, light: frozenset[int] = frozenset()) -> Design | None:
    """The design of trials at (size, (repeat, part), place); None where they cannot tell its coefficients apart. Those
    of `light` sizes say next to nothing of the blocks."""
    places: dict[tuple[int, int], list[float]] = {}
    for _, block, place in cells:
        places.setdefault(block, []).append(place)
    sizes, blocks = sorted({size for size, _, _ in cells}), sorted(places)
    middle = {block: fmean(each) for block, each in places.items()}
    size_at, block_at = ({each: i for i, each in enumerate(some)} for some in (sizes, blocks))
    sizes_are_few = len(sizes) <= len(blocks)
    rows = tuple(
        (block_at[block], size_at[size], place - middle[block])
        if sizes_are_few
        else (size_at[size], block_at[block], place - middle[block])
        for size, block, place in cells
    )
    counts = tuple(LIGHT if size in light else 1.0 for size, _, _ in cells)
    few, many = sorted((len(sizes), len(blocks)))
    weights, ties = [0.0] * many, [dict[int, float]() for _ in range(many)]
    squares = [[float(j < few and k < few) for k in range(few + trend)] for j in range(few + trend)]  # the few sum to 0
    for (i, j, place), count in zip(rows, counts, strict=True):
        weights[i] += count
        own = ((j, 1.0), (few, place)) if trend else ((j, 1.0),)
        for k, x in own:
            ties[i][k] = ties[i].get(k, 0.0) + count * x
            for other, y in own:
                squares[k][other] += count * x * y
    for weight, tied in zip(weights, ties, strict=True):
        for j, x in tied.items():
            row, part = squares[j], x / weight
            for k, y in tied.items():
                row[k] -= part * y
    inverse = _inverse(squares)
    if inverse is None:
        return None
    leverages = _leverages(rows, counts, weights, ties, inverse, trend)
    made = (tuple(sizes), tuple(blocks), trend, sizes_are_few, rows, counts, leverages, tuple(weights), tuple(ties))
    return Design(*made, inverse)


def _leverages(
    rows: Sequence[Row],
    counts: Sequence[float],
    weights: Sequence[float],
    ties: Sequence[Ties],
    inverse: Matrix,
    trend: bool,
) -> tuple[float, ...]:
    """Of each row the square of what it says, by the inverse of all: x' M^-1 x, by way of the few that are left."""
    shares = [{k: tie / weight for k, tie in tied.items()} for weight, tied in zip(weights, ties, strict=True)]
    along = [[_summed(row, own) for row in inverse] for own in shares]
    alone = [1 / weight + _summed(toward, own) for weight, own, toward in zip(weights, shares, along, strict=True)]
    found = []
    for (i, j, place), count in zip(rows, counts, strict=True):
        square = alone[i] + inverse[j][j] - 2 * along[i][j]
        if trend:
            square += place * (2 * inverse[j][-1] + place * inverse[-1][-1] - 2 * along[i][-1])
        found.append(count * square)
    return tuple(found)


def _summed(values: Sequence[float], weights: Ties) -> float:
    return sum(map(mul, map(values.__getitem__, weights), weights.values()))


def _but(values: tuple[Any, ...], place: int) -> tuple[Any, ...]:
    return values[:place] + values[place + 1 :]


def _inverse(matrix: Matrix) -> list[list[float]] | None:
    """The inverse by Gauss and Jordan, or None of a matrix that has none."""
    size = len(matrix)
    rows = [[*row, *(float(i == j) for j in range(size))] for i, row in enumerate(matrix)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda i: abs(rows[i][column]))
        if abs(rows[pivot][column]) < 1e-9:
            return None
        rows[column], rows[pivot] = rows[pivot], rows[column]
        head = [value / rows[column][column] for value in rows[column]]
        for i, row in enumerate(rows):
            if factor := row[column] * (i != column):
                rows[i] = [value - factor * each for value, each in zip(row, head, strict=True)]
        rows[column] = head
    return [row[size:] for row in rows]
