"""The load: `locust -f locustfile.py` opens Locust's page with this site as its host and the workloads to choose from.

Headless: `locust -f locustfile.py --headless -u 64 -r 64 -t 10s --workload slow --ms 100 --timeline t.json`; with
`--processes 2`, or `--master` and `--worker` on many machines, the master writes the timeline of all of them.

It is a closed loop: a user asks again when its answer is there, so a slow server is asked less often and the requests
that would have come meanwhile are missing from the percentiles (coordinated omission). `--pace-ms` gives each user a
beat of its own, kept as long as the server keeps up. `--tags` picks workloads by tag and mixes them by weight;
without tags `--workload` picks one. There is no LoadTestShape here: one in this file would make -u, -r and -t ignored.

What is counted: Locust's own rows are named after the workload, failures in a row of their own (`slow (failed)`), so
percentiles are those of successes alone; buckets keep three digits. A failure's message has no number that varies:
`503 PoolTimeout`, `500 Internal Server Error`, `no answer: ConnectionRefusedError`.

`--timeline FILE` writes this JSON when the run stops (times are of the epoch, in seconds; a histogram is
{bucket: count}, its bucket milliseconds of three digits, as a string; a request belongs to the second it ended in):

    {"format": "pooldemo-timeline/1", "workload": "slow", "ms": 100.0 or null, "think_ms": 0.0 or null, "host": "...",
     "pace_ms": 0.0, "pause_ms": 0.0,
     "started_at_s": 1.7e9, "stopped_at_s": 1.7e9,     the earliest start and the latest stop of any generator
     "seconds": [                                       ascending; only seconds in which something was noted
       {"second": 1700000000, "users": 64,              users: running as the second began, over all generators
        "workloads": {"slow": {
           "outcomes": {"ok": {"101": 3}, "503 PoolTimeout": {"2000": 1}},  response times; all but "ok" are failures
           "wait_ms": {"0.012": 3}, "query_ms": {"100": 3}}}}],  of successes, told by Server-Timing; {} where it is not
     "generators": {"host:pid": {                       each process that made load, whole seconds
        "cpu_percent": {"1700000000": 37.1},            of one core, over that second
        "lag_ms": {"1700000000": 0.4}}}}                how late its clock ticked: its event loop was blocked that long

The first and the last second are incomplete; a window is made of the whole seconds between.
"""

import json
import os
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import locust.stats
from locust import FastHttpUser, events, tag
from locust.runners import MasterRunner, WorkerRunner
from locust.web import request

HOST = "http://127.0.0.1:8000"


class Workload(NamedTuple):
    """One kind of request: `name` is its path, `weight` its share in a mix, `parameters` those that the options set."""

    name: str
    weight: int
    tags: tuple[str, ...]
    parameters: tuple[str, ...] = ()


# pooldemo/sweep/workloads.py says what each one does; tests/demo/test_locustfile.py keeps the two lists the same.
WORKLOADS = (
    Workload("slow", 2, ("database", "sleeps"), ("ms",)),
    Workload("cpu", 1, ("database", "works"), ("ms",)),
    Workload("read", 8, ("database", "works")),
    Workload("write", 3, ("database", "works")),
    Workload("lock", 1, ("database", "sleeps"), ("ms",)),
    Workload("hold", 1, ("database", "sleeps"), ("query_ms", "think_ms")),
    Workload("fast", 4, ("database",)),
    Workload("nodb", 1, ()),
)


def three_digits(ms: float) -> float:
    """`ms` rounded to three significant digits: 1.2345 -> 1.23, 1234 -> 1230."""
    return float(f"{ms:.3g}")


locust.stats.bucket_response_time = lambda response_time: int(three_digits(response_time))


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    parser.add_argument(
        "--workload",
        choices=[*(workload.name for workload in WORKLOADS), "mix"],
        default="slow",
        env_var="LOCUST_WORKLOAD",
        help="the one kind of request to make, or a mix by weight; --tags wins over it",
    )
    for name, text in (
        ("ms", "length of slow, cpu and lock, of hold's query; empty: what the site does by itself"),
        ("think_ms", "hold: how long it thinks inside its transaction; empty: what the site does by itself"),
        ("pause_ms", "how long a user pauses after each answer"),
        ("pace_ms", "from one request of a user to its next: arrivals per second = users / pace; 0: as fast as it can"),
    ):
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=float,
            default=None if name in ("ms", "think_ms") else 0.0,
            env_var=f"LOCUST_{name.upper()}",
            help=f"milliseconds: {text}",
        )
    parser.add_argument(
        "--timeline",
        metavar="FILE",
        default="",
        env_var="LOCUST_TIMELINE",
        include_in_web_ui=False,
        help="write what happened in each second to this file, as JSON (the format is told in locustfile.py)",
    )


