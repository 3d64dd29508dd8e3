"""The workers' snapshots, their sum, and what Prometheus is told of them."""

import errno
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.db.utils import ConnectionHandler
from prometheus_client.parser import text_string_to_metric_families
from served import until

from pooldemo.monitor import conventions, metrics, snapshots
from pooldemo.monitor.history import Diary
from pooldemo.monitor.last_minute import Recent
from pooldemo.monitor.meeting import FOLDER_VARIABLE
from pooldemo.monitor.overview import pool_of
from pooldemo.postgresql import pools
from pooldemo.postgresql.base import DatabaseWrapper

BOUNDS_S = [0.001, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]


def snapshot(pid: int, **stats: float) -> snapshots.Snapshot:
    """A worker's, in whose pool one checkout took 3 ms, one 6 ms and one a minute."""
    counts = [0, 1, 1, *[0] * 11, 1]
    histogram = {"bounds_s": BOUNDS_S, "counts": counts, "total_s": 60.009}
    numbers = {"pool_max": 4, "pool_min": 1, "pool_size": 3, "pool_available": 1, "requests_waiting": 2}
    return {
        "pid": pid,
        "at_s": 0.0,
        "clock_s": 0.0,
        "pools": {
            "default": {
                "stats": {**numbers, "requests_timeouts": 5, **stats},
                "reuse_conns": 3,
                "holders": [{"name": "a greenlet", "held_s": pid / 100, "statement": "SELECT 1"}],
                "views": {"orders": {"holds": 2, "held_s": 3.0, "idle_s": 2.5, "refusals": {"shed": 1}}},
                "histograms": {"wait": histogram, "hold": histogram, "connect": histogram},
            }
        },
    }


def end(thread: threading.Thread, folder: Path) -> None:
    """End a publisher, which may write into its folder while that is being removed."""
    while thread.is_alive():
        shutil.rmtree(folder, ignore_errors=True)
        thread.join(0.1)


def test_it_adds_up_the_pools_of_all_workers() -> None:
    total = snapshots.total([snapshot(1), snapshot(2, pool_max=6)])
    assert (total["pool_max"], total["pool_size"], total["requests_waiting"]) == (10, 6, 4)
    assert total["histograms"]["wait"]["counts"] == [0, 2, 2, *[0] * 11, 2]
    assert [holder["pid"] for holder in total["holders"]] == [2, 1], "the longest first"
    assert total["views"] == {"orders": {"holds": 4, "held_s": 6.0, "idle_s": 5.0, "refusals": {"shed": 2}}}


def test_it_leaves_what_it_adds_up_unchanged() -> None:
    one = snapshot(1)
    before = json.dumps(one)
    snapshots.total([one, one])
    assert json.dumps(one) == before


