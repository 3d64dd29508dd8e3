"""docs/workloads.md shows what docs/data/workloads.json holds, and that is what theory expects."""

import json
from typing import Any

import pytest

from benchmarks.workloads import page
from pooldemo.sweep.analyse.theory import gap
from pooldemo.sweep.workloads import WORKLOADS


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page.DATA.read_text())
    return found


def test_the_page_shows_its_data(facts: dict[str, Any]) -> None:
    text = page.PAGE.read_text()
    assert page.with_tables(text, facts) == text, "make workloads ARGS=--page"


def test_every_workload_was_swept_twice(facts: dict[str, Any]) -> None:
    for seed in (1, 2):
        assert [each["workload"] for each in facts["sweeps"] if each["seed"] == seed] == [*WORKLOADS, "mix"]


def test_slow_lies_within_3_percent_of_its_bound(facts: dict[str, Any]) -> None:
    slow = facts["sweeps"][0]
    assert all(abs(gap(rps, most)) < 0.03 for rps, most in zip(slow["rps"], page.bounds(slow), strict=True))
