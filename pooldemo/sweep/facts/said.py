"""What was concluded: the verdicts, and the whole sweep that they are drawn from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

from pooldemo.sweep.facts.asked import Limit, Plan
from pooldemo.sweep.facts.rows import known
from pooldemo.sweep.facts.seen import Conditions, TrialResult, Warning_

FORMAT = "pooldemo-sweep/2"  # of the document; one without is older
SHAPES = ("knee", "rising", "flat", "invalid")
STATES = ("met", "missed", "undecided")


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
class Verdict:
    """What the trials of one stack say.

    `shape` is one of SHAPES. `max_conns` is the size to use, per worker (None: none can be named), `rps` its mean
    throughput with the 95% interval `rps_low` .. `rps_high`, `plateau` the sizes that carry as much. `because` is the
    sentence that a newcomer reads, `cause` what ran out first, or why it is invalid, as a code (empty: it does not
    show), `saturated` the same in words, `copy` the line to copy, for a shell or for settings
    (empty: none). `slo` is None where none was asked for, `checks` are its clauses. `needs` are the options with which
    a sweep that is invalid, or undecided, would find its answer (`--repeats 7`; empty where no option does).
    `level_from`: of a shape `rising` that may be none, the smallest size that carries what the largest does.
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
    level_from: int | None = None


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
        return self._split if self.plan.splits else (self,)

    @property
    def chosen(self) -> Self:
        """The view that the first verdict names."""
        named = (view for view in self.views for verdict in self.verdicts[:1] if view.plan.workers == verdict.workers)
        return next(named, self.views[-1])

    @cached_property
    def _split(self) -> tuple[Self, ...]:
        return tuple(map(self._at, self.plan.splits))

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
    found = known(Verdict, row)
    found["checks"] = tuple(map(_check, row.get("checks", ())))
    found["plateau"] = tuple(row.get("plateau", ()))
    found["slo"] = Slo(**known(Slo, row["slo"])) if row.get("slo") else None
    found["warnings"] = tuple(Warning_(**known(Warning_, warning)) for warning in row.get("warnings", ()))
    return Verdict(**found)


def _check(row: Mapping[str, Any]) -> Check:
    """One that was saved before clauses had three states says `met`."""
    known(Check, {"state": "", **row})
    older = "undecided" if row["seen"] is None else "met" if row.get("met") else "missed"
    return Check(
        Limit(**known(Limit, row["limit"])), row["seen"], row.get("state", older), row.get("low"), row.get("high")
    )