def test_it_reads_the_living_workers_and_sweeps_the_dead_from_view(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for pid in (os.getppid(), dead.pid):
        (tmp_path / f"{pid}.json").write_text(json.dumps(snapshot(pid)))
    found = snapshots.collect()
    assert {each["pid"] for each in found} == {os.getppid(), os.getpid()}
    assert {each["pid"]: each["age_s"] for each in found}[os.getpid()] == 0


def test_it_prefers_its_own_values_of_now_to_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    (tmp_path / f"{os.getpid()}.json").write_text(json.dumps(snapshot(os.getpid())))
    [own] = snapshots.collect()
    assert own["at_s"] > 0
    assert own["host"] == socket.gethostname(), "in containers the workers of several have the same numbers"


def test_its_age_is_not_what_a_clock_makes_of_it_that_was_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set forward, every worker was silent and somebody was woken; set back, one that is stuck was not."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    for hour_s in (3600, -3600):
        own = snapshots.take()
        told = {**own, "pid": os.getppid(), "at_s": own["at_s"] - hour_s, "clock_s": own["clock_s"] - 8}
        (tmp_path / f"{os.getppid()}.json").write_text(json.dumps(told))
        ages = {each["pid"]: each["age_s"] for each in snapshots.collect()}
        assert 8 <= ages[os.getppid()] < 250


def test_it_publishes_whole_files_and_stops_with_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "snapshots"
    folder.mkdir()
    snapshots.publish(folder)
    assert {path.name for path in folder.iterdir()} == {f"{os.getpid()}.json", f"{os.getpid()}.past"}
    (folder / f"{os.getpid()}.json").unlink()
    shutil.rmtree(folder)
    thread = snapshots.start_publishing(folder)
    thread.join(240)
    assert not thread.is_alive()


def test_it_goes_on_publishing_after_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker was silent for ever, and woke somebody."""
    publish, full = snapshots.publish, [OSError(errno.ENOSPC, "No space left on device")]

    def publish_if_there_is_room(folder: Path) -> None:
        if full:
            raise full.pop()
        publish(folder)

    monkeypatch.setattr(snapshots, "INTERVAL_S", 0.01)
    monkeypatch.setattr(snapshots, "publish", publish_if_there_is_room)
    folder = tmp_path / "snapshots"
    folder.mkdir()
    thread = snapshots.start_publishing(folder)
    until(lambda: not thread.is_alive() or list(folder.glob("*.json")))
    assert thread.is_alive()
    end(thread, folder)


def test_it_tells_databases_apart_that_are_known_by_a_service_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pools of both were held against PostgreSQL's count of one."""
    settings = {each: {"NAME": "", "HOST": "", "PORT": "", "OPTIONS": {"service": each}} for each in ("default", "ops")}
    monkeypatch.setattr(snapshots, "connections", SimpleNamespace(settings=settings))
    assert snapshots._place("default") != snapshots._place("ops")


def test_a_worker_has_the_size_that_was_asked_for_before_its_first_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first requests had that of the settings, for a second, and a sweep was refused for it."""
    monkeypatch.setattr(snapshots, "INTERVAL_S", 0.01)
    wrapper: Any = connection
    wrapper.close()
    wrapper.close_pool()
    folder = tmp_path / "snapshots"
    folder.mkdir()
    (folder / snapshots.SIZE).write_text("3")
    thread = snapshots.start_publishing(folder)
    try:
        until(lambda: [pool.get_stats()["pool_max"] for pool in pools() if pool.name == "default"] == [3], 20)
    finally:
        end(thread, folder)
        wrapper.close_pool()


def test_its_last_minute_goes_by_no_clock_that_may_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set back by an hour, it grew for an hour, and then told of all of it."""
    recent, numbers, seconds = Recent(), itertools.count(), itertools.count()
    monkeypatch.setattr(snapshots, "pools", lambda: [SimpleNamespace(name="default")])
    monkeypatch.setattr(snapshots, "_counts", lambda _: {"wait": [next(numbers)]})
    monkeypatch.setattr(snapshots, "_recent", {"default": recent})
    monkeypatch.setattr(snapshots, "_diary", Diary())  # else it goes on from this process's own pools
    monkeypatch.setattr(snapshots, "take", lambda: snapshot(os.getpid()))
    monkeypatch.setattr("time.monotonic", lambda: float(next(seconds)))
    for clock_s in [1e9] * 100 + [1e9 - 3600] * 100:
        monkeypatch.setattr("time.time", lambda now_s=clock_s: now_s)
        snapshots.publish(tmp_path)
    assert recent.since({"wait": [199]}) == {"wait": [60]}


Samples = dict[tuple[str, str], float]


EXTRA = ("db_client_connection_state", "le", "reason", "view")


@pytest.fixture
def samples() -> Samples:
    text = metrics.exposition(
        [snapshot(7, requests_refused=3, requests_shed=2, deadlines_exceeded=4, clients_gone=1)]
    ).decode()
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            extra = next((each.labels[name] for name in EXTRA if name in each.labels), "")
            assert (each.labels["db_client_connection_pool_name"], each.labels["pid"]) == ("default", "7")
            found[each.name.removeprefix("db_client_connection_"), extra] = each.value
    return found


def test_it_tells_prometheus_the_pool_in_opentelemetrys_names(samples: Samples) -> None:
    assert samples["count", "idle"] == 1
    assert samples["count", "used"] == 2
    assert samples["max", ""] == 4
    assert samples["idle_max", ""] == 3
    assert samples["idle_min", ""] == 1
    assert samples["pending_requests", ""] == 2
    assert samples["timeouts_total", ""] == 5
    reasons = {"timeout": 5, "full": 1, "shed": 2, "deadline": 4, "client_gone": 1}
    assert {reason: samples["refusals_total", reason] for reason in reasons} == reasons


def test_it_tells_prometheus_which_view_holds_without_work(samples: Samples) -> None:
    assert samples["view_held_seconds_total", "orders"] == 3.0
    assert samples["view_idle_seconds_total", "orders"] == 2.5
    assert samples["view_refusals_total", "shed"] == 1


@pytest.mark.parametrize("name", ["create_time", "wait_time", "use_time"])
def test_it_tells_prometheus_the_times_in_opentelemetrys_buckets(samples: Samples, name: str) -> None:
    buckets = {le: value for (what, le), value in samples.items() if what == f"{name}_seconds_bucket"}
    assert [float(le) for le in buckets] == [
        0.001,
        0.005,
        0.01,
        0.025,
        0.05,
        0.1,
        0.25,
        0.5,
        1,
        2.5,
        5,
        10,
        float("inf"),
    ]
    assert list(buckets.values()) == [0, 1, *[2] * 10, 3]
    assert samples[f"{name}_seconds_count", ""] == 3
    assert samples[f"{name}_seconds_sum", ""] == 60.009


def test_its_pools_count_in_bounds_that_contain_opentelemetrys() -> None:
    from pooldemo.pool import BOUNDS_S as ours

    assert set(conventions.BOUNDS_S) <= set(ours)


@pytest.mark.parametrize(
    ("engine", "options", "stack"),
    [
        ("pooldemo.postgresql", {"MAX_CONNS": 9}, "pooldemo"),
        ("pooldemo.postgresql", {"pool": False}, ""),
        ("django.db.backends.postgresql", {}, ""),
        ("django.db.backends.postgresql", {"pool": True}, "psycopg-pool"),
        ("pooldemo.postgresql", {"POOL_MODE": "transaction"}, "pooldemo-transaction"),
        ("django_db_geventpool.backends.postgresql_psycopg2", {}, "geventpool"),
    ],
)
def test_it_names_the_stack_on_which_the_process_is(
    monkeypatch: pytest.MonkeyPatch, settings: Any, engine: str, options: dict[str, Any], stack: str
) -> None:
    assert snapshots.take()["stack"] == settings.POOL_STACK
    del settings.POOL_STACK
    wrapper = object() if engine.startswith("django") else object.__new__(DatabaseWrapper)

    class Connections(dict[str, Any]):
        settings = {"default": {"ENGINE": engine, "OPTIONS": options}}

    monkeypatch.setattr(snapshots, "connections", Connections(default=wrapper))
    assert snapshots.stack() == stack


def test_it_counts_the_slots_of_pools_that_no_query_has_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that had served nobody yet had none, and all of them together too few."""
    databases: dict[str, Any] = {
        name: {"ENGINE": "pooldemo.postgresql", "OPTIONS": {}} for name in ("default", "archive", "plain")
    }
    databases["default"]["OPTIONS"] = {"MAX_CONNS": 8}
    databases["archive"]["OPTIONS"] = {"MAX_CONNS": 3}
    databases["plain"]["OPTIONS"] = {"MAX_CONNS": 5, "pool": False}
    databases["else"] = {"ENGINE": "django.db.backends.sqlite3"}
    monkeypatch.setattr(snapshots, "connections", ConnectionHandler(databases))
    opened: list[Any] = []
    monkeypatch.setattr(snapshots, "pools", lambda: opened)
    assert (snapshots.take()["size"], snapshots.take()["unopened"]) == (8, 11)
    assert pool_of({**snapshots.take(), "age_s": 0.0}).max == 11
    text = metrics.exposition([{**snapshots.take(), "pid": 7, "age_s": 9.0}]).decode()
    for name, number in (("default", 8), ("archive", 3)):
        labels = f'{{db_client_connection_pool_name="{name}",pid="7"}}'
        assert f"db_client_connection_max{labels} {number}.0" in text, "the alert PoolAboveBudget adds them up"
        assert f"pooldemo_snapshot_age_seconds{labels} 9.0" in text, "the alert PoolWorkerSilent looks at it"
        assert f"db_client_connection_timeouts_total{labels} 0.0" in text, "a first timeout is a rise"
    databases["default"]["OPTIONS"]["pool"] = False
    assert snapshots.take()["size"] is None, "it has none that could have a size"
    opened.append(SimpleNamespace(name="default", get_stats=lambda: {"pool_max": 6}))
    assert snapshots._size("default") == 6, "somebody resized it"
