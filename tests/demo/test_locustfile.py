"""The load, in processes of its own: importing locust would patch this one."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from locust_forks import LocustForks, Typed
from locust_page import Page
from locust_runs import Run, asked, more_than_a_second_late, served_in_two_seconds, steady
from served import ROOT, Site, until

from pooldemo.sweep.workloads import WORKLOADS


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocustForks]:
    with LocustForks(tmp_path_factory.mktemp("forks")) as forks:
        yield forks


SLEEPING = {"slow", "lock", "hold", "think"}


@pytest.fixture(scope="module")
def runs(site: Site, tiny_site: Site, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """All at the same time: nothing here is about how fast anything is."""
    wanted: dict[str, tuple[Any, ...]] = {
        "alone": (site, {"slow"}, partial(steady, 1), "--workload", "slow", "--ms", "20"),
        "distributed": (
            site, {"hold"}, partial(steady, 2), "--workload", "hold", "--ms", "5", "--think-ms", "10",
            "--processes", "2",
        ),
        "late": (
            site, {"slow"}, more_than_a_second_late, "--workload", "slow", "--ms", "100", "--arrivals", "1000",
        ),
        "refused": (
            tiny_site, {"slow", "slow (failed)", "nodb"}, served_in_two_seconds, "--tags", "slow", "nodb",
            "--ms", "300",
        ),
        "excluded": (site, set(WORKLOADS) - SLEEPING, bool, "--exclude-tags", "sleeps", "--ms", "1"),
    }  # fmt: skip

    def run(name: str) -> Run:
        on, *how = wanted[name]
        return Run(on, tmp_path_factory.mktemp(name), *how)

    with ThreadPoolExecutor(len(wanted)) as threads:
        return dict(zip(wanted, threads.map(run, wanted), strict=True))


@pytest.mark.parametrize(("name", "workload"), [("alone", "slow"), ("distributed", "hold")])
def test_its_timeline_has_each_request_that_locust_counted(runs: dict[str, Run], name: str, workload: str) -> None:
    run = runs[name]
    assert sum(run.histogram(workload, "ok").values()) == run.rows[workload]["num_requests"] > 0
    assert run.outcomes() == {"ok"}
    for second in run.timeline["seconds"]:
        facts = second["workloads"].get(workload)
        if facts:
            answered = sum(facts["outcomes"].get("ok", {}).values())
            assert sum(facts["wait_ms"].values()) == sum(facts["query_ms"].values()) == answered


def test_it_gives_each_second_its_share_of_a_request_that_was_served_in_two(runs: dict[str, Run]) -> None:
    timeline = runs["refused"].timeline
    seconds = [second["workloads"].get("slow", {}).get("carried", 0.0) for second in timeline["seconds"]]
    assert any(seconds)
    assert sum(seconds) == pytest.approx(0, abs=1e-6)


def test_it_counts_a_response_from_when_its_request_was_due(runs: dict[str, Run]) -> None:
    """Six users cannot ask 1,000 times a second for what takes 0.1 s: what waits for one of them waits."""
    run = runs["late"]
    late: dict[str, int] = {}
    for second in run.timeline["seconds"]:
        for bucket, count in second["workloads"].get("slow", {}).get("late_ms", {}).items():
            late[bucket] = late.get(bucket, 0) + count
    answers = run.histogram("slow", "ok")
    assert sum(late.values()) == sum(answers.values()) == run.rows["slow"]["num_requests"]
    assert max(map(float, late)) > 1000
    assert max(map(float, answers)) >= max(map(float, late))
    assert run.rows["slow"]["max_response_time"] > 1000, "Locust's own table counts it as well"


def test_its_workers_count_where_they_are_told_to_begin_before_their_init(site: Site, tmp_path: Path) -> None:
    """A worker is connected by then, and its master waits for nothing more."""
    late = tmp_path / "late.py"
    late.write_text(
        "import time, locust\n"
        "@locust.events.init.add_listener\n"
        "def wait(runner, **_):\n"
        "    if isinstance(runner, locust.runners.WorkerRunner):\n"
        "        time.sleep(2)\n"
    )
    page = Page(site.url, "--autostart", "-u", "6", "-r", "6", "--pause-ms", "100", "--processes", "2")
    at = page.command.index("-f") + 1
    page.command[at] = f"{late},{page.command[at]}"
    with page:
        until(lambda: steady(2, page.noted()), every_s=0.1)


def test_it_waits_for_what_its_workers_noted_last(site: Site, tmp_path: Path) -> None:
    """Locust itself does for half a second: of a worker that waited for its core the last three were lost."""
    file, host = tmp_path / "timeline.json", ("--master-bind-host", "127.0.0.1")
    command = [sys.executable, "-m", "locust", "-f", str(ROOT / "locustfile.py"), "--worker"]
    with Page(site.url, "--master", *host, "--timeline", str(file)) as page:
        worker = subprocess.Popen([*command, "--master-port", page.meeting])
        page.until(lambda stats: stats["worker_count"] == 1)
        page.start(workload="nodb")
        page.until(asked)
        worker.send_signal(signal.SIGSTOP)
        threading.Timer(1, worker.send_signal, [signal.SIGCONT]).start()
    worker.wait()
    timeline = json.loads(file.read_text())
    [noted] = timeline["generators"].values()
    assert noted["stopped_at_s"] >= timeline["started_at_s"] + 1
    assert abs(noted["ahead_ms"]) < 60_000


def test_a_worker_that_ends_before_the_others_leaves_its_users_to_nobody(site: Site) -> None:
    """They were to have them, at the end of the load: their last reports waited for that, for a second."""
    with Page(site.url, "--processes", "2") as page:
        page.until(lambda stats: stats["worker_count"] == 2)
        page.start(workload="nodb", user_count="4", spawn_rate="4")
        page.until(lambda stats: asked(stats) and stats["state"] == "running")
    assert page.log.count("Sending spawn jobs") == 1


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
    full = {each["second"] for each in timeline["seconds"] if each["users"] == 6}
    noted = {str(second) for second in full if second + 1 in full}  # each generator ticked at both of its ends
    assert noted, "the run went on until they were"
    assert max(each["users"] for each in timeline["seconds"]) == 6
    assert len(timeline["generators"]) == generators
    for facts in timeline["generators"].values():
        assert set(facts["cpu_percent"]) == set(facts["lag_ms"])
        assert noted & set(facts["cpu_percent"])  # one that had to wait for its core has missed seconds


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


def test_it_mixes_all_but_the_excluded_tags(runs: dict[str, Run]) -> None:
    assert {name for name in runs["excluded"].rows if name != "Aggregated"} == set(WORKLOADS) - SLEEPING
    assert runs["excluded"].outcomes() == {"ok"}


def test_it_knows_the_sites_workloads_and_no_others(forks: LocustForks) -> None:
    known = forks.python(
        "import json, locustfile as l; print(json.dumps({each.name: each.parameters for each in l.WORKLOADS}))"
    )
    assert known == {name: [*workload.parameters] for name, workload in WORKLOADS.items()}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--workload", "nope"], "'nope'"),
        (["--users", "0"], "users: 0 is no number above 0"),
        (["--users=-1"], "users: -1 is no number above 0"),
        (["--ms", "abc"], "ms: 'abc' is no length"),
        (["--ms=-1"], "ms: '-1' is no length"),
        (["--think-ms", "nan"], "think_ms: 'nan' is no length"),
        (["--pause-ms", "1,5"], "pause_ms: '1,5' is no length"),
        (["--pace-ms", "inf", "--processes", "2"], "pace_ms: 'inf' is no length"),
        (["--urls", "nope"], "urls: 'nope' is no JSON like"),
        (["--urls", "[1]"], "urls: '[1]' is no JSON like"),
        (["--headers", "[]"], "headers: '[]' is no JSON like"),
        (["--headers", "{}"], "headers: '{}' is no JSON like"),
        (["--tags", "slwo", "fast"], "tags: 'slwo' is not known"),
        (["--exclude-tags", "sleep"], "tags: 'sleep' is not known"),
        (["--tags", "read", "--exclude-tags", "works"], "none of the workloads is left"),
        (["--host", "127.0.0.1:8000"], "host: '127.0.0.1:8000' is no address"),
        (["--host", "http://localhost:1/"], "host: 'http://localhost:1/' is no address, give one like http"),
        (["--host", "http://localhost:abc"], "host: 'http://localhost:abc' is no address"),
        (["--host", "http://localhost:99999"], "host: 'http://localhost:99999' is no address"),
        (["--host", "http://[::1"], "host: 'http://[::1' is no address"),
        (["--host", "http://localhost:1 "], "host: 'http://localhost:1 ' is no address"),
        (["--host", "http://localhost:1/below/"], "without a slash at its end"),
        (["--timeline", "no/such/folder/t.json"], "timeline: 'no/such/folder/t.json' cannot be written"),
        (["--timeline", "tests"], "timeline: 'tests' cannot be written"),
        (["--timeline", "/dev/null"], "timeline: '/dev/null' cannot be written"),
    ],
)
def test_it_refuses_before_the_run_in_one_sentence(forks: LocustForks, arguments: list[str], said: str) -> None:
    [done] = forks.locust(Typed([*arguments, "--headless", "-t", "1s"]))
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_it_says_that_its_port_is_in_use_before_the_run(forks: LocustForks) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        [done] = forks.locust(Typed(["--web-port", str(taken.getsockname()[1])]))
    assert done.returncode == 2
    assert "Address already in use; take --web-port" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["--processes", "2"], ["--master"], ["--master", "--master-bind-host", "[::]"]])
def test_it_says_that_the_port_of_its_generators_is_in_use_before_they_begin(
    forks: LocustForks, arguments: list[str]
) -> None:
    """Two at once: the second ended with a traceback, and its workers loaded for the first."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        [done] = forks.locust(Typed([*arguments, "--headless", "--master-bind-port", str(port)]))
    other = port + 1 if port < 65535 else 5557
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert f"in use; take --master-bind-port {other} --master-port {other}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--web-port", "99999"], "port 99999 for the page: there is none, take --web-port 8089"),
        (["--web-host", "nobody.invalid"], "nobody.invalid is no address of this machine, mend --web-host"),
        (["--master", "--headless", "--master-bind-port", "99999"], "there is none, take --master-bind-port 5557"),
    ],
)
def test_it_says_what_is_wrong_with_an_address_of_its_own(forks: LocustForks, arguments: list[str], said: str) -> None:
    [done] = forks.locust(Typed(arguments))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert said in done.stderr


