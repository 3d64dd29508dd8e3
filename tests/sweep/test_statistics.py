"""The arithmetic of repeats, held against tables, against the standard library and against chance itself."""

import math
import statistics as stdlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooldemo.sweep.analyse.statistics import (
    LONG_SERIES,
    digits,
    first_against_second_half,
    percentile,
    satterthwaite,
    student_t,
)


def test_it_takes_a_percentile_by_nearest_rank():
    assert [percentile([(10.0, 50), (20.0, 45), (30.0, 5)], each) for each in (0.5, 0.95, 0.951, 1)] == [10, 20, 30, 30]
    assert percentile([], 0.5) is None
    assert percentile([(3.0, 1)], 0) == 3


@given(st.lists(st.integers(1, 999), min_size=1), st.integers(0, 100))
def test_it_takes_the_percentile_that_the_sorted_values_have(values, percent):
    expected = sorted(values)[max(1, math.ceil(percent * len(values) / 100)) - 1]
    assert percentile(sorted((float(value), values.count(value)) for value in set(values)), percent / 100) == expected


def test_it_says_that_a_percentile_is_a_fraction():
    with pytest.raises(ValueError, match=r"95% is 0\.95"):
        percentile([(1.0, 1)], 95)


@pytest.mark.parametrize(
    ("probability", "freedom", "expected"),
    [(0.975, 1, 12.706), (0.975, 2, 4.303), (0.95, 3, 2.353), (0.95, 14, 1.761), (0.99, 5, 3.365), (0.975, 129, 1.979)],
)
def test_it_knows_student_t(probability, freedom, expected):
    assert student_t(probability, freedom) == pytest.approx(expected, abs=5e-4)


def test_it_knows_how_sure_a_sum_of_variances_is():
    """Equal ones add their freedom, and of a large and a small one the large one's decides."""
    assert satterthwaite([(3.0, 5), (3.0, 5)]) == 10
    assert satterthwaite([(9.0, 2), (1e-6, 50)]) == pytest.approx(2)
    assert satterthwaite([(0.0, 2), (0.0, 1)]) == satterthwaite([]) == 1
    assert satterthwaite([(1.0, 0.4)]) == 1


def test_it_knows_student_t_of_many_as_the_normal_distribution():
    assert student_t(0.975, 10_000) == pytest.approx(stdlib.NormalDist().inv_cdf(0.975), rel=1e-3)


@pytest.mark.parametrize("probability", [0.9, 0.975, 1 - 1e-6])
def test_its_expansion_for_many_degrees_of_freedom_goes_on_where_the_series_ends(probability):
    series, beyond = (student_t(probability, LONG_SERIES + more) for more in (0, 1))
    before = student_t(probability, LONG_SERIES - 1)
    assert series - beyond == pytest.approx(before - series, rel=0.01)


def test_it_compares_the_halves_of_a_window():
    assert first_against_second_half([100, 100, 100, 100, 100]) == 0
    assert first_against_second_half([90, 90, 0, 110, 110]) == pytest.approx(0.2)
    assert first_against_second_half([]) == first_against_second_half([7]) == 0


@pytest.mark.parametrize(
    ("value", "half_width", "expected"),
    [
        (612.3, None, "612"),
        (612.3, 40, "610"),
        (612.3, 4, "612"),
        (12345, None, "12,300"),
        (0.01234, None, "0.01"),
        (0.095, None, "0.10"),
        (0.0995, None, "0.10"),
        (0.0049, None, "<0.01"),
        (-0.0049, None, ">-0.01"),
        (9.876, None, "9.88"),
        (99.96, None, "100"),
        (5, 30, "5.0"),
        (22.4, 30, "22.4"),
        (55.4, 30, "55"),
        (127, 900, "127"),
        (527, 900, "530"),
        (4.126, math.inf, "4.13"),
        (0, None, "0"),
        (None, None, "-"),
    ],
)
def test_it_prints_three_digits_or_two_where_the_interval_allows_no_more(value, half_width, expected):
    assert digits(value, half_width) == expected
