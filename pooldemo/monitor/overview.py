"""The pools of all workers in the few numbers that people look at. Pure: from snapshots, as `/pool/` gives them.

Active, Idle, Pending, Max are HikariCP's words: connections in use, connections kept ready, greenlets that wait for a
slot, slots.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pooldemo.monitor.last_minute import percentile_ms
from pooldemo.sweep.analyse.statistics import digits

STALE_S = 5.0  # a worker writes once a second; one that has not for this long is stuck
PERCENTILES = (0.5, 0.95, 0.99)
VIEWS = 12  # those with the most to gain; /metrics has all
NO_VIEW = "(no view)"


@dataclass(frozen=True)
class Pool:
    """One worker's pool, or the sum of all of them (`pid` is None). `age_s`: how old its numbers are."""

    pid: int | None
    active: int
    idle: int
    pending: int
    max: int
    timeouts: int
    errors: int
    age_s: float = 0.0

    @property
    def age(self) -> str:
        return digits(self.age_s)

    @property
    def stale(self) -> bool:
        return self.age_s > STALE_S

    @property
    def connections(self) -> int:
        return self.active + self.idle


@dataclass(frozen=True)
class Times:
    """Percentiles of wait or hold over the last minute, as printed (in ms; "-": there was none), and how many."""

    name: str
    count: int
    percentiles: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """One view's slots since the workers began: seconds held, how many of them without work, and refusals in words."""

    name: str
    held_s: float
    idle_s: float
    refused: str

    @property
    def held(self) -> str:
        return digits(self.held_s)

    @property
    def idle(self) -> str:
        return digits(self.idle_s)

    @property
    def idle_percent(self) -> int:
        """How much of the time that it held slots it asked nothing of PostgreSQL."""
        return round(100 * self.idle_s / self.held_s) if self.held_s else 0


@dataclass(frozen=True)
class Holders:
    """Those who hold a slot with the same statement: how many, for how long the first of them, in which workers."""

    statement: str
    count: int
    longest_s: float
    name: str
    pids: tuple[int, ...]

    @property
    def longest(self) -> str:
        return digits(self.longest_s)


@dataclass(frozen=True)
class Overview:
    """Every worker, their sum, the last minute, who holds a slot longest: {name, held_s, statement, pid, pool}, and the
    `views`, those first that held slots longest without work. Of the connections so many are `counted`: to the default
    database, of which PostgreSQL is asked."""

    workers: tuple[Pool, ...]
    sum: Pool
    times: tuple[Times, ...]
    holders: tuple[Mapping[str, Any], ...]
    application_name: str = ""
    views: tuple[View, ...] = ()
    counted: int = 0

    @property
    def grouped(self) -> tuple[Holders, ...]:
        """The holders by what they do, those first that hold longest."""
        groups: dict[str, list[Mapping[str, Any]]] = {}
        for each in self.holders:
            groups.setdefault(each["statement"], []).append(each)
        return tuple(
            Holders(
                statement, len(same), same[0]["held_s"], same[0]["name"], tuple(sorted({each["pid"] for each in same}))
            )
            for statement, same in groups.items()
        )


def overview(pool: Mapping[str, Any]) -> Overview:
    """What the answer of `/pool/` says."""
    workers = tuple(pool_of(each) for each in pool["workers"])
    names = {each.get("application_name", "") for each in pool["workers"]}
    all_pools = [each for worker in pool["workers"] for each in worker["pools"].values()]
    counted = sum(int(each["stats"].get("pool_size", 0)) for each in all_pools if each.get("is_counted", True))
    return Overview(
        workers, _sum(workers), tuple(_times(pool["sum"])), tuple(pool["sum"]["holders"]),
        names.pop() if len(names) == 1 else "", tuple(_views(pool["sum"].get("views", {})))[:VIEWS], counted,
    )  # fmt: skip


def pool_of(snapshot: Mapping[str, Any]) -> Pool:
    """One worker's snapshot in those numbers."""
    stats = [pool["stats"] for pool in snapshot["pools"].values()]

    def added(name: str) -> int:
        return int(sum(each.get(name, 0) for each in stats))

    idle = added("pool_available")
    return Pool(
        snapshot["pid"],
        active=max(0, added("pool_size") - idle),
        idle=idle,
        pending=added("requests_waiting"),
        max=added("pool_max") + int(snapshot.get("unopened", 0)),  # a worker of an older version does not tell
        timeouts=added("requests_timeouts"),
        errors=added("requests_errors"),
        age_s=snapshot["age_s"],
    )


def _sum(workers: Iterable[Pool]) -> Pool:
    names = ("active", "idle", "pending", "max", "timeouts", "errors")
    rows = list(workers)
    return Pool(None, **{name: sum(getattr(each, name) for each in rows) for name in names})


def _views(views: Mapping[str, Mapping[str, Any]]) -> Iterable[View]:
    for name, view in sorted(views.items(), key=lambda each: (-each[1]["idle_s"], each[0])):
        refused = ", ".join(f"{number} {reason}" for reason, number in sorted(view["refusals"].items()))
        yield View(name or NO_VIEW, view["held_s"], view["idle_s"], refused)


def _times(total: Mapping[str, Any]) -> Iterable[Times]:
    for name in ("wait", "hold"):
        counts = total.get("last_minute", {}).get(name, [])
        bounds_s = total["histograms"][name]["bounds_s"] if counts else []
        found = (percentile_ms(bounds_s, counts, fraction) for fraction in PERCENTILES)
        yield Times(name, sum(counts), tuple(map(digits, found)))
