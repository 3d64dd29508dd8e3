"""The facts of a sweep: what was planned, what one trial showed, what was concluded. Frozen, and free of behaviour.

Every other module of the sweep speaks in these: plan makes a `Plan`, trial a `TrialResult`, verdict a `Verdict`; the
reports and the rows in the database are made from them. Field names are the keys of `--json`. Nothing here decides,
measures or prints. Bare numbers are counts; `*_cpu` is in cores (1.0: one core busy all through the window).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

OWN = ("urls", "locustfile")  # what a project's own load is called where a workload's name would stand
FORMAT = "pooldemo-sweep/2"  # of the document; one without is older
SHAPES = ("knee", "rising", "flat", "invalid")
STATES = ("met", "missed", "undecided")
MARGIN = 5.0  # percent: a size is good enough when it is not worse than the best by more than this


@dataclass(frozen=True)
class Warning_:
    """A reason to doubt a number: `code` for programs, `cause` and `cure` for people (a sentence each)."""

    code: str
    cause: str
    cure: str


@dataclass(frozen=True)
class Limit:
    """One clause of `--slo`: `metric` p50, p95, p99 or max (milliseconds), or errors (a fraction)."""

    metric: str
    at_most: float


@dataclass(frozen=True)
class Plan:
    """What was asked for. A trial lasts `warmup_s` that is dropped and `duration_s` that counts. It warms up longer
    where serving each user once takes longer, times `warmup_cycles`.

    `size` is MAX_CONNS of one worker, so a server may open `size * workers` connections; `splits` are the numbers of
    workers where several are measured, and `workers` then the largest. `rate` is that of
    an open loop, in requests a second, at random (`poisson`) or evenly spaced, with `users` under way at most; None: a
    closed loop, each user asks again when it is answered. `search`: each trial looks for the highest rate, at random,
    that meets the SLO.
    `urls` are asked for in turn in place of a workload, or `locustfile` says what users do. `wsgi` is what gunicorn
    serves, where that is not what the project's settings say. `host` is the address of a site that runs already.
    `processes` counts Locust's. `hold` sleeps `ms` in PostgreSQL and thinks another `think_ms` inside its
    transaction, `think` outside of any. `blocks` are the sizes of each repeat where not every repeat has them all:
    sizes that were added later are measured in repeats of their own, with a neighbour that links them to the rest.
    `margin` is in percent: a size is good enough when it carries no less than the best by more than that.
    """

    stacks: tuple[str, ...] = ("pooldemo",)
    sizes: tuple[int, ...] = (1, 2, 4, 8, 16)
    workload: str = "slow"
    ms: float = 100.0
    think_ms: float = 50.0
    users: int = 64
    workers: int = 1
    duration_s: float = 5.0
    warmup_s: float = 2.0
    warmup_cycles: float = 0.0
    repeats: int = 3
    seed: int = 1
    slo: tuple[Limit, ...] = ()
    rate: float | None = None
    processes: int = 1
    adaptive: bool = False
    margin: float = MARGIN
    blocks: tuple[tuple[int, ...], ...] = ()
    splits: tuple[int, ...] = ()
    poisson: bool = False
    search: bool = False
    urls: tuple[str, ...] = ()
    locustfile: str = ""
    wsgi: str = ""
    host: str = ""

    @property
    def worker_counts(self) -> tuple[int, ...]:
        """Every number of workers that is measured."""
        return self.splits or (self.workers,)

    def at(self, workers: int) -> Self:
        """The part of it with so many workers."""
        return replace(self, workers=workers, splits=())

    @property
    def repeated(self) -> tuple[tuple[int, ...], ...]:
        """The sizes of each repeat."""
        return self.blocks or (self.sizes,) * self.repeats

    @property
    def asked(self) -> str:
        """What its users ask for, in a word or two."""
        return ", ".join(self.urls) or self.locustfile.rpartition("/")[2] or self.workload

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        """The plan that `asdict` was taken of; keys that are no field (`id`, `conditions`) are left out."""
        known = _known(cls, row)
        known |= {name: tuple(row[name]) for name in ("stacks", "sizes", "urls") if name in row}
        known["blocks"] = tuple(map(tuple, row.get("blocks") or ()))
        known["splits"] = tuple(row.get("splits") or ())
        known["slo"] = tuple(Limit(**limit) for limit in row.get("slo") or ())
        return cls(**known)


@dataclass(frozen=True)
class TrialPlan:
    """One trial to run: `stack` at `size`, for the `repeat`th time (from 1)."""

    stack: str
    size: int
    repeat: int
    workers: int = 1


@dataclass(frozen=True)
class Step:
    """A rate that a search tried, in requests a second (None: a closed loop), what of it was carried, and what kept it
    from meeting the SLO: a clause's metric, `rate` where answers fell behind, `generator` where Locust did; empty: it
    met it."""

    rate: float | None
    rps: float
    missed: str = ""


@dataclass(frozen=True)
class Conditions:
    """Under what a sweep was measured. A number without these is worth little.

    `versions` by name (python, django, gunicorn, gevent, locust, psycopg2, postgresql); `settings` are PostgreSQL's
    that bear on the result; `cpu_quota` the cores that a container allows (None: no limit); `gunicorn` the server's
    command line with `{size}` and `{port}` left open. Connections that the applications may open together:
    `max_connections - reserved_connections`.
    """

    commit: str = ""
    machine: str = ""
    cpus: int = 1
    cpu_quota: float | None = None
    load_before: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)
    max_connections: int = 0
    reserved_connections: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)
    gunicorn: str = ""
    postgresql_is_local: bool = True

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        return cls(**_known(cls, row))


@dataclass(frozen=True)
class TrialResult:
    """What one trial showed inside its window.

    Latencies (`p50_ms` ... `mean_ms`) are of successes alone, as the client saw them; None without a success. `rps`
    counts successes. `wait_*`, `query_*` (from the answers' own `wait_ms` and `query_ms`) and `hold_*` (from the
    pool's histograms) are None where the stack does not tell. `per_second` and `failures_per_second` hold one count
    for each whole second of the window, `latencies` pairs of (milliseconds, count) in rising order, to three
    significant digits. `failures` counts requests, `failures_by_message` the same by reason. `peak_connections` is
    the most that PostgreSQL showed for this server since it started, cold start included, all workers together; it
    may hold `size * workers` where the stack is `capped`, that is, knows a limit. `efficiency` is the share of the
    time that slots were held, by the pools' own clocks. `generator_cpu` is of the busiest Locust process,
    `worker_cpu` of the busiest worker, `server_cpu` of all of them, `postgresql_cpu` of all backends (None: not on
    this machine), `other_cpu` of everything else on the machine, `steal_cpu` what its host gave to others.
    `throttled` is the share of its periods in which a container's quota ran out. `uneven` is by how much the
    efficiencies of the most and the least busy worker differ. `waits` are the server's connections by what they did,
    on average: `CPU`, `idle`, `idle in transaction`, or PostgreSQL's wait event (`Lock:tuple`). `probe_max_ms` is the
    slowest answer of `/nodb/` asked meanwhile about twice a second: a blocked hub shows here. `target_rps` is the
    rate asked for, `late_p95_ms` how late its requests were sent. `steps` are what a search
    tried: the closed loop, then rates, rising; the trial shows the highest that met the SLO, and 0 `rps` where none
    did. `little_residual` is |users - rps x (response +
    pause)| / users: near 0 when every user is accounted for. `error` says why the trial failed; empty: it ran.
    Nothing else is meaningful in a failed one. `order` is its place among the trials of its sweep (from 1; 0: not
    known).
    """

    stack: str
    size: int
    repeat: int
    workers: int = 1
    order: int = 0
    rps: float = 0.0
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    mean_ms: float | None = None
    requests: int = 0
    failures: int = 0
    failures_by_message: Mapping[str, int] = field(default_factory=dict)
    wait_p50_ms: float | None = None
    wait_p95_ms: float | None = None
    wait_mean_ms: float | None = None
    hold_mean_ms: float | None = None
    query_mean_ms: float | None = None
    peak_connections: int | None = None
    capped: bool = True
    efficiency: float | None = None
    uneven: float | None = None
    per_second: tuple[int, ...] = ()
    failures_per_second: tuple[int, ...] = ()
    latencies: tuple[tuple[float, int], ...] = ()
    window_s: float = 0.0
    overhead_s: float = 0.0
    generator_cpu: float | None = None
    worker_cpu: float | None = None
    server_cpu: float | None = None
    postgresql_cpu: float | None = None
    other_cpu: float | None = None
    steal_cpu: float | None = None
    throttled: float | None = None
    waits: Mapping[str, float] = field(default_factory=dict)
    load_before: float | None = None
    probe_max_ms: float | None = None
    target_rps: float | None = None
    late_p95_ms: float | None = None
    steps: tuple[Step, ...] = ()
    little_residual: float | None = None
    started_at: str = ""
    warnings: tuple[Warning_, ...] = ()
    error: str = ""

    @property
    def key(self) -> TrialPlan:
        return TrialPlan(self.stack, self.size, self.repeat, self.workers)

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        known = _known(cls, row)
        known["warnings"] = tuple(Warning_(**warning) for warning in row.get("warnings", ()))
        known["latencies"] = tuple((ms, count) for ms, count in row.get("latencies", ()))
        known["steps"] = tuple(Step(**step) for step in row.get("steps", ()))
        for name in ("per_second", "failures_per_second"):
            known[name] = tuple(row.get(name, ()))
        return cls(**known)


@dataclass(frozen=True)
class Check:
    """One clause of the SLO held against a size: `seen` with the 95% interval `low` .. `high` (None: not known).

    A latency is `seen` over all requests, those that failed included as such that never came: infinite, which is None
    here, where too many failed. `state` is one of STATES.
    """

    limit: Limit
    seen: float | None
    state: str
    low: float | None = None
    high: float | None = None

    @property
    def met(self) -> bool:
        return self.state == "met"


@dataclass(frozen=True)
class Slo:
    """The whole SLO as typed, and whether the recommended size meets it: one of STATES."""

    text: str
    state: str


@dataclass(frozen=True)
class SizeResult:
    """What the repeats of one stack at one size show together: the one source of these numbers for all that is shown.

    `rps` counts successes. Percentiles are those of all successes of all repeats, not means of percentiles.
    `*_low`, `*_high`: the 95% interval, None where nothing was repeated.
    """

    stack: str
    size: int
    workers: int
    repeats: int
    rps: float
    rps_low: float | None
    rps_high: float | None
    p50_ms: float | None
    p95_ms: float | None
    p95_low_ms: float | None
    p95_high_ms: float | None
    p99_ms: float | None
    requests: int
    failures: int


@dataclass(frozen=True)
class Verdict:
    """What the trials of one stack say.

    `shape` is one of SHAPES. `max_conns` is the size to use, per worker (None: none can be named), `rps` its mean
    throughput with the 95% interval `rps_low` .. `rps_high`, `plateau` the sizes that carry as much. `because` is the
    sentence that a newcomer reads, `cause` what ran out first, or why it is invalid, as a code (empty: it does not
    show), `saturated` the same in words, `copy` the line to copy, for a shell or for settings
    (empty: none). `slo` is None where none was asked for, `checks` are its clauses. `needs` are the options with which
    a sweep that is invalid, or undecided, would find its answer (`--repeats 7`; empty where no option does).
    """

    stack: str
    shape: str
    max_conns: int | None
    rps: float | None
    rps_low: float | None
    rps_high: float | None
    because: str
    copy: str = ""
    saturated: str = ""
    checks: tuple[Check, ...] = ()
    warnings: tuple[Warning_, ...] = ()
    needs: str = ""
    plateau: tuple[int, ...] = ()
    cause: str = ""
    slo: Slo | None = None
    workers: int = 1


@dataclass(frozen=True)
class SweepResult:
    """A whole sweep: the plan, its conditions, the trials so far in the order they ran, a verdict for each stack.

    `id` is its row's number (None: not saved). `status` is running, interrupted, done or failed.
    """

    plan: Plan
    conditions: Conditions
    trials: tuple[TrialResult, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    id: int | None = None
    status: str = "done"
    started_at: str = ""

    @property
    def views(self) -> tuple[Self, ...]:
        """The sweep at each number of workers; all that is said of sizes is said of one of them."""
        if not self.plan.splits:
            return (self,)
        return tuple(map(self._at, self.plan.splits))

    @property
    def chosen(self) -> Self:
        """The view that the first verdict names."""
        return self._at(self.verdicts[0].workers) if self.plan.splits and self.verdicts else self.views[-1]

    def _at(self, workers: int) -> Self:
        trials = tuple(trial for trial in self.trials if trial.workers == workers)
        return replace(self, plan=self.plan.at(workers), trials=trials)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """The sweep of a document of ours, old ones included; `analyse.document` reads those of others."""
        sweep = document["sweep"]
        plan = Plan.from_dict(sweep)
        return cls(
            plan,
            Conditions.from_dict(sweep.get("conditions") or {}),
            tuple(TrialResult.from_dict({"workers": plan.workers} | trial) for trial in document["trials"]),
            tuple(_verdict({"workers": plan.workers} | verdict) for verdict in document.get("verdicts", ())),
            sweep.get("id"),
            sweep.get("status", "done"),
            sweep.get("started_at", ""),
        )


def _verdict(row: Mapping[str, Any]) -> Verdict:
    known = _known(Verdict, row)
    known["checks"] = tuple(map(_check, row.get("checks", ())))
    known["plateau"] = tuple(row.get("plateau", ()))
    known["slo"] = Slo(**row["slo"]) if row.get("slo") else None
    known["warnings"] = tuple(Warning_(**warning) for warning in row.get("warnings", ()))
    return Verdict(**known)


def _check(row: Mapping[str, Any]) -> Check:
    """One that was saved before clauses had three states says `met`."""
    older = "undecided" if row["seen"] is None else "met" if row.get("met") else "missed"
    return Check(Limit(**row["limit"]), row["seen"], row.get("state", older), row.get("low"), row.get("high"))


def _known(fact: type, row: Mapping[str, Any]) -> dict[str, Any]:
    return {each.name: row[each.name] for each in fields(fact) if each.name in row}
