"""The load: `locust -f locustfile.py` opens Locust's page with this site as its host and the workloads to choose from.

Headless: `locust -f locustfile.py --headless -u 64 -r 64 -t 10s --workload slow --ms 100 --timeline t.json`; the master
writes the timeline of all (docs/timeline.md). What cannot be read is refused before the run, in the page as well.

`--urls '["/orders/"]'` asks for a project's own pages in place of the workloads. Named before another locustfile, with
POOLDEMO_THEIR_LOAD in the environment, this file only watches: `--pooldemo-timeline FILE` is of that one's requests.

It is a closed loop: a user asks again when its answer is there, so a slow server is asked less often, and percentiles
miss the requests that would have come meanwhile. `--arrivals 200` opens it: requests are due whether answers come or
not, the users are those that may be under way, and a response time counts from when its request was due. Failures have
rows of their own, `slow (failed)`. What needs no Locust, the options' meaning and the timeline, is in
`pooldemo/sweep/generator/`.
"""

import errno
import json
import logging
import os
import random
import re
import socket
import threading
import time
from argparse import Namespace
from collections.abc import Iterable
from functools import lru_cache, partial
from http.client import responses
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

import locust.runners
import locust.stats
from locust import FastHttpUser, events, tag
from locust.runners import MasterRunner, WorkerRunner
from locust.web import request

from pooldemo.sweep.generator import BEGINS, PREFIX, THEIRS
from pooldemo.sweep.generator.options import HOST, LENGTH, LENGTHS, WORKLOADS, Workload, load_of, own
from pooldemo.sweep.generator.timeline import Facts, Timeline, three_digits
from pooldemo.sweep.workloads import CHOICES

LAST_WORD_S = 4.0  # for what the generators noted last: Locust itself waits for half a second
SERVER_TIMING = re.compile(r"(wait|query);dur=(\d+(?:\.\d+)?)")
SHOWN: dict[str, Any] = {}  # what the page's form shows when it is opened again: what was started last


@lru_cache(maxsize=1)  # once: Locust parses its command line again for each view of its page
def try_timeline(path: str) -> None:
    if path and Path(path).exists():
        Path(path).open("a" if Path(path).is_file() else "x").close()  # a pipe would be waited for
    elif path:
        Path(path).touch()
        Path(path).unlink()


