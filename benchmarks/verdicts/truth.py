"""Sweeps that were never run: curves, what a machine does to them, and grids of sizes. Pure; a seed, a sweep."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pooldemo.sweep.analyse.observations import Observation

Curve = Callable[[int], float]
Scatter = Callable[[random.Random, int, float], float]  # chance, size, the one before -> a logarithm
Cell = TypeVar("Cell")


@dataclass(frozen=True)
class Noise:
    """What a machine does: `scatter` to each trial, `blocks` (a standard deviation) to whole repeats, `drift` over the
    whole sweep, `outlier` to one trial of it."""

    about: str
    scatter: Scatter
    blocks: float = 0.0
    drift: float = 0.0
    outlier: float = 0.0


def normal(relative: float) -> Scatter:
    return lambda chance, _size, _before: chance.gauss(0, relative)


def heavy(chance: random.Random, _size: int, _before: float) -> float:
    """Student's t with three degrees of freedom: about one trial in twenty is far off."""
    return 0.014 * chance.gauss(0, 1) / math.sqrt(chance.gammavariate(1.5, 2) / 3)


def growing(chance: random.Random, size: int, _before: float) -> float:
    return chance.gauss(0, 0.01 * size**0.25)


def following(chance: random.Random, _size: int, before: float) -> float:
    """AR(1): what was slow a moment ago is slow still."""
    return 0.6 * before + chance.gauss(0, 0.016)


NOISES: Mapping[str, Noise] = {
    "normal": Noise("each trial 2% off, independently", normal(0.02)),
    "noisy": Noise("each trial 4% off", normal(0.04)),
    "blocks": Noise("whole repeats 10% apart, each trial 1%", normal(0.01), blocks=0.10),
    "drift": Noise("20% faster from the first trial to the last, each trial 1%", normal(0.01), drift=0.20),
    "blocks and drift": Noise("both", normal(0.01), blocks=0.10, drift=0.20),
    "heavy tails": Noise("Student's t with 3 degrees of freedom, 1.4%", heavy),
    "outlier": Noise("one trial 30% too slow, the others 1%", normal(0.01), outlier=-0.30),
    "growing": Noise("from 1% at size 1 to 2.8% at 64", growing),
    "following": Noise("AR(1), 0.6 of the one before and 1.6%", following),
}


def restless(*sizes: int, by: float = 0.10) -> Scatter:
    """1%, but of these sizes more."""
    return lambda chance, size, _before: chance.gauss(0, by if size in sizes else 0.01)


def hinge(knee: float) -> Curve:
    return lambda size: 10 * min(size, knee)


def power(exponent: float) -> Curve:
    return lambda size: 10 * size**exponent


def droop(knee: float, exponent: float) -> Curve:
    return lambda size: 10 * min(size, knee) * min(1, knee / size) ** exponent


def soft(knee: float, sharpness: float) -> Curve:
    return lambda size: 10 / (size**-sharpness + knee**-sharpness) ** (1 / sharpness)


def scalability(contention: float, coherency: float) -> Curve:
    """The universal scalability law (Gunther 1993)."""
    return lambda size: 10 * size / (1 + contention * (size - 1) + coherency * size * (size - 1))


def dip(size: int) -> float:
    return 10 * min(size, 8) * (0.9 if size == 16 else 1)


def thrash(size: int) -> float:
    return 10 * min(size, 8) * (1 if size <= 16 else 0.5)


def steps(size: int) -> float:
    return 50 if size < 4 else 100 if size < 16 else 130


def flat(_size: int) -> float:
    return 100


CURVES: Mapping[str, Curve] = {
    "hinge at 8": hinge(8), "hinge at 12": hinge(12), "hinge at 16": hinge(16),
    "soft knee (8, 3)": soft(8, 3), "soft knee (16, 4)": soft(16, 4), "soft knee (16, 2)": soft(16, 2),
    "USL (0.05, 0.002)": scalability(0.05, 0.002), "USL (0.02, 0.0005)": scalability(0.02, 0.0005),
    "power 0.1": power(0.1), "power 0.5": power(0.5),
    "droop (16, 0.05)": droop(16, 0.05), "droop (16, 0.3)": droop(16, 0.3),
    "steps": steps, "dip": dip, "thrash": thrash, "flat": flat,
}  # fmt: skip

