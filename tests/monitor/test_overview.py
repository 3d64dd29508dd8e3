"""From the workers' snapshots to the numbers that people look at, and the last minute of a histogram."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooldemo.monitor import snapshots
from pooldemo.monitor.last_minute import Recent, percentile_ms
from pooldemo.monitor.overview import overview

BOUNDS_S = [0.001, 0.01, 0.1, 1.0]


def worker(pid: int, age_s: float = 0.0, name: str = "site", **stats: int) -> dict[str, Any]:
    histogram = {"bounds_s": BOUNDS_S, "counts": [0, 10, 0, 0, 0], "total_s": 0.05}
    pool = {
        "stats": stats,
        "views": {
            "": {"holds": 1, "held_s": 0.0, "idle_s": 0.0, "refusals": {}},
            "orders": {"holds": 1, "held_s": 4.0, "idle_s": 3.0, "refusals": {"timeout": pid, "full": 1}},
        },
        "holders": [{"name": f"g{pid}", "held_s": float(pid), "statement": "SELECT 1"}],
        "histograms": {"wait": histogram, "hold": histogram},
        "last_minute": {"wait": [0, 4, 0, 0, 0], "hold": [0, 0, 0, 0, 0]},
    }
    return {"pid": pid, "age_s": age_s, "application_name": name, "pools": {"default": pool}}


def seen(*workers: dict[str, Any]) -> Any:
    return overview({"workers": workers, "sum": snapshots.total(workers)})


def test_it_tells_active_idle_pending_and_max_of_each_worker_and_in_sum() -> None:
    one = worker(1, pool_size=5, pool_available=2, requests_waiting=7, pool_max=8, requests_timeouts=1)
    two = worker(2, pool_size=4, pool_available=0, requests_waiting=1, pool_max=8, requests_errors=3)
    found = seen(one, two)
    assert [(each.active, each.idle, each.pending, each.max) for each in found.workers] == [(3, 2, 7, 8), (4, 0, 1, 8)]
    assert (found.sum.active, found.sum.idle, found.sum.pending, found.sum.max) == (7, 2, 8, 16)
    assert (found.sum.timeouts, found.sum.errors, found.sum.connections) == (1, 3, 9)


def test_it_lays_beside_postgresqls_count_what_leads_to_the_same_database() -> None:
    """A second database may be on another server, of which nobody is asked."""
    one = worker(1, pool_size=5, pool_available=2)
    one["pools"]["archive"] = {**one["pools"]["default"], "is_counted": False}
    found = seen(one)
    assert (found.sum.connections, found.counted) == (10, 5)


def test_it_names_the_longest_holders_first_with_their_worker() -> None:
    assert [(each["pid"], each["statement"]) for each in seen(worker(1), worker(2)).holders] == [
        (2, "SELECT 1"),
        (1, "SELECT 1"),
    ]


def test_it_names_the_views_that_hold_longest_without_work_first() -> None:
    orders, none = seen(worker(1), worker(2)).views
    assert (orders.name, orders.held_s, orders.idle_s, orders.idle_percent) == ("orders", 8.0, 6.0, 75)
    assert orders.refused == "2 full, 3 timeout"
    assert (none.name, none.idle_percent, none.refused) == ("(no view)", 0, "")


def test_it_tells_the_percentiles_of_the_last_minute_and_not_of_all_time() -> None:
    wait, hold = seen(worker(1), worker(2)).times
    assert (wait.name, wait.count, wait.percentiles[0]) == ("wait", 8, "5.50")
    assert (hold.count, hold.percentiles) == (0, ("-", "-", "-"))


def test_it_knows_a_worker_that_went_silent() -> None:
    silent, well = seen(worker(1, age_s=30.0), worker(2, age_s=1.1)).workers
    assert (silent.stale, well.stale) == (True, False)


def test_it_has_no_name_when_the_workers_have_several() -> None:
    assert seen(worker(1), worker(2)).application_name == "site"
    assert seen(worker(1), worker(2, name="other")).application_name == ""


def test_it_forgets_what_is_older_than_a_minute() -> None:
    recent = Recent()
    for second in range(200):
        recent.note(float(second), {"wait": [second, 0]})
    assert recent.since({"wait": [199, 0]}) == {"wait": [60, 0]}
    assert len(recent._history) <= 62


def test_it_takes_all_of_a_pool_that_is_younger_or_was_made_again() -> None:
    assert Recent().since({"wait": [3, 4]}) == {"wait": [3, 4]}
    recent = Recent()
    recent.note(0.0, {"wait": [3, 4]})  # what it did before the first look
    recent.note(1.0, {"wait": [5, 4]})
    assert recent.since({"wait": [5, 6]}) == {"wait": [5, 6]}
    recent.note(61.0, {"wait": [50, 50]})
    recent.note(121.0, {"wait": [50, 50]})
    assert recent.since({"wait": [2, 51]}) == {"wait": [2, 51]}


@given(st.lists(st.integers(0, 1000), min_size=5, max_size=5), st.sampled_from([0.5, 0.95, 0.99]))
def test_its_percentile_lies_in_the_bucket_where_the_count_is_reached(counts: list[int], fraction: float) -> None:
    found = percentile_ms(BOUNDS_S, counts, fraction)
    if not sum(counts):
        assert found is None
        return
    assert found is not None
    place = next(place for place in range(5) if sum(counts[: place + 1]) >= fraction * sum(counts) and counts[place])
    low, high = [0.0, *BOUNDS_S][place], [*BOUNDS_S, math.inf][place]
    assert 1000 * low <= found * (1 + 1e-9)
    assert found <= 1000 * high * (1 + 1e-9)


@pytest.mark.parametrize(("counts", "wanted_ms"), [([0, 0, 0, 0, 9], 1000.0), ([10, 0, 0, 0, 0], 0.5)])
def test_its_percentile_at_the_ends(counts: list[int], wanted_ms: float) -> None:
    assert percentile_ms(BOUNDS_S, counts, 0.5) == pytest.approx(wanted_ms)
