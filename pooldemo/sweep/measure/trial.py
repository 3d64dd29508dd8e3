"""One trial: a fresh server, a load, what was seen of both meanwhile, and one TrialResult out of it.

Nothing is written to the database here. The window is made of whole seconds of the clock, because a timeline is.
"""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from statistics import fmean

import psutil

from pooldemo.sweep import plan as planning
from pooldemo.sweep import stacks
from pooldemo.sweep.analyse.statistics import counted, digits
from pooldemo.sweep.facts import Plan, TrialPlan, TrialResult
from pooldemo.sweep.measure import observe
from pooldemo.sweep.measure.database import DatabaseDown
from pooldemo.sweep.measure.load import Load, Meeting
from pooldemo.sweep.measure.machine import Quota
from pooldemo.sweep.measure.observe import Connections, Holds, Poll, Probe, Snapshot
from pooldemo.sweep.measure.process import Ledger
from pooldemo.sweep.measure.running import Running
from pooldemo.sweep.measure.search import Search
from pooldemo.sweep.measure.server import Server
from pooldemo.sweep.measure.target import Site, Target, TrialError
from pooldemo.sweep.measure.timeline import Window, trouble
from pooldemo.sweep.stacks.stack import Stack

WITH_LOGIN = "give that address, or --login USER where it asks for one"
ELSEWHERE = (
    "give that address, or a page that this session opens; where it asks for more, as for a second factor, send what a "
    "browser sends: --header 'Cookie: sessionid=...'"
)
TRIED_S = 30.0  # for a page's first answer

# What a trial begins to do (starting, warming up, measuring, stopping), and how many seconds that will take.
Announce = Callable[[str, float], None]


@dataclass(frozen=True)
class Bench:
    """Where trials run: the project, the ledger of what was started, the `headers` that its pages want, and where load
    generators of other hosts come to (None: all are ours)."""

    site: Site
    ledger: Ledger
    headers: Mapping[str, str] = field(default_factory=dict)
    meeting: Meeting | None = None

    def target(self, stack: Stack, size: int, plan: Plan, told: bool = False) -> Target:
        """What a trial measures, begun or found. Raises OSError when a running site does not answer."""
        if plan.host:
            return Running(plan.host, self.site.pool, size)
        return Server(stack, size, plan.workers, plan.users, self.site, self.ledger, told=told)


def run(trial: TrialPlan, plan: Plan, stack: Stack, bench: Bench, announce: Announce) -> TrialResult:
    """Run one trial. Blocks for warm-up + window + about two seconds, or for each window of a search; whatever fails is
    told in the result's `error`.

    Everything it started is gone when it returns or raises (KeyboardInterrupt).
    """
    began_s, started_at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    load_before = psutil.getloadavg()[0]
    try:
        result = _measure(trial, plan, stack, bench, announce)
    except (TrialError, DatabaseDown, OSError, ValueError) as error:
        return TrialResult(
            trial.stack,
            trial.size,
            trial.repeat,
            plan.workers,
            started_at=started_at,
            error=str(error) or type(error).__name__,
        )
    overhead_s = time.monotonic() - began_s - planning.warmup_s(plan, trial.size) - result.window_s
    return replace(result, started_at=started_at, load_before=load_before, overhead_s=overhead_s)


def try_out(plan: Plan, bench: Bench) -> None:
    """Start each stack once, and ask once for what the users will ask for. Blocks for about two seconds each.

    Raises TrialError, in words for whoever typed the command, when a page does not answer, or the pool has another size
    than it was given.
    """
    size = min(plan.sizes)
    for name in plan.stacks:
        with bench.target(stacks.get(name), size, plan, told=True) as target:
            target.wait_ready()
            for url in plan.urls:
                try:
                    answer, _ = observe.ask(target.url, url, timeout_s=TRIED_S, headers=bench.headers)
                except TimeoutError:
                    raise TrialError(
                        f"the answer of {url} has not ended within {TRIED_S:g} s, as that of a stream of events "
                        "never does: leave it out, since a sweep counts answers that end"
                    ) from None
                if answer.status // 100 == 2:
                    continue
                where = answer.headers.get("Location", "")
                cure = (ELSEWHERE if "Cookie" in bench.headers else WITH_LOGIN) if where else "mend it, or leave it out"
                said = f"\n{target.said}" if answer.status >= 500 else ""
                raise TrialError(
                    f"{url} answers {answer.status} {where or answer.reason}, so it cannot be measured: {cure}{said}"
                )
            for slots in observe.pool_sizes(target.url, target.pool):
                if slots != size:
                    raise TrialError(
                        f"{name} was started with MAX_CONNS={size}, and its pool has {slots} slots: let the settings "
                        f"read it, as in OPTIONS = {{'MAX_CONNS': int(os.environ.get('MAX_CONNS', {slots}))}}"
                    )


