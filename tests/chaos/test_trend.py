"""The soak's question, whether something grows, asked of samples that are made up."""

import random

import pytest

from benchmarks.soak import page
from benchmarks.soak.hour import Result
from benchmarks.soak.trend import trend


def samples(per_hour: float, noise: float, seed: int = 1) -> list[tuple[float, float]]:
    """An hour's, one in five seconds."""
    chance = random.Random(seed)
    return [(at_s, 60 + per_hour * at_s / 3600 + chance.gauss(0, noise)) for at_s in range(0, 3600, 5)]


def test_it_finds_a_leak_and_how_fast_it_is() -> None:
    found = trend(samples(per_hour=10, noise=2))
    assert found.low < 10 < found.high
    assert found.grows(3)
    assert not found.grows(10)


def test_it_calls_noise_no_leak() -> None:
    assert sum(trend(samples(0, noise=5, seed=seed)).grows(1) for seed in range(100)) <= 3


def test_it_is_not_led_by_a_fault_that_lasts_a_minute() -> None:
    with_fault = [(at_s, value + 500 * (3000 < at_s < 3060)) for at_s, value in samples(0, noise=1)]
    assert abs(trend(with_fault).per_hour) < 1


def test_it_refuses_to_tell_from_too_few() -> None:
    with pytest.raises(ValueError, match="too few"):
        trend([(0.0, 1.0)] * 5)


@pytest.mark.parametrize(("seconds", "complains"), [(150.0, False), (3600.0, True)])
def test_a_look_calls_the_warm_up_no_leak(seconds: float, complains: bool) -> None:
    """Half a megabyte in two minutes, which every process takes: ten in an hour, it said, and ended with 1."""
    grows = [(float(at_s), 60 + at_s / 360) for at_s in range(5, int(seconds), 5)]
    result = Result("request", seconds, 4.0, dict.fromkeys(page.QUANTITIES, grows), {}, 0, 0, 0, True, {})
    assert bool(page.complaints([result])) is complains