@lru_cache  # once, as above: then it is this Locust's own
def no_port(host: str, port: int, flags: str, usual: int) -> str:
    """Why this Locust cannot listen there, and what to type; empty where it can."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host.strip("[]*"), port))
    except OverflowError:
        return f"there is none, take {flags.format(usual)}"
    except OSError as error:
        other = {errno.EADDRINUSE: port + 1 if port < 65535 else usual, errno.EACCES: usual}.get(error.errno or 0)
        cure = f"{host} is no address of this machine, mend {flags.partition('-port')[0]}-host"
        return f"{error.strerror}; {f'take {flags.format(other)}' if other else cure}"
    return ""


def refusal(options: Any) -> str:
    """Why there can be no run with these options, in one sentence; empty when there can."""
    users = getattr(options, "user_count", options.num_users)  # the page's name for them, and Locust's
    for name, given in {"users": users, "spawn rate": options.spawn_rate, "arrivals": options.arrivals or None}.items():
        if given is not None and not (LENGTH.fullmatch(str(given)) and float(given)):
            return f"{name}: {given!r} is no number above 0, give one like 200"
    try:
        load_of(options)
        try_timeline(options.timeline)
    except OSError as error:
        return f"timeline: {options.timeline!r} cannot be written: {error.strerror}"
    except ValueError as error:
        return str(error)
    return ""


@lru_cache(maxsize=1)  # it may ask a name server
def own_names() -> tuple[str, ...]:
    return socket.gethostname().lower(), socket.getfqdn().lower()


def is_foreign(web_host: str) -> bool:
    """Whether the browser says that another site's page asks: whatever its user visits may, and Locust asks for no
    password. A page that has rebound its own name to this address comes under that name, which has a dot."""
    headers, name = request.headers, urlsplit(f"//{request.host}").hostname or ""
    own = ("localhost", "127.0.0.1", "::1")
    is_name = not (":" in name or name.replace(".", "").isdecimal())
    if name not in own if web_host in own else is_name and "." in name and name not in (web_host, *own_names()):
        return True
    if site := headers.get("Sec-Fetch-Site"):
        return site not in ("same-origin", "none") and not request.path.endswith("/")  # the page itself, from a link
    return "Origin" in headers and headers["Origin"].partition("://")[2] != request.host  # of older browsers


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    """Options of this file. They stay strings: Locust gives what its page sends the type of what was there."""

    def add(name: str, text: str, default: str = "", **more: Any) -> None:
        flag = f"--{PREFIX * (THEIRS in os.environ)}{name}".replace("_", "-")
        parser.add_argument(flag, default=default, env_var=f"LOCUST_{name.upper()}", help=text, **more)

    def parse(*arguments: Any, plain: Any = parser.parse_args, **more: Any) -> Any:
        options = plain(*arguments, **more)
        if options.processes and not (options.master or options.worker) and options.master_bind_host == "*":
            options.master_bind_host = "127.0.0.1"  # all its workers are here; who comes as one is told the headers
        if reason := refusal(own(options)):
            parser.error(reason)  # before Locust forks its --processes
        listens = []
        if not (options.headless or options.worker or options.list_commands or options.show_task_ratio):
            listens.append(("the page", options.web_host, options.web_port, "--web-port {}", 8089))
        if (options.master or options.processes) and not (options.worker or options.list_commands):
            # Workers of --processes that find no master of theirs load for the one who has the port.
            flags = "--master-bind-port {0} --master-port {0}"
            listens.append(("the generators", options.master_bind_host, options.master_bind_port, flags, 5557))
        for what, host, port, flags, usual in listens:
            if reason := no_port(host, port, flags, usual):
                parser.error(f"port {port} for {what}: {reason}")
        for name, value in SHOWN.items():
            setattr(options, name, value)
        return options

    parser.parse_args = parse
    parser.set_defaults(web_host="127.0.0.1")  # the page asks for no password
    text = "the one kind of request to make, or a mix by weight; --tags and --exclude-tags win over it"
    add("workload", text, CHOICES[0], type=lambda given: given or CHOICES[0], choices=CHOICES)
    for name, text in LENGTHS.items():
        add(name, f"milliseconds: {text}")
    add("timeline", "write what happened in each second to this file as JSON", metavar="FILE", include_in_web_ui=False)
    add("urls", "ask for these pages in place of the workloads: a JSON list of paths", include_in_web_ui=False)
    add("arrivals", "requests a second, asked for whether answers come or not", include_in_web_ui=False)
    add("spacing", "between arrivals", "even", choices=["even", "random"], include_in_web_ui=False)
    add("headers", "sent with each request: a JSON object", include_in_web_ui=False)


def table_row(entry: Any, current: bool = True, plain: Any = locust.stats.StatsEntry.to_string) -> str:
    head, _, rest = plain(entry, current).rsplit("|", 2)
    times = (entry.avg_response_time, entry.min_response_time or 0, entry.max_response_time, entry.median_response_time)
    return "{}|{:7g} {:7g} {:7g}{:7g} |{}".format(head, *map(locust.stats.proper_round, times), rest)


def percentile_row(entry: Any) -> str:
    times = (f"{entry.get_response_time_percentile(share):6g}" for share in locust.stats.PERCENTILES_TO_REPORT)
    head = f"{entry.method or '':8} {entry.name:{locust.stats.STATS_NAME_WIDTH}}"
    return f"{head}   {' '.join(times)} {entry.num_requests:6}"


locust.runners.MASTER_HEARTBEAT_TIMEOUT = 10  # seconds; its 60 load the site, and the next trial, for nobody
# Locust's own know whole milliseconds: a fast request would take none.
locust.stats.bucket_response_time = three_digits
locust.stats.proper_round = lambda ms, digits=0: three_digits(ms) if ms < 100 else round(ms, digits)
locust.stats.StatsEntry.to_string = table_row
locust.stats.StatsEntry.percentile = percentile_row


class Arrivals:
    """When requests are due in an open loop, for all users of this process."""

    due_s = 0.0

    def begin(self, **_: Any) -> None:
        self.due_s = 0.0

    def late_ms(self, options: Any) -> float:
        """Wait until the next request is due; how late that is, because every user was waiting for an answer."""
        rate = float(options.arrivals) / options.generators
        begin_s = self.due_s or time.time() + random.random() / rate  # processes must not march in step
        due_s = self.due_s = begin_s + (random.expovariate(rate) if options.spacing == "random" else 1 / rate)
        time.sleep(max(0.0, due_s - time.time()))
        return 1000 * max(0.0, time.time() - due_s)


class PoolTab(Facts):
    """The tab "Pool" of Locust's page: mean wait, query and the rest of each workload at each size, and the pools now.
    Only when an answer has told its wait by Server-Timing is the site asked for /pool/: others are not disturbed."""

    SUMS = ("requests", "wait_ms", "query_ms", "rest_ms")
    COLUMNS = ("workload", "size", "since", *SUMS, "Active", "Idle", "Pending", "Max")

    def reset(self, **_: Any) -> None:
        super().reset()  # (workload, size, one of SUMS) -> its sum
        self.size, self.now, self.since = "", (), dict[str, str]()  # size -> when it was first seen

    def merge(self, part: Iterable[Any]) -> None:
        super().merge([workload, self.size, *rest] for workload, _, *rest in part)  # a worker does not know the size

    def note(self, workload: str, wait_ms: float, query_ms: float, response_ms: float) -> None:
        values = (1, wait_ms, query_ms, max(0.0, response_ms - wait_ms - query_ms))
        for name, value in zip(self.SUMS, values, strict=True):
            self.facts[workload, self.size, name] += value

    def ask_forever(self, environment: Any) -> None:
        """The pools once a second; a new size begins new rows."""
        while True:
            time.sleep(1)
            if not (self.facts and environment.runner.user_count):
                continue
            try:
                with build_opener(ProxyHandler({})).open(f"{environment.host or HOST}/pool/", timeout=1) as answer:
                    total = json.load(answer)["sum"]
                idle = total["pool_available"]
                self.now = (total["pool_size"] - idle, idle, total["requests_waiting"], total["pool_max"])
            except (OSError, ValueError, KeyError, TypeError):  # no pool to ask: what the answers told is shown alone
                self.now = ()
                continue
            early = () if self.size else self.take()
            self.size = str(total["pool_max"])
            self.merge(early)  # what came before the first look was at this size as well
            self.since.setdefault(self.size, time.strftime("%H:%M:%S"))

    def rows(self) -> list[dict[str, Any]]:
        rows = []
        for workload, size in reversed(dict.fromkeys(key[:2] for key in self.facts)):
            count, *sums = (self.facts[workload, size, name] for name in self.SUMS)
            means, now = [round(ms / count, 2) for ms in sums], self.now if size == self.size else ()
            values = (workload, size, self.since.get(size, ""), count, *means, *now)
            rows.append(dict(zip(self.COLUMNS, values, strict=False)))
        return rows

    def extend(self, response: Any) -> Any:
        if request.path.endswith("/stats/requests") and response.is_json:
            response.set_data(json.dumps(response.json | {"extended_stats": [{"key": "pool", "data": self.rows()}]}))
        return response


@events.init.add_listener
def follow(environment: Any, runner: Any, web_ui: Any, **_: Any) -> None:
    """Keep the timeline when --timeline asks for it, and the tab; a worker sends its parts of both to its master."""
    hooks, options = environment.events, own(environment.parsed_options)
    timeline, tab = environment.timeline, environment.pool_tab = Timeline(), PoolTab()
    environment.arrivals = Arrivals()
    file = options.timeline  # of the command line alone: whoever reaches the page may set every option
    options.generators = 1

    def count(client_id: str = "", **_: Any) -> None:
        """What each generator is told as it begins: how many share the arrivals, whoever has come."""
        here = {each.id for each in runner.clients.ready + runner.clients.running + runner.clients.spawning}
        options.generators = len({*here, client_id} - {""})

    def collect(**_: Any) -> None:
        """Have what all generators noted last."""
        if runner.state not in ("spawning", "running"):
            return
        runner.stop(send_stop_to_client=False)  # else it hands the users of each that quits to the others
        runner.send_message("quit")
        deadline_s = time.monotonic() + LAST_WORD_S
        while timeline.silent() and time.monotonic() < deadline_s:
            time.sleep(0.02)

    def write(**_: Any) -> None:
        if file and timeline.facts:
            Path(file).write_text(json.dumps(timeline.document(environment.host or HOST, load_of(options))))

    def refuse() -> Any:
        if is_foreign(options.web_host):
            return "A page of another site asked for this, or not under this machine's address or --web-host.\n", 403
        Visitor.tasks = tasks_of(load_of(options).workloads)
        given = request.form.to_dict() if request.path.endswith("/swarm") else {}
        if not given:
            return None
        hidden = "timeline: give it on the command line" if "timeline" in given else ""
        if reason := hidden or refusal(Namespace(**vars(options) | given)):
            logging.getLogger(__name__).error(reason)  # the page's Edit drops the answer, its Logs do not
            return {"success": False, "message": reason, "host": environment.host}
        SHOWN.update({name: given[name] for name in ("workload", *LENGTHS) if name in given})
        return None

    if THEIRS in os.environ:
        hooks.request.add_listener(partial(watch, timeline))
        environment.shape_class = None  # so many users for so long is what a trial is about
    hooks.reset_stats.add_listener(tab.reset)
    hooks.test_start.add_listener(tab.reset)
    hooks.test_start.add_listener(timeline.start)
    hooks.test_start.add_listener(environment.arrivals.begin)
    hooks.test_stopping.add_listener(timeline.stop)
    if isinstance(runner, MasterRunner):  # which makes no load
        hooks.test_start.add_listener(count)
        hooks.worker_connect.add_listener(count)
        hooks.quitting.add_listener(collect)
        hooks.test_start.add_listener(lambda **_: print(BEGINS, flush=True))  # a sweep waits for it
    else:
        threading.Thread(target=timeline.tick_forever, args=(runner,), daemon=True).start()
    if isinstance(runner, WorkerRunner):
        if runner.state in ("spawning", "running"):  # its master told it to begin before its init
            timeline.start()
            environment.arrivals.begin(environment=environment)
        hooks.report_to_master.add_listener(lambda data, **_: data.update(facts=[timeline.take(), tab.take()]))
        return
    hooks.worker_report.add_listener(  # a worker's first report, sent before its init, has no facts
        lambda data, **_: [mine.merge(part) for mine, part in zip((timeline, tab), data.get("facts", ()), strict=False)]
    )
    hooks.test_stop.add_listener(write)
    hooks.quit.add_listener(write)  # the workers' last reports come after test_stop
    if web_ui:
        structure = [{"key": name, "title": name.replace("_", " ").lower()} for name in tab.COLUMNS]
        web_ui.template_args["extended_tabs"] = [{"title": "Pool", "key": "pool"}]
        web_ui.template_args["extended_tables"] = [{"key": "pool", "structure": structure}]
        web_ui.app.before_request(refuse)
        web_ui.app.after_request(tab.extend)
        threading.Thread(target=tab.ask_forever, args=(environment,), daemon=True).start()


def failure(response: Any) -> str:
    """Why `response` is one, in words that are the same for each such failure: `503 PoolTimeout`."""
    if not response.status_code:
        return f"no answer: {type(response.error).__name__}"
    found = re.search(r'[{,]\s*"error":\s*"([A-Za-z_]\w*)"', response.text or "")
    return f"{response.status_code} {found[1] if found else responses.get(response.status_code, 'unknown status')}"


def watch(timeline: Timeline, name: str, response_time: Any, response: Any, exception: Any, **_: Any) -> None:
    """Note a request of another locustfile."""
    outcome = "ok" if exception is None else getattr(response, "status_code", 0) and f"{failure(response)} at {name}"
    if response_time is not None:
        timeline.note(int(time.time()), name, "outcomes", (outcome or type(exception).__name__)[:200], ms=response_time)


class Visitor(FastHttpUser):
    """A user with one connection that asks, waits for the answer, and asks again."""

    abstract = THEIRS in os.environ  # Locust takes no such user
    host = HOST
    max_redirects = 0
    next_beat_s = late_ms = 0.0

    def wait_time(self) -> float:
        pace_s, now_s = self.load.lengths["pace_ms"] / 1000, time.monotonic()
        if not pace_s:
            return self.load.lengths["pause_ms"] / 1000
        last_beat_s = self.next_beat_s or now_s - random.random() * pace_s  # users must not march in step
        self.next_beat_s = max(now_s, last_beat_s + pace_s)
        return self.next_beat_s - now_s

    def ask(self) -> None:
        """One request. A fault of this file is a failure in Locust's table, never silence, and no endless loop."""
        try:
            self.load = load_of(self.environment.parsed_options)
            options = self.environment.parsed_options
            self.late_ms = self.environment.arrivals.late_ms(options) if options.arrivals else 0.0
            self.visit(next(self.load.cards))
        except Exception as fault:
            meta = {"request_type": "GET", "name": "locustfile.py (failed)", "response_time": None}
            self.environment.events.request.fire(**meta, response_length=0, exception=fault, context={})
            time.sleep(1)
            raise

    def visit(self, workload: Workload) -> None:
        asked = {"query_ms": self.load.lengths["ms"], **self.load.lengths}
        query = "&".join(f"{name}={asked[name]:g}" for name in workload.parameters if asked[name] is not None)
        options = self.environment.parsed_options
        path = workload.name if options.urls else f"/{workload.name}/{query and '?'}{query}"
        with self.client.get(path, name=workload.name, catch_response=True, headers=self.load.headers) as response:
            good = response.status_code and response.status_code // 100 == 2
            outcome = "ok" if good else failure(response)
            if outcome != "ok":
                response.request_meta["name"] = f"{workload.name} (failed)"
                response.failure(outcome)
            served_ms = response.request_meta["response_time"]
            response_ms = response.request_meta["response_time"] = served_ms + self.late_ms  # since it was due
            header = outcome == "ok" and response.headers.get("Server-Timing")
            timing = {name: float(ms) for name, ms in SERVER_TIMING.findall(header or "")}
            if options.timeline:
                note = partial(self.environment.timeline.note, int(time.time()), workload.name)
                note("outcomes", outcome, ms=response_ms)
                for name, ms in timing.items():
                    note(f"{name}_ms", ms=ms)
                if options.arrivals:
                    note("late_ms", ms=self.late_ms)
                if outcome == "ok":
                    self.environment.timeline.spread(time.time(), workload.name, served_ms - timing.get("wait", 0.0))
            if "wait" in timing:
                self.environment.pool_tab.note(workload.name, timing["wait"], timing.get("query", 0.0), response_ms)


def tasks_of(workloads: list[Workload]) -> list[Any]:
    """For Locust's --tags and the ratios in its page. Whichever it takes asks for what is dealt next."""
    tasks = []
    for workload in workloads:
        task = tag(*workload.tags)(lambda user: user.ask())
        task.__name__ = workload.name
        tasks += [task] * workload.weight
    return tasks


Visitor.tasks = tasks_of(WORKLOADS)
