"""What the analysis says of each made-up sweep, beside its truth. Pure."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from benchmarks.verdicts.truth import CURVES, GRIDS, NOISES, POWERS, Curve, Noise, hinge, side_by_side, sweep
from pooldemo.sweep.analyse.blocks import fit_blocks
from pooldemo.sweep.analyse.compare import compare_sides
from pooldemo.sweep.analyse.knee import find_knee
from pooldemo.sweep.facts import Conditions, Plan, SweepResult, TrialResult

LOSS = 0.05
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


def verdicts(sweeps: int, noises: Mapping[str, Noise] = NOISES) -> Iterator[Said]:
    """Every curve on every grid under every noise, so often."""
    for noise, made in noises.items():
        for place, (curve, carries) in enumerate(CURVES.items()):
            for other, (grid, sizes) in enumerate(GRIDS.items()):
                best = max(map(carries, sizes))
                begin = 10_000 * (len(GRIDS) * place + other)  # repeats of its own: those of one sweep are few
                for seed in range(begin, begin + sweeps):
                    observations = sweep(carries, sizes, seed, made)
                    found = find_knee(observations)
                    fit, _ = fit_blocks(observations)
                    held = 0
                    if fit is not None:
                        intervals = {size: fit.interval(size) for size in sizes}
                        held = sum(each.low <= carries(size) <= each.high for size, each in intervals.items())
                    cost = None if found.size is None else 1 - carries(found.size) / best
                    yield Said(noise, curve, grid, found.shape, found.size, cost, held, len(sizes), len(found.left_out))


def beside(runs: int) -> Iterator[Beside]:
    """The default sizes, three repeats: equal sides, and a B that lost 5%."""
    sizes = POWERS[:5]
    for noise in NOISES:
        for lost in (0.0, LOSS):
            for seed in range(runs):
                found = compare_sides(run(hinge(8), lost, sizes, seed, noise))
                if found is not None:
                    yield Beside(noise, lost, found.is_worse, found.is_known)


def run(curve: Curve, lost: float, sizes: tuple[int, ...], seed: int, noise: str, repeats: int = 3) -> SweepResult:
    """A sweep of both; in B each size carries less by `lost`."""
    trials = [
        TrialResult(A if side == "a" else B, size, block, order=order, rps=rps, p95_ms=1e5 / rps, requests=1000)
        for order, (side, size, block, _, rps) in enumerate(
            side_by_side(curve, lambda size: curve(size) * (1 - lost), sizes, seed, NOISES[noise], repeats), start=1
        )
    ]
    return SweepResult(Plan(stacks=(B, A), sizes=sizes, repeats=repeats), Conditions(), tuple(trials))
