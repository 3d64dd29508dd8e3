"""The load, in processes of its own: importing locust would patch this one."""

import json
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from served import ROOT, Site, free_port

from pooldemo.sweep.workloads import WORKLOADS


def locust(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "locust", "-f", "locustfile.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


class Run:
    """A headless run of six users: what Locust itself counted, and the timeline."""

    def __init__(self, site: Site, folder: Path, *arguments: str, run_time: str = "3s") -> None:
        timeline, rows = folder / "timeline.json", folder / "rows"
        done = locust(
            "--headless", "-u", "6", "-r", "6", "-t", run_time, "--host", site.url, "--exit-code-on-error", "0",
            "--timeline", str(timeline), "--json-file", str(rows), *arguments,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        self.timeline: dict[str, Any] = json.loads(timeline.read_text())
        self.rows: dict[str, Any] = {row["name"]: row for row in json.loads(Path(f"{rows}.json").read_text())}

    def histogram(self, workload: str, outcome: str) -> dict[str, int]:
        """Of all seconds."""
        total: dict[str, int] = {}
        for second in self.timeline["seconds"]:
            for bucket, count in second["workloads"].get(workload, {}).get("outcomes", {}).get(outcome, {}).items():
                total[bucket] = total.get(bucket, 0) + count
        return total

    def outcomes(self) -> set[str]:
        found = set()
        for second in self.timeline["seconds"]:
            for facts in second["workloads"].values():
                found |= set(facts["outcomes"])
        return found


@pytest.fixture(scope="module")
def runs(site: Site, tiny_site: Site, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Three runs at the same time: nothing here is about how fast anything is."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("alone", "distributed", "refused")}
    port = str(free_port())
    with ThreadPoolExecutor(3) as threads:
        started = {
            "alone": threads.submit(Run, site, folders["alone"], "--workload", "slow", "--ms", "20"),
            "distributed": threads.submit(
                Run, site, folders["distributed"], "--workload", "hold", "--ms", "5", "--think-ms", "10",
                "--processes", "2", "--master-bind-port", port, "--master-port", port,
            ),
            "refused": threads.submit(Run, tiny_site, folders["refused"], "--tags", "slow", "nodb", "--ms", "1000"),
        }  # fmt: skip
        return {name: run.result() for name, run in started.items()}


@pytest.mark.parametrize(("name", "workload"), [("alone", "slow"), ("distributed", "hold")])
def test_its_timeline_has_each_request_that_locust_counted(runs: dict[str, Run], name: str, workload: str) -> None:
    run = runs[name]
    assert sum(run.histogram(workload, "ok").values()) == run.rows[workload]["num_requests"] > 0
    assert run.outcomes() == {"ok"}
    for second in run.timeline["seconds"]:
        facts = second["workloads"].get(workload)
        if facts:
            answered = sum(facts["outcomes"]["ok"].values())
            assert sum(facts["wait_ms"].values()) == sum(facts["query_ms"].values()) == answered


def test_it_says_what_was_asked_for(runs: dict[str, Run]) -> None:
    timeline = runs["distributed"].timeline
    assert timeline["format"] == "pooldemo-timeline/1"
    assert (timeline["workload"], timeline["ms"], timeline["think_ms"]) == ("hold", 5.0, 10.0)
    assert timeline["started_at_s"] < timeline["stopped_at_s"]


def test_it_passes_ms_on_to_the_site(runs: dict[str, Run]) -> None:
    assert min(map(float, runs["alone"].histogram("slow", "ok"))) >= 20
    assert min(map(float, runs["distributed"].histogram("hold", "ok"))) >= 15


@pytest.mark.parametrize(("name", "generators"), [("alone", 1), ("distributed", 2)])
def test_it_counts_the_users_and_the_cpu_of_each_generator_in_whole_seconds(
    runs: dict[str, Run], name: str, generators: int
) -> None:
    timeline = runs[name].timeline
    start, stop = math.ceil(timeline["started_at_s"]), math.floor(timeline["stopped_at_s"])
    whole = [second for second in timeline["seconds"] if start < second["second"] < stop]
    assert whole
    assert {second["users"] for second in whole} == {6}
    assert len(timeline["generators"]) == generators
    for facts in timeline["generators"].values():
        assert set(facts["cpu_percent"]) == set(facts["lag_ms"]) >= {str(second["second"]) for second in whole}


def test_it_keeps_three_digits(runs: dict[str, Run]) -> None:
    buckets = [float(bucket) for bucket in runs["alone"].histogram("slow", "ok")]
    assert all(bucket == float(f"{bucket:.3g}") for bucket in buckets)
    assert any(bucket != float(f"{bucket:.2g}") for bucket in buckets), "two digits would be enough for these"


def test_it_keeps_failures_apart_under_messages_without_numbers(runs: dict[str, Run]) -> None:
    run = runs["refused"]
    assert run.outcomes() == {"ok", "503 PoolTimeout"}
    failed = sum(run.histogram("slow", "503 PoolTimeout").values())
    assert failed == run.rows["slow (failed)"]["num_requests"] == run.rows["slow (failed)"]["num_failures"] > 0
    assert run.rows["slow"]["num_failures"] == 0


def test_it_mixes_what_the_tags_leave(runs: dict[str, Run]) -> None:
    run = runs["refused"]
    assert {name for second in run.timeline["seconds"] for name in second["workloads"]} == {"slow", "nodb"}
    assert run.timeline["workload"] == "tags"


def test_it_deals_a_mix_in_the_exact_shares() -> None:
    code = (
        "import json, locustfile as l; n = sum(each.weight for each in l.WORKLOADS); "
        "mix = l.deal(l.WORKLOADS); print(json.dumps([[next(mix).name for _ in range(n)] for _ in range(2)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    first, second = json.loads(done.stdout)
    assert sorted(first) == sorted(second)
    assert first != second, "a new order each time"
    assert (first.count("read"), first.count("slow"), first.count("lock")) == (8, 2, 1)


def test_it_knows_the_sites_workloads_and_no_others() -> None:
    code = "import json, locustfile; print(json.dumps({each.name: each.parameters for each in locustfile.WORKLOADS}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {name: [*workload.parameters] for name, workload in WORKLOADS.items()}


def test_it_offers_the_workloads_and_refuses_others() -> None:
    done = locust("--workload", "nope")
    assert done.returncode != 0
    assert all(f"'{name}'" in done.stderr for name in (*WORKLOADS, "mix"))