def window_start(now_s: float, warmup_s: float) -> int:
    """The whole second nearest to the end of the warm-up: half a second early or late, never before `now_s`."""
    return max(math.ceil(now_s), round(now_s + warmup_s))


class Clock:
    """This machine's, by which windows are cut, from now on."""

    def __init__(self) -> None:
        self._began_s, self._began_at_s = time.monotonic(), time.time()

    def check(self) -> None:
        """Raises TrialError when it was set meanwhile, or the machine slept: seconds of the window are missing, or
        there twice. A time server that only makes it go faster, by a two-thousandth at most, is none of that."""
        elapsed_s = time.monotonic() - self._began_s
        by_s = time.time() - self._began_at_s - elapsed_s
        if abs(by_s) > 0.1 + elapsed_s / 1000:
            raise TrialError(f"the clock of this machine was set by {by_s:+.1f} s meanwhile, or it slept")


def _measure(trial: TrialPlan, plan: Plan, stack: Stack, bench: Bench, announce: Announce) -> TrialResult:
    announce("starting", 1.5)
    with ExitStack() as stop:
        folder = stop.enter_context(bench.ledger.temporary())
        target = stop.enter_context(bench.target(stack, trial.size, plan))
        first = planning.timed(plan, trial.size)
        load = stop.enter_context(Load(first, target.url, folder, bench.ledger, bench.headers, bench.meeting))
        seen = Connections(bench.site.database_url, *target.names)
        stop.callback(seen.close)
        target.wait_ready()
        count = stop.enter_context(Poll(seen.look, observe.POLL_S))
        look_on = _LookOn(trial, stack, target, seen, count, announce)
        result = look_on.window(first, load)
        if plan.search:
            search = Search(plan.slo, result)
            while (rate := search.rate) is not None:
                step = planning.timed(replace(plan, rate=rate), trial.size)
                with Load(step, target.url, folder, bench.ledger, bench.headers, bench.meeting) as load:
                    search.tell(rate, look_on.window(step, load))
            result = search.found
        return replace(result, peak_connections=seen.peak)


