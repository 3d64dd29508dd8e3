"""The next sizes close in on the knee, and end."""

import pytest
from synthetic import CONDITIONS, trials_of

from benchmarks.verdicts.truth import flat, hinge, power
from pooldemo.sweep.analyse.judge import weigh
from pooldemo.sweep.facts import Conditions, Plan
from pooldemo.sweep.measure.adaptive import coarse_sizes, next_sizes

PLAN = Plan(users=1000)


def _next(curve, sizes, *, plan=PLAN, conditions=CONDITIONS, largest=256):
    return next_sizes(weigh(plan, trials_of(curve, sizes=sizes, noise=0.01), conditions), sizes, largest)


def test_it_starts_with_powers_of_two():
    assert coarse_sizes(64) == (1, 2, 4, 8, 16, 32, 64)
    assert coarse_sizes(20) == (1, 2, 4, 8, 16, 20)
    assert coarse_sizes(1) == (1,)
    with pytest.raises(ValueError, match="1 or more, not 0"):
        coarse_sizes(0)


@pytest.mark.parametrize("truth", range(3, 60))
def test_it_closes_in_on_the_knee_and_ends(truth):
    sizes = coarse_sizes(64)
    for _ in range(6):
        if not (further := _next(hinge(truth), sizes)):
            break
        assert not set(further) & set(sizes)
        sizes = tuple(sorted({*sizes, *further}))
    else:
        pytest.fail(f"it does not end: {sizes}")
    knee = weigh(PLAN, trials_of(hinge(truth), sizes=sizes, noise=0.01), CONDITIONS).size
    assert 0.94 * truth <= knee <= max(1.25 * truth, truth + 1)


def test_it_has_nothing_to_add_to_a_flat_curve():
    assert _next(flat, coarse_sizes(64)) == ()


def test_it_follows_a_rise_up_to_the_users_and_the_connections():
    assert _next(power(1), (1, 2, 4, 8)) == (16,)
    assert _next(power(1), (1, 2, 4, 8), plan=Plan(users=12)) == (12,)
    assert _next(power(1), (1, 2, 4, 8), plan=Plan(users=12, workers=2), largest=9) == (5, 6)
    assert _next(power(1), (1, 2, 4, 8), conditions=Conditions(room=10)) == (10,)
    assert _next(power(1), (1, 2, 4, 8), largest=9) == (9,)
    assert _next(power(1), (1, 2, 4, 8), largest=8) == ()
