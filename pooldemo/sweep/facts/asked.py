"""What was asked for: the plan of a sweep, and of one trial."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from pooldemo.sweep.facts.rows import known

OWN = ("urls", "locustfile")  # what a project's own load is called where a workload's name would stand
MARGIN = 5.0  # percent: a size is good enough when it is not worse than the best by more than this


@dataclass(frozen=True)
class Limit:
    """One clause of `--slo`: `metric` p50, p95, p99 or max (milliseconds), or errors (a fraction)."""

    metric: str
    at_most: float


@dataclass(frozen=True)
class Plan:
    """What was asked for. A trial lasts `warmup_s` that is dropped and `duration_s` that counts. It warms up longer
    where serving each user once takes longer, times `warmup_cycles`, and measures longer where its requests need that,
    times `window_cycles` (0: not).

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
    window_cycles: float = 0.0
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
        found = known(cls, row)
        found |= {name: tuple(row[name]) for name in ("stacks", "sizes", "urls") if name in row}
        found["blocks"] = tuple(map(tuple, row.get("blocks") or ()))
        found["splits"] = tuple(row.get("splits") or ())
        found["slo"] = tuple(Limit(**known(Limit, limit)) for limit in row.get("slo") or ())
        return cls(**found)


@dataclass(frozen=True)
class TrialPlan:
    """One trial to run: `stack` at `size`, for the `repeat`th time (from 1)."""

    stack: str
    size: int
    repeat: int
    workers: int = 1

    def __str__(self) -> str:
        workers = f" x {self.workers} workers" if self.workers > 1 else ""
        return f"{self.stack} at {self.size}{workers}, repeat {self.repeat}"