@dataclass(frozen=True)
class _LookOn:
    """Who looks on while a trial's target is under load."""

    trial: TrialPlan
    stack: Stack
    target: Target
    seen: Connections
    count: Poll
    announce: Announce

    def window(self, plan: Plan, load: Load) -> TrialResult:
        """What a window of this load shows. Blocks until the load has ended; raises TrialError."""
        target, probe = self.target, Probe(self.target.url, self.target.probe_path)
        load.go()
        start_s, clock = window_start(time.time(), plan.warmup_s), Clock()
        seconds = math.ceil(plan.duration_s)

        def wait_until(clock_s: float) -> None:
            while (left_s := clock_s - time.time()) > 0:
                time.sleep(min(left_s, 0.05))
                clock.check()
                target.check()
                load.check()

        def look() -> Snapshot:
            return observe.snapshot(dict(target.cpu_s()), self.seen.postmaster, target.url, target.pool)

        at = "" if plan.rate is None else f" at {digits(plan.rate)}/s"
        self.announce(f"warming up{at}", start_s - time.time())
        wait_until(start_s)
        self.announce(f"measuring{at}", seconds)
        before, workers = look(), target.workers()
        with self.seen.window(), Poll(probe.look, observe.PROBE_S) as ask:
            wait_until(start_s + seconds)
        if workers - target.workers():  # which no failure shows: Locust's client asks once more by itself
            raise TrialError(f"a worker of {self.trial.stack} ended meanwhile: {target.said or 'it said nothing'}")
        after = look()
        self.announce("stopping", 0.5)
        hold_ms = mean_hold_ms(before.holds, after.holds)
        after_s = planning.last_s(plan, self.trial.size, hold_ms)
        wait_until(start_s + seconds + after_s)
        seen = load.finish()
        if text := trouble(seen, start_s, seconds, plan.processes):
            raise TrialError(text)
        window = Window.cut(seen, start_s, seconds, after_s)
        for poll in (self.count, ask):
            if poll.error is not None:
                raise TrialError(f"looking on failed: {' '.join(str(poll.error).split())}")
        if text := refusal(before.holds, after.holds, self.seen.peak, self.trial.size * plan.workers):
            raise TrialError(text)
        return self._result(plan, window, before, after, probe)

    def _result(self, plan: Plan, window: Window, before: Snapshot, after: Snapshot, probe: Probe) -> TrialResult:
        elapsed_s = after.clock_s - before.clock_s
        hold_ms = mean_hold_ms(before.holds, after.holds)
        shares = efficiencies(before.holds, after.holds, self.trial.size)
        workers = {pid: cpu_s - before.server_cpu_s.get(pid, 0) for pid, cpu_s in after.server_cpu_s.items()}
        postgresql_s = gone_by(after.postgresql_cpu_s, before.postgresql_cpu_s)
        known_s = sum(workers.values()) + after.sweep_cpu_s - before.sweep_cpu_s + window.generators_cpu * elapsed_s
        other_s = after.machine_cpu_s - before.machine_cpu_s - known_s - (postgresql_s or 0)
        failures = sum(window.failures_per_second)
        return TrialResult(
            stack=self.trial.stack,
            size=self.trial.size,
            repeat=self.trial.repeat,
            workers=plan.workers,
            rps=window.rps,
            p50_ms=window.latency.quantile_ms(0.50),
            p95_ms=window.latency.quantile_ms(0.95),
            p99_ms=window.latency.quantile_ms(0.99),
            max_ms=window.latency.quantile_ms(1.0),
            mean_ms=window.latency.mean_ms,
            requests=window.latency.count + failures,
            failures=failures,
            failures_by_message=window.failures_by_message,
            wait_p50_ms=window.wait.quantile_ms(0.50),
            wait_p95_ms=window.wait.quantile_ms(0.95),
            wait_mean_ms=window.wait.mean_ms,
            hold_mean_ms=hold_ms,
            query_mean_ms=window.query.mean_ms,
            peak_connections=self.seen.peak,
            capped=self.stack.capped,
            efficiency=fmean(shares) if shares else None,
            uneven=shares[-1] - shares[0] if len(shares) > 1 else None,
            per_second=window.per_second,
            failures_per_second=window.failures_per_second,
            latencies=window.latency.pairs,
            window_s=window.seconds,
            generator_cpu=window.generator_cpu,
            worker_cpu=max(workers.values()) / elapsed_s if workers else None,
            server_cpu=sum(workers.values()) / elapsed_s if workers else None,
            postgresql_cpu=None if postgresql_s is None else postgresql_s / elapsed_s,
            other_cpu=max(0.0, other_s / elapsed_s) if workers else None,
            steal_cpu=max(0.0, after.steal_cpu_s - before.steal_cpu_s) / elapsed_s,
            throttled=_throttled(before.quota, after.quota),
            waits=self.seen.waits,
            io=self.seen.io,
            probe_max_ms=probe.max_ms,
            target_rps=plan.rate,
            late_p95_ms=None if plan.rate is None else window.late.quantile_ms(0.95),
            little_residual=window.little_residual(plan.users) if plan.rate is None else None,
        )


def efficiencies(before: Holds | None, after: Holds | None, size: int) -> list[float]:
    """Of each worker the share of the time that its slots were held, by its pools' own clock, rising; empty where not
    every worker tells, or one has begun anew."""
    if before is None or after is None:
        return []
    found = [
        (busy_s - before.by_worker[pid][1]) / (at_s - before.by_worker[pid][0]) / size
        for pid, (at_s, busy_s) in after.by_worker.items()
        if pid in before.by_worker and at_s > before.by_worker[pid][0] and busy_s >= before.by_worker[pid][1]
    ]
    return sorted(found) if len(found) == len(after.by_worker) else []


def mean_hold_ms(before: Holds | None, after: Holds | None) -> float | None:
    """None where nothing was held, or where a worker that was counted before has gone or has begun anew."""
    if before is None or after is None or after.count <= before.count:
        return None
    if after.total_s < before.total_s or not before.by_worker.keys() <= after.by_worker.keys():
        return None
    return 1000 * (after.total_s - before.total_s) / (after.count - before.count)


def refusal(before: Holds | None, after: Holds | None, peak: int | None, slots: int) -> str:
    """Why a trial is not of its size: PostgreSQL let its pools open no more than some of their connections, and they
    waited for those. Empty: they were not refused, or had all."""
    refused = after.refused - before.refused if before and after else 0
    if refused <= 0 or peak is None or peak >= slots:
        return ""
    return (
        f"PostgreSQL gave the pools {peak} of their {slots} connections ({counted(refused, 'connect')} failed), and "
        "the sweep itself takes three: give smaller --sizes, or raise its max_connections, or the CONNECTION LIMIT of "
        "the role or the database"
    )


def _throttled(before: Quota | None, after: Quota | None) -> float | None:
    if before is None or after is None or after.periods <= before.periods:
        return None
    return (after.throttled - before.throttled) / (after.periods - before.periods)


def gone_by(after: float | None, before: float | None) -> float | None:
    """The CPU between two looks; 0 where the later one saw less, as of processes that came and went too fast."""
    return None if after is None or before is None else max(0.0, after - before)
