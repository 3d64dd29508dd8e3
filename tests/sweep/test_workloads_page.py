"""docs/workloads.md shows what docs/data/workloads.json holds, and that is what theory expects."""

import json
import re
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


def test_the_table_shows_the_requests_that_the_verdict_tells(facts: dict[str, Any]) -> None:
    first = [each for each in facts["sweeps"] if each["seed"] == 1]
    told = {each["workload"]: re.search(r"(\d+) slots carry (\S+) requests/s", each["because"]) for each in first}
    rows = [line.split("|")[1:-1] for line in page.verdicts_table(first, first).splitlines()]
    header = [cell.strip() for cell in rows[0]]
    seen = {row[0].strip(" `"): dict(zip(header, map(str.strip, row), strict=True)) for row in rows[2:]}
    named = {name: (at[1], at[2]) for name, at in told.items() if at}
    assert named
    assert {name: (size, seen[name][size]) for name, (size, _) in named.items()} == named