class Timeline:
    """What happened in each second, in this process and, on a master, in all of its workers.

    Every fact is a count under a flat key, so the workers' parts are merged by adding them up.
    """

    def __init__(self) -> None:
        self.generator = f"{socket.gethostname()}:{os.getpid()}"
        self.reset()

    def reset(self) -> None:
        self.counts: Counter[tuple] = Counter()  # (second, workload, series, bucket) -> requests
        self.gauges: dict[tuple, float] = {}  # (second, generator, name) -> value
        self.started_at_s: list[float] = []
        self.stopped_at_s: list[float] = []

    def note(self, workload: str, series: str, ms: float, second: int) -> None:
        self.counts[second, workload, series, three_digits(ms)] += 1

    def tick_forever(self, runner: Any) -> None:
        """Note the users and this process's CPU as each second begins; never returns (Locust patched threading)."""
        cpu_s, clock_s = time.process_time(), time.monotonic()
        while True:
            due_s = int(time.time()) + 1
            time.sleep(due_s - time.time())
            second = int(time.time())
            used_s, elapsed_s = time.process_time() - cpu_s, time.monotonic() - clock_s
            cpu_s, clock_s = cpu_s + used_s, clock_s + elapsed_s
            if not self.started_at_s or self.stopped_at_s:
                continue
            self.gauges[second, self.generator, "users"] = runner.user_count
            if self.started_at_s[0] <= second - 1:
                self.gauges[second - 1, self.generator, "cpu_percent"] = 100 * used_s / elapsed_s
                self.gauges[second - 1, self.generator, "lag_ms"] = 1000 * (time.time() - due_s)

    def take(self) -> dict[str, Any]:
        """What was noted since the last call, in plain lists: a worker's report to its master."""
        part = {
            "counts": [[*key, count] for key, count in self.counts.items()],
            "gauges": [[*key, value] for key, value in self.gauges.items()],
            "started_at_s": self.started_at_s[:],
            "stopped_at_s": self.stopped_at_s[:],
        }
        self.counts.clear()
        self.gauges.clear()
        return part

    def merge(self, part: dict[str, Any]) -> None:
        for *key, count in part["counts"]:
            self.counts[tuple(key)] += count
        for *key, value in part["gauges"]:
            self.gauges[tuple(key)] = value
        self.started_at_s += part["started_at_s"]
        self.stopped_at_s += part["stopped_at_s"]

    def document(self, host: str, options: Any) -> dict[str, Any]:
        """The JSON that the module's docstring describes."""
        seconds: dict[int, dict[str, Any]] = {}
        generators: dict[str, dict[str, dict[str, float]]] = {}

        def entry(second: int) -> dict[str, Any]:
            return seconds.setdefault(second, {"second": second, "users": 0, "workloads": {}})

        for (second, workload, series, bucket), count in sorted(self.counts.items()):
            facts = entry(second)["workloads"].setdefault(workload, {"outcomes": {}, "wait_ms": {}, "query_ms": {}})
            histogram = facts[series] if series in ("wait_ms", "query_ms") else facts["outcomes"].setdefault(series, {})
            histogram[f"{bucket:g}"] = count
        for (second, generator, name), value in sorted(self.gauges.items()):
            if name == "users":
                entry(second)["users"] += value
            else:
                facts = generators.setdefault(generator, {"cpu_percent": {}, "lag_ms": {}})
                facts[name][str(second)] = round(value, 3)
        return {
            "format": "pooldemo-timeline/1",
            "workload": "tags" if options.tags else options.workload,
            **{name: getattr(options, name) for name in ("ms", "think_ms", "pace_ms", "pause_ms")},
            "host": host,
            "started_at_s": min(self.started_at_s, default=None),
            "stopped_at_s": max(self.stopped_at_s, default=None),
            "seconds": [seconds[second] for second in sorted(seconds)],
            "generators": generators,
        }