def test_it_tries_a_pipe_without_waiting_for_its_reader(forks: LocustForks, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    [done] = forks.locust(Typed(["--timeline", str(tmp_path / "pipe"), "--headless", "-t", "1s"]))
    assert "cannot be written" in done.stderr


def test_a_timeline_that_is_only_tried_leaves_no_file(forks: LocustForks, tmp_path: Path) -> None:
    [done] = forks.locust(Typed(["--timeline", str(tmp_path / "t.json"), "--list"]))
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_it_offers_the_workloads_when_it_refuses_another(forks: LocustForks) -> None:
    [done] = forks.locust(Typed(["--workload", "nope"]))
    assert all(f"'{name}'" in done.stderr for name in (*WORKLOADS, "mix"))


def test_it_reads_its_options_from_wherever_locust_does(forks: LocustForks, silent: str, tmp_path: Path) -> None:
    """The command line, the environment, a named file and those that Locust looks for by itself."""
    lines, toml = "ms = 7\nworkload = cpu\nthink-ms =\n", '[tool.locust]\nms = 7\nworkload = "cpu"\nthink-ms = ""\n'
    files = {"named": "load.conf", "home": ".locust.conf", "folder": "locust.conf", "toml": "pyproject.toml"}
    ways: dict[str, tuple[list[str], dict[str, str]]] = {
        "arguments": (["--ms", "7", "--workload", "cpu", "--think-ms", ""], {}),
        "environment": ([], {"LOCUST_MS": " 7 ", "LOCUST_WORKLOAD": "cpu", "LOCUST_THINK_MS": ""}),
        "empty": ([], {"LOCUST_MS": "7", "LOCUST_WORKLOAD": "", "LOCUST_TIMELINE": "", "LOCUST_PAUSE_MS": ""}),
        "named": (["--config", "load.conf"], {}),
        "home": ([], {}),
        "folder": ([], {}),
        "toml": ([], {}),
    }

    def typed(way: str) -> Typed:
        folder = tmp_path / way
        folder.mkdir()
        if way in files:
            (folder / files[way]).write_text(toml if way == "toml" else lines)
        arguments, environment = ways[way]
        environment = {"HOME": str(folder if way == "home" else tmp_path), **environment}
        common = ("--headless", "-t", "1s", "--host", silent, "--timeline", str(folder / "t.json"))
        return Typed([*common, *arguments], tmp_path if way == "home" else folder, environment)

    for done in forks.locust(*map(typed, ways)):
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
    told = {way: json.loads((tmp_path / way / "t.json").read_text()) for way in ways}
    wanted = {way: ("slow" if way == "empty" else "cpu", 7.0, None, 0.0, 0.0) for way in ways}
    names = ("workload", "ms", "think_ms", "pause_ms", "pace_ms")
    assert {way: tuple(timeline[name] for name in names) for way, timeline in told.items()} == wanted


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a site that never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_it_counts_a_fault_of_its_own_as_a_failure(forks: LocustForks, silent: str, tmp_path: Path) -> None:
    (tmp_path / "fault.py").write_text(
        "from locust import events\n"
        "@events.init.add_listener\n"
        "def break_it(environment, **_):\n"
        "    environment.user_classes[0].visit = lambda self, workload: 1 / 0\n"
    )
    rows = tmp_path / "rows"
    files = f"{tmp_path / 'fault.py'},{ROOT / 'locustfile.py'}"
    typed = ["--headless", "-t", "2s", "--host", silent, "--json-file", str(rows)]
    [done] = forks.locust(Typed(typed, file=files))
    assert done.returncode == 1
    [row] = json.loads(Path(f"{rows}.json").read_text())
    assert row["num_failures"] == row["num_requests"] > 0
    assert "ZeroDivisionError" in done.stderr
    assert done.stderr.count("Traceback") <= 3, "one user fails once a second"


def test_its_workers_end_soon_when_their_master_is_gone(forks: LocustForks) -> None:
    """They went on with the load for a minute, into the next trial."""
    ended = forks.python(
        "import json, time, gevent, locustfile; from locust.runners import WorkerRunner\n"
        "def leave(): raise gevent.GreenletExit\n"
        "worker = object.__new__(WorkerRunner); worker.quit = leave\n"
        "worker.last_heartbeat_timestamp = time.time() - 20\n"
        "checker = gevent.spawn(worker.heartbeat_timeout_checker); checker.join(240)\n"
        "print(json.dumps(checker.dead))"
    )
    assert ended


def test_its_tables_show_what_is_below_a_millisecond(forks: LocustForks) -> None:
    table, line, shares, slow = forks.python(
        "import json, locustfile; from locust.stats import RequestStats; stats = RequestStats()\n"
        "for ms in (0.123, 0.456, 0.789): stats.log_request('GET', 'fast', ms, 0)\n"
        "stats.log_request('GET', 'slow', 1234.567, 0)\n"
        "row = stats.get('fast', 'GET')\n"
        "print(json.dumps([row.to_dict(), row.to_string(), row.percentile(), stats.get('slow', 'GET').to_dict()]))"
    )
    names = ("min_response_time", "median_response_time", "max_response_time", "response_time_percentile_0.99")
    assert [table[name] for name in names] == [0.123, 0.456, 0.789, 0.789]
    assert line.split("|")[1].split() == ["0.456", "0.123", "0.789", "0.456"]
    assert shares.split() == ["GET", "fast", *["0.456"] * 2, *["0.789"] * 9, "3"]
    assert slow["max_response_time"] == 1235