FIVE = (1, 2, 4, 8, 16)
"""The default sizes."""

UNEVEN: Mapping[str, tuple[Noise, tuple[int, ...]]] = {
    "even, 1%": (Noise("each trial 1% off", normal(0.01)), FIVE),
    "even, 2%": (Noise("each trial 2% off", normal(0.02)), FIVE),
    "even, 5%": (Noise("each trial 5% off", normal(0.05)), FIVE),
    "blocks": (Noise("whole repeats 5% apart, each trial 1%", normal(0.01), blocks=0.05), FIVE),
    "one size, 5%": (Noise("at 8, the others 1%", restless(8, by=0.05)), (8,)),
    "one size, 10%": (Noise("at 8, the others 1%", restless(8)), (8,)),
    "two sizes, 10%": (Noise("at 8 and 16, the others 1%", restless(8, 16)), (8, 16)),
    "growing": (Noise("from 1% at 1 to 8% at 16", lambda chance, size, _: chance.gauss(0, 0.01 * size**0.75)), FIVE),
}
"""What an SLO is asked under, and the sizes of which that is asked: one may scatter more than the others."""


ODD: Mapping[str, tuple[str, Noise]] = {
    "10% at 8, the knee": ("hinge at 8", Noise("", restless(8))),
    "10% at 16, above the knee": ("hinge at 8", Noise("", restless(16))),
    "10% at 32": ("soft knee (16, 2)", Noise("", restless(32))),
    "10% at 16": ("power 0.1", Noise("", restless(16))),
    "one trial 10% too slow": ("hinge at 16", Noise("", normal(0.01), outlier=-0.10)),
}
"""What happens at one size or in one trial, the others 1%; and the curve of which it does, on the powers of two."""

POWERS = (1, 2, 4, 8, 16, 32, 64)
DENSE = (4, 8, 12, 16, 20, 24, 32, 48, 64)
EVEN = tuple(range(2, 33, 2))
SPARSE = (1, 4, 16, 64)
GRIDS = {"powers of two": POWERS, "dense": DENSE, "even": EVEN, "sparse": SPARSE}


def sweep(curve: Curve, sizes: Sequence[int], seed: int, noise: Noise, *, repeats: int = 3) -> list[Observation]:
    """A sweep as it is run: each repeat in an order of its own."""
    return [
        Observation(size, block, place, curve(size) * factor)
        for size, block, place, factor in measured(sizes, lambda size: size, seed, noise, repeats)
    ]


def measured(
    cells: Sequence[Cell], size_of: Callable[[Cell], int], seed: int, noise: Noise, repeats: int = 3
) -> list[tuple[Cell, int, int, float]]:
    """Each cell in each repeat, its place there, and by what its truth was multiplied."""
    chance, before = random.Random(seed), 0.0
    total = repeats * len(cells)
    struck = chance.randrange(total) if noise.outlier else -1
    found: list[tuple[Cell, int, int, float]] = []
    for block in range(1, repeats + 1):
        level = chance.gauss(0, noise.blocks)
        for place, cell in enumerate(chance.sample(cells, len(cells))):
            before = noise.scatter(chance, size_of(cell), before)
            moved = 1 + noise.drift * (len(found) / total - 0.5) + (noise.outlier if len(found) == struck else 0.0)
            found.append((cell, block, place, moved * math.exp(level + before)))
    return found


def side_by_side(
    a: Curve, b: Curve, sizes: Sequence[int], seed: int, noise: Noise, repeats: int = 3
) -> list[tuple[str, int, int, int, float]]:
    """A and B in one run: (`a` or `b`, size, repeat, place, requests a second) of each trial."""
    curves = {"a": a, "b": b}
    cells = [(side, size) for side in curves for size in sizes]
    return [
        (side, size, block, place, curves[side](size) * factor)
        for (side, size), block, place, factor in measured(cells, lambda cell: cell[1], seed, noise, repeats)
    ]