@events.init.add_listener
def follow(environment: Any, runner: Any, **_: Any) -> None:
    """Keep the timeline when --timeline asks for it: on the master, on its workers, or on the one process there is."""
    timeline = Timeline()
    environment.timeline = None

    @environment.events.test_start.add_listener
    def start(**_: Any) -> None:
        timeline.reset()
        timeline.started_at_s = [time.time()]
        environment.timeline = timeline if environment.parsed_options.timeline else None  # set by the start

    @environment.events.test_stopping.add_listener
    def stop(**_: Any) -> None:
        timeline.stopped_at_s = [time.time()]

    if not isinstance(runner, MasterRunner):  # a master makes no load
        threading.Thread(target=timeline.tick_forever, args=(runner,), daemon=True).start()
    if isinstance(runner, WorkerRunner):
        environment.events.report_to_master.add_listener(lambda data, **_: data.update(timeline=timeline.take()))
        return

    @environment.events.worker_report.add_listener
    def add(data: dict[str, Any], **_: Any) -> None:
        if "timeline" in data:  # not in a worker's first report, sent before its init
            timeline.merge(data["timeline"])

    def write(**_: Any) -> None:
        if environment.timeline is None:
            return
        path = Path(environment.parsed_options.timeline)
        part = path.with_name(f"{path.name}.part")
        part.write_text(json.dumps(timeline.document(environment.host, environment.parsed_options)))
        part.replace(path)

    environment.events.test_stop.add_listener(write)
    environment.events.quit.add_listener(write)  # the workers' last reports come after test_stop


class PoolTab:
    """The tab "Pool" of Locust's page: mean wait, query and the rest of each workload at each size, and the pools now.
    Only when an answer has told its wait by Server-Timing is the site asked for /pool/: others are not disturbed."""

    COLUMNS = ("workload", "size", "since", "requests", "wait_ms", "query_ms", "rest_ms")
    NOW = ("Active", "Idle", "Pending", "Max")

    def __init__(self, environment: Any) -> None:
        self.environment = environment
        self.reset()

    def reset(self, **_: Any) -> None:
        self.sums: dict[tuple[str, str], list[float]] = {}  # (workload, size) -> requests, wait, query, rest; ms
        self.since: dict[str, str] = {}  # size -> when it was first seen
        self.size, self.now = "", {}

    def add(self, workload: str, more: list[float]) -> None:
        so_far = self.sums.get((workload, self.size), [0, 0.0, 0.0, 0.0])
        self.sums[workload, self.size] = [a + b for a, b in zip(so_far, more, strict=True)]

    def take(self) -> list[Any]:
        """What was noted since the last call: a worker's report to its master, which alone knows the size."""
        part, self.sums = [[workload, sums] for (workload, _), sums in self.sums.items()], {}
        return part

    def ask_forever(self) -> None:
        """The pools once a second; a new size begins new rows."""
        while True:
            time.sleep(1)
            if not (self.sums and self.environment.runner.user_count):
                continue
            try:
                with urlopen(f"{self.environment.host or HOST}/pool/", timeout=1) as answer:  # noqa: S310  --host is ours
                    total = json.load(answer)["sum"]
                idle = total["pool_available"]
                values = (total["pool_size"] - idle, idle, total["requests_waiting"], total["pool_max"])
            except (OSError, ValueError, KeyError, TypeError):  # no pool to ask: what the answers told is shown alone
                self.now = {}
                continue
            self.now = dict(zip(self.NOW, values, strict=True))
            if not self.size:  # what came before the first look was at this size as well
                self.sums = {(workload, str(total["pool_max"])): sums for (workload, _), sums in self.sums.items()}
            self.size = str(total["pool_max"])
            self.since.setdefault(self.size, time.strftime("%H:%M:%S"))

    def rows(self) -> list[dict[str, Any]]:
        return [
            {"workload": workload, "size": size, "since": self.since.get(size, ""), "requests": int(count)}
            | {name: round(ms / count, 2) for name, ms in zip(self.COLUMNS[4:], sums, strict=True)}
            | (self.now if size == self.size else {})
            for (workload, size), (count, *sums) in reversed(self.sums.items())
        ]

    def extend(self, response: Any) -> Any:
        if request.path.endswith("/stats/requests") and response.is_json:
            response.set_data(json.dumps(response.json | {"extended_stats": [{"key": "pool", "data": self.rows()}]}))
        return response


