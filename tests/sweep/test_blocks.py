"""What a real machine does to a sweep, and what the analysis makes of it: whole repeats that differ, drift, outliers,
noise that grows. Every sweep here is made up, so its truth is known."""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pytest
from synthetic import CONDITIONS, DENSE, EVEN, POWERS, Curve, droop, flat, hinge, power, trials_of

from pooldemo.sweep.analyse.blocks import Observation, fit_blocks, levels
from pooldemo.sweep.analyse.judge import judge
from pooldemo.sweep.analyse.knee import find_knee
from pooldemo.sweep.facts import Plan, TrialResult

SPARSE = (1, 4, 16, 64)
Scatter = Callable[[random.Random, int, float], float]  # chance, size, the one before -> a logarithm


def sweep(
    curve: Curve,
    sizes: Sequence[int],
    seed: int,
    scatter: Scatter,
    *,
    repeats: int = 3,
    blocks: float = 0.0,
    drift: float = 0.0,
) -> list[Observation]:
    """A sweep as it is run: each repeat in an order of its own. `drift` is over the whole sweep, `blocks` the standard
    deviation of whole repeats."""
    observations: list[Observation] = []
    chance, before = random.Random(seed), 0.0
    for block in range(1, repeats + 1):
        level = chance.gauss(0, blocks)
        for place, size in enumerate(chance.sample(sizes, len(sizes))):
            before = scatter(chance, size, before)
            moved = 1 + drift * (len(observations) / (repeats * len(sizes)) - 0.5)
            observations.append(Observation(size, block, place, curve(size) * moved * math.exp(level + before)))
    return observations


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


NOISES = {
    "normal": {"scatter": normal(0.02)},
    "blocks": {"scatter": normal(0.01), "blocks": 0.10},
    "drift": {"scatter": normal(0.01), "drift": 0.20},
    "blocks and drift": {"scatter": normal(0.01), "blocks": 0.10, "drift": 0.20},
    "heavy tails": {"scatter": heavy},
    "growing with the size": {"scatter": growing},
    "following": {"scatter": following},
}
EACH_NOISE = pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)


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


CURVES = (
    hinge(16), hinge(8), hinge(12), soft(16, 4), soft(16, 2), soft(8, 3), scalability(0.05, 0.002),
    scalability(0.02, 0.0005), power(0.1), power(0.5), droop(16, 0.05), droop(16, 0.3), steps, dip, thrash, flat,
)  # fmt: skip


@pytest.mark.parametrize("noise", ["blocks", "drift", "blocks and drift"])
@pytest.mark.parametrize(
    ("curve", "said"), [(hinge(16), ("knee", 16)), (flat, ("flat", 1)), (power(0.2), ("rising", 64))]
)
def test_it_is_right_in_95_percent_of_the_sweeps_on_a_machine_that_drifts(noise, curve, said):
    found = Counter((k.shape, k.size) for n in range(60) if (k := find_knee(sweep(curve, POWERS, n, **NOISES[noise]))))
    assert found[said] >= 57


def regrets(noise: dict) -> Iterator[float]:
    """What the recommended size costs, of every curve on every grid; 0 where none is recommended."""
    for curve in CURVES:
        for grid in (POWERS, DENSE, EVEN, SPARSE):
            best = max(map(curve, grid))
            for seed in range(3):
                size = find_knee(sweep(curve, grid, seed, **noise)).size
                yield 1 - curve(size) / best if size else 0.0


@EACH_NOISE
def test_a_recommended_size_costs_more_than_the_margin_in_5_percent_of_the_sweeps_at_most(noise):
    lost = list(regrets(noise))
    assert sum(each > 0.0501 for each in lost) <= 0.05 * len(lost)
    assert sum(each > 0.1001 for each in lost) <= 0.01 * len(lost)


@pytest.mark.parametrize("noise", ["normal", "blocks", "blocks and drift", "heavy tails", "growing with the size"])
def test_its_intervals_hold_the_truth_in_95_percent_of_the_cases(noise):
    curve, hits = hinge(16), []
    for seed in range(80):
        fit, _ = fit_blocks(sweep(curve, POWERS, seed, **NOISES[noise]))
        hits += [fit.interval(size).low <= curve(size) <= fit.interval(size).high for size in POWERS]
    assert 0.90 <= sum(hits) / len(hits) <= 0.99  # sizes of one sweep share its blocks: 80 sweeps scatter by 2%


def test_it_names_the_trial_that_is_far_off_and_leaves_it_out():
    observations = sweep(hinge(16), POWERS, 1, normal(0.02))
    observations[9] = observations[9]._replace(value=observations[9].value * 0.6)
    knee = find_knee(observations)
    assert knee.left_out == (observations[9],)
    assert (knee.shape, knee.size) == ("knee", 16)


def test_it_leaves_no_trial_out_where_none_is_far_off():
    left_out = [find_knee(sweep(hinge(16), POWERS, seed, normal(0.02))).left_out for seed in range(100)]
    assert sum(map(bool, left_out)) <= 4


def test_a_dip_does_not_hide_a_smaller_size_that_is_as_good():
    found = Counter(find_knee(sweep(dip, POWERS, seed, normal(0.01))).size for seed in range(40))
    assert found[8] >= 38


def test_the_verdict_names_the_outlier_and_the_drift():
    trials = list(trials_of(hinge(16), noise=0.01, seed=3))
    trials[4] = TrialResult("pooldemo", 16, 1, rps=90, requests=1000)
    codes = {each.code: each for each in judge(Plan(users=1000), trials, CONDITIONS)[0].warnings}
    assert "size 16, repeat 1: 90.0 requests/s" in codes["outlier"].cause
    slower = [
        TrialResult("pooldemo", t.size, t.repeat, rps=t.rps * {1: 1.0, 2: 0.8, 3: 0.7}[t.repeat], requests=1000)
        for t in trials_of(hinge(16), noise=0.005, seed=3)
    ]
    verdict = judge(Plan(users=1000), slower, CONDITIONS)[0]
    assert (verdict.shape, verdict.max_conns) == ("knee", 16)
    assert "drift" in {each.code for each in verdict.warnings}
    assert "unstable-repeats" not in {each.code for each in verdict.warnings}


def test_a_single_repeat_has_no_interval():
    only = [TrialResult("pooldemo", size, 1, rps=10.0 * size, requests=100) for size in (1, 2, 4)]
    assert {size: (round(each.mean), each.high) for size, each in levels(only).items()} == {
        1: (10, math.inf), 2: (20, math.inf), 4: (40, math.inf),
    }  # fmt: skip
