"""docs/stacks.md shows what docs/data/stacks.json holds, for every stack there is."""

import json
from dataclasses import asdict
from typing import Any

from benchmarks.stacks import load, page
from benchmarks.stacks.behaviour import Behaviour, application_of
from benchmarks.sweeps import APPLICATION
from pooldemo.sweep import stacks
from pooldemo.sweep.facts import TrialResult


def facts() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page.DATA.read_text())
    return found


def trial(repeat: int, **seen: Any) -> dict[str, Any]:
    common = {"p50_ms": 100.0, "window_s": 5.0, "server_cpu": 0.5, "generator_cpu": 0.2, "peak_connections": 10}
    return asdict(TrialResult("pooldemo", 10, repeat, **(common | seen)))


def test_the_page_shows_its_data() -> None:
    text = page.PAGE.read_text()
    assert page.with_tables(text, facts()) == text, "make stacks ARGS=--page"


def test_every_stack_has_its_place_and_was_measured() -> None:
    assert sorted((*page.ORDER, *load.LEFT_OUT)) == sorted(stacks.names())
    for rows in (facts()["behaviour"], *(each["rows"] for each in facts()["loads"].values())):
        assert [row["stack"] for row in rows] == list(page.ORDER)


def test_every_stack_says_what_it_serves() -> None:
    """So that its time zone can be asked; in the midst of the command where options come after it."""
    served = {name: application_of(stacks.get(name)) for name in stacks.names()}
    assert served["gthread"] == APPLICATION
    assert served["upool"] == "peers.upool:app"
    assert {each for each in served.values() if not each.startswith("peers.")} == {APPLICATION}


def test_a_row_sums_up_the_repeats() -> None:
    trials = [
        trial(1, rps=100.0, p99_ms=150.0, requests=1000, peak_connections=9),
        trial(2, rps=120.0, p99_ms=250.0, requests=1000, failures=500, failures_by_message={"503 Busy": 500}),
    ]
    (row,) = load.rows({"trials": trials})
    assert (row["rps"], row["rps_low"], row["rps_high"]) == (110, 100, 120)
    assert (row["p99_to_p50"], row["peak_connections"]) == (2, 10)
    assert (row["failed"], row["failures"], row["cpu_ms"]) == (0.25, "503 Busy", 1000 * 2 * 0.5 * 5 / 2000)


def test_a_stack_that_did_not_run_says_why() -> None:
    (row,) = load.rows({"trials": [trial(1, error="it ended with 1")]})
    assert "did not run: it ended with 1" in page.load_table({"rows": [row]})


def test_a_cap_that_was_exceeded_is_marked() -> None:
    seen = Behaviour("geventpool", cold_peak=9, cold={"ok": 40}, waiters={"ok": 1, "no answer": 3}, hours_wrong=-5)
    table = page.behaviour_table([asdict(seen)])
    assert "| **9** |" in table
    assert "1 of 4; 3 no answer" in table
    assert "now() is **-5 h** wrong" in table