@events.init.add_listener
def show_pool(environment: Any, runner: Any, web_ui: Any, **_: Any) -> None:
    """The tab, where there is a page; a worker has none, and sends what its answers told to the master."""
    tab = environment.pool_tab = PoolTab(environment) if web_ui or isinstance(runner, WorkerRunner) else None
    if tab is None:
        return
    environment.events.test_start.add_listener(tab.reset)
    if not web_ui:
        environment.events.report_to_master.add_listener(lambda data, **_: data.update(pool=tab.take()))
        return
    environment.events.worker_report.add_listener(
        lambda data, **_: [tab.add(workload, sums) for workload, sums in data.get("pool", ())]
    )
    structure = [{"key": name, "title": name.replace("_", " ")} for name in tab.COLUMNS + tab.NOW]
    web_ui.template_args["extended_tabs"] = [{"title": "Pool", "key": "pool"}]
    web_ui.template_args["extended_tables"] = [{"key": "pool", "structure": structure}]
    web_ui.app.after_request(tab.extend)
    threading.Thread(target=tab.ask_forever, daemon=True).start()


SERVER_TIMING = re.compile(r"(wait|query);dur=([0-9.]+)")


def failure(response: Any) -> str:
    """Why `response` is one, in words that are the same for each such failure."""
    if not response.status_code:
        return f"no answer: {type(response.error).__name__}"
    try:
        kind = json.loads(response.text)["error"]
    except (ValueError, KeyError, TypeError):
        kind = ""
    if not (isinstance(kind, str) and kind.isidentifier()):
        kind = HTTPStatus(response.status_code).phrase if response.status_code in set(HTTPStatus) else "unknown status"
    return f"{response.status_code} {kind}"


def deal(workloads: tuple[Workload, ...]) -> Iterator[Workload]:
    """The mix as a deck of cards, shuffled anew when all are dealt: each workload has its share in every second, and
    trials do not differ by how often chance drew the one that is rare and slow."""
    cards = [workload for workload in workloads for _ in range(workload.weight)]
    while True:
        yield from random.sample(cards, len(cards))


class Visitor(FastHttpUser):
    """A user with one connection that asks, waits for the answer, and asks again."""

    host = HOST
    max_redirects = 0

    def on_start(self) -> None:
        options = self.environment.parsed_options
        if not options.tags:
            self.tasks = [TASKS[options.workload]]
        self.timeline = self.environment.timeline
        self.next_beat_s = time.monotonic() + random.random() * options.pace_ms / 1000  # users must not march in step

    def wait_time(self) -> float:
        options = self.environment.parsed_options
        if not options.pace_ms:
            return options.pause_ms / 1000
        now_s = time.monotonic()
        self.next_beat_s = max(now_s, self.next_beat_s + options.pace_ms / 1000)
        return self.next_beat_s - now_s

    def ask(self, workload: Workload) -> None:
        options = self.environment.parsed_options
        asked = {"ms": options.ms, "query_ms": options.ms, "think_ms": options.think_ms}
        query = "&".join(f"{name}={asked[name]:g}" for name in workload.parameters if asked[name] is not None)
        path = f"/{workload.name}/?{query}" if query else f"/{workload.name}/"
        with self.client.get(path, name=workload.name, catch_response=True) as response:
            outcome = "ok" if response.status_code == 200 else failure(response)
            if outcome != "ok":
                response.request_meta["name"] = f"{workload.name} (failed)"
                response.failure(outcome)
            timeline, tab = self.timeline, self.environment.pool_tab
            second, response_ms = int(time.time()), response.request_meta["response_time"]
            told = SERVER_TIMING.findall(response.headers.get("Server-Timing") or "") if outcome == "ok" else ()
            timing = {name: float(dur) for name, dur in told}
            if timeline is not None:
                timeline.note(workload.name, outcome, response_ms, second)
                for name, ms in timing.items():
                    timeline.note(workload.name, f"{name}_ms", ms, second)
            if tab is not None and "wait" in timing:
                wait_ms, query_ms = timing["wait"], timing.get("query", 0.0)
                tab.add(workload.name, [1, wait_ms, query_ms, max(0.0, response_ms - wait_ms - query_ms)])


def _task(name: str, workloads: Iterator[Workload], *tags: str) -> Any:
    def ask(user: Visitor) -> None:
        user.ask(next(workloads))

    ask.__name__ = name
    return tag(name, *tags)(ask)


TASKS = {each.name: _task(each.name, repeat(each), *each.tags) for each in WORKLOADS}
TASKS["mix"] = _task("mix", deal(WORKLOADS))
Visitor.tasks = [TASKS[workload.name] for workload in WORKLOADS for _ in range(workload.weight)]
