"""What was seen: under which conditions, by one trial, and over the repeats of a size."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from pooldemo.sweep.facts.asked import TrialPlan
from pooldemo.sweep.facts.rows import known


@dataclass(frozen=True)
class Warning_:
    """A reason to doubt a number: `code` for programs, `cause` and `cure` for people (a sentence each)."""

    code: str
    cause: str
    cure: str


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

    `versions` by name (python, pooldemo where it is installed, django, gunicorn, gevent, locust, psycopg2,
    postgresql); `settings` are PostgreSQL's that bear on the result, `settings_module` the project's (empty: not
    noted); `cpu_quota` the cores that a container allows (None: no limit); `gunicorn` the server's command line with
    `{size}` and `{port}` left open. `room` are the connections that the applications may open together (0: not known),
    and `room_limit` is what one raises to have more.
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
    settings_module: str = ""
    room: int = 0
    room_limit: str = "max_connections"

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        found = cls(**known(cls, row))
        if "room" in row:
            return found
        return replace(found, room=max(0, found.max_connections - found.reserved_connections))  # as it was kept before


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
    on average: `CPU`, `idle`, `idle in transaction`, or PostgreSQL's wait event (`Lock:tuple`). `io` is what
    all client backends of the server did meanwhile, by `pg_stat_io`: pages as `reads`, `writes`, `extends` and
    `evictions`, and `wal_fsyncs` (from PostgreSQL 18 on; empty before 16). `probe_max_ms` is the
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
    io: Mapping[str, float] = field(default_factory=dict)
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
        found = known(cls, row)
        found["warnings"] = tuple(Warning_(**known(Warning_, warning)) for warning in row.get("warnings", ()))
        found["latencies"] = tuple((ms, count) for ms, count in row.get("latencies", ()) if count)
        found["steps"] = tuple(Step(**known(Step, step)) for step in row.get("steps", ()))
        for name in ("per_second", "failures_per_second"):
            found[name] = tuple(row.get(name, ()))
        return cls(**found)


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
