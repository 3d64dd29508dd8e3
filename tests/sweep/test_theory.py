"""Little's law and the bound, on numbers that can be checked in the head."""

import pytest

from pooldemo.sweep.analyse.theory import bound, gap, residual, sizes_within, users_for


def test_it_is_bound_by_the_slots_while_there_are_users_enough():
    each = bound(size=8, workers=1, users=64, hold_ms=100)
    assert (each.rps, each.by) == (80, "slots")
    assert bound(size=8, workers=2, users=64, hold_ms=100).rps == 160


def test_it_is_bound_by_the_users_once_each_has_a_slot():
    each = bound(size=100, workers=1, users=64, hold_ms=100, think_ms=300)
    assert (each.rps, each.by) == (160, "users")


def test_it_is_bound_by_the_rate_that_was_asked_for():
    assert bound(size=8, workers=1, users=64, hold_ms=100, rate=50).by == "rate"


def test_it_has_no_bound_without_a_hold():
    with pytest.raises(ValueError, match="hold_ms above 0"):
        bound(size=8, workers=1, users=64, hold_ms=0)


def test_it_finds_every_user_by_littles_law():
    assert residual(rps=80, response_ms=800, users=64) == 0
    assert residual(rps=80, response_ms=300, users=64, think_ms=300) == pytest.approx(0.25)


def test_it_measures_the_gap_to_the_bound():
    assert gap(97, 100) == pytest.approx(0.03)


def test_it_asks_for_users_enough_to_fill_every_slot():
    assert users_for(64, hold_ms=100) == 128
    assert users_for(64, hold_ms=100, think_ms=100) == 256


def test_it_keeps_to_the_connections_that_the_server_has():
    assert sizes_within((8, 16, 32), workers=2, connections=40) == (8, 16)
    assert sizes_within((8, 16, 32), workers=2, connections=0) == (8, 16, 32)
