"""What the analysis says of each made-up sweep, beside its truth. Pure."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from benchmarks.verdicts.truth import (
    CURVES,
    FIVE,
    GRIDS,
    NOISES,
    ODD,
    POWERS,
    UNEVEN,
    Curve,
    Noise,
    hinge,
    measured,
    side_by_side,
    sweep,
)
from pooldemo.sweep.analyse.blocks import fit_blocks
from pooldemo.sweep.analyse.compare import compare_sides
from pooldemo.sweep.analyse.knee import find_knee
from pooldemo.sweep.analyse.objective import Objective
from pooldemo.sweep.analyse.observations import Observation
from pooldemo.sweep.facts import Conditions, Limit, Plan, SweepResult, TrialResult

LOSS = 0.05
LIMIT_MS, OFF = 300.0, (0.02, -0.05, -0.10)
"""A p95, and how far from it the true one lies."""
CALM = 4
"""A size that scatters no more than most of the others under each of UNEVEN."""
A, B = "pooldemo@before", "pooldemo"


class Said(NamedTuple):
    """One sweep: of what, what was said, `cost` of the recommended size (None: none was), and how many of how many
    intervals hold the truth; `left_out`: trials left out as outliers."""

    noise: str
    curve: str
    grid: str
    shape: str
    size: int | None
    cost: float | None
    held: int
    of: int
    left_out: int


class Beside(NamedTuple):
    """One run of A beside B: what B lost in truth, whether it was called worse, and whether it said that it knows."""

    noise: str
    lost: float
    worse: bool
    known: bool


class Held(NamedTuple):
    """An SLO held against one sweep: under what noise, with how many repeats, how far the true p95 lay from the limit,
    and whether it was called met."""

    noise: str
    repeats: int
    off: float
    met: bool


def verdicts(sweeps: int, noises: Mapping[str, Noise] = NOISES) -> Iterator[Said]:
    """Every curve on every grid under every noise, so often."""
    for noise, made in noises.items():
        for place, (curve, carries) in enumerate(CURVES.items()):
            for other, (grid, sizes) in enumerate(GRIDS.items()):
                begin = 10_000 * (len(GRIDS) * place + other)  # repeats of its own: those of one sweep are few
                for seed in range(begin, begin + sweeps):
                    yield said_of(sweep(carries, sizes, seed, made), noise, curve, grid)


def said_of(observations: Sequence[Observation], noise: str, curve: str, grid: str) -> Said:
    carries, sizes = CURVES[curve], GRIDS[grid]
    found = find_knee(observations)
    fit, _ = fit_blocks(observations)
    held = 0
    if fit is not None:
        intervals = {size: fit.interval(size) for size in sizes}
        held = sum(each.low <= carries(size) <= each.high for size, each in intervals.items())
    cost = None if found.size is None else 1 - carries(found.size) / max(map(carries, sizes))
    return Said(noise, curve, grid, found.shape, found.size, cost, held, len(sizes), len(found.left_out))


def odd(sweeps: int) -> Iterator[Said]:
    """One size, or one trial, that is not as the others."""
    for noise, (curve, made) in ODD.items():
        for seed in range(sweeps):
            yield said_of(sweep(CURVES[curve], POWERS, seed, made), noise, curve, "powers of two")


def beside(runs: int) -> Iterator[Beside]:
    """The default sizes, three repeats: equal sides, and a B that lost 5%."""
    for noise in NOISES:
        for lost in (0.0, LOSS):
            for seed in range(runs):
                found = compare_sides(run(hinge(8), lost, FIVE, seed, noise))
                if found is not None:
                    yield Beside(noise, lost, found.is_worse, found.is_known)


def objectives(sweeps: int) -> Iterator[Held]:
    """Above the limit the luckiest of several sizes counts; below it is one that is calm."""
    for noise, (made, sizes) in UNEVEN.items():
        for repeats in (2, 3):
            for off in OFF:
                near = sizes if off > 0 else (CALM,)
                for seed in range(sweeps):
                    found = held(near, LIMIT_MS * (1 + off), FIVE, seed, made, repeats)
                    yield Held(noise, repeats, off, any(found.state(size) == "met" for size in near))


def held(
    near: Collection[int], p95_ms: float, sizes: Sequence[int], seed: int, noise: Noise, repeats: int
) -> Objective:
    """The limit against a sweep in which some sizes have this true p95, and the others twice the limit."""
    trials = [
        TrialResult(
            B, size, block, order=order, rps=10.0, requests=10_000,
            p95_ms=(p95_ms if size in near else 2 * LIMIT_MS) * factor,
        )
        for order, (size, block, _, factor) in enumerate(
            measured(sizes, lambda size: size, seed, noise, repeats), start=1
        )
    ]  # fmt: skip
    return Objective(Plan(users=1000, sizes=tuple(sizes), repeats=repeats, slo=(Limit("p95", LIMIT_MS),)), trials)


def run(curve: Curve, lost: float, sizes: tuple[int, ...], seed: int, noise: str, repeats: int = 3) -> SweepResult:
    """A sweep of both; in B each size carries less by `lost`."""
    trials = [
        TrialResult(A if side == "a" else B, size, block, order=order, rps=rps, p95_ms=1e5 / rps, requests=1000)
        for order, (side, size, block, _, rps) in enumerate(
            side_by_side(curve, lambda size: curve(size) * (1 - lost), sizes, seed, NOISES[noise], repeats), start=1
        )
    ]
    return SweepResult(Plan(stacks=(B, A), sizes=sizes, repeats=repeats), Conditions(), tuple(trials))
