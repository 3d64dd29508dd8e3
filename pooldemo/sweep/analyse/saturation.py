"""What ran out first: the reason why more slots bring no more throughput. Pure.

A plateau has a cause outside the pool, and a reader who knows it knows what to do next. Asked in an order that
excludes: who measures (the generator), what was asked for (the rate), who runs Python (the workers), who runs SQL
(PostgreSQL), who runs both (the machine), who asks (the users), who is left (a lock).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from pooldemo.sweep.analyse.warnings import BUSY_CPU
from pooldemo.sweep.facts import Conditions, Plan, TrialResult

BUSY_MACHINE = 0.85
"""Share of its CPUs from which a machine counts as saturated."""

MOST = 0.75
"""Share of a saturated machine's work from which it is PostgreSQL's, and the others' only what goes with it."""

GROWING_HOLD = 0.6
"""The hold grows with the slots at this power or more: every further slot only waits inside PostgreSQL."""


@dataclass(frozen=True)
class Saturation:
    """What ran out: `code` for programs, `text` for a sentence that reads "what ran out first is ..."."""

    code: str
    text: str


NOTHING = Saturation("", "")


def find_saturation(
    trials: Sequence[TrialResult], size: int, plateau: Sequence[int], plan: Plan, conditions: Conditions
) -> Saturation:
    """What keeps the plateau from rising, from the trials of one stack; NOTHING when it does not show.

    CPU is looked at over the whole plateau, the bound of the users at its first `size`, where it begins to hold.
    """
    inside = [trial for trial in trials if trial.size in plateau]
    at_size = [trial for trial in trials if trial.size == size]
    if _reaches(inside, "generator_cpu", BUSY_CPU):
        return Saturation("generator", "the load generator, so this is its limit and not the server's")
    if plan.rate is not None and (mean_of(at_size, "rps") or 0) >= 0.95 * plan.rate:
        return Saturation("rate", f"the demand: no more than {plan.rate:g} requests/s were asked for")
    if _reaches(inside, "worker_cpu", BUSY_CPU):
        return Saturation("hub", "the worker's hub: one thread runs all its greenlets, and its core is full")
    total = _total_cpu(inside)
    if total >= BUSY_MACHINE * conditions.cpus:
        used = _cores(inside, "postgresql_cpu")
        if _reaches(inside, "postgresql_cpu", MOST * total):
            return Saturation("postgresql-cpu", f"PostgreSQL's CPU: it used {used} of {_cpus(conditions)}")
        parts = f"PostgreSQL {used}, workers {_cores(inside, 'server_cpu')}"
        return Saturation("machine-cpu", f"this machine's CPU, shared by all ({parts} of {_cpus(conditions)})")
    if is_users(size, plan):
        return Saturation("users", f"the users: all {plan.users} of them have a slot at the same time")
    if _hold_grows(trials, inside):
        return Saturation(
            "lock", "a lock inside PostgreSQL: the more slots, the longer each is held, while no CPU is full"
        )
    return NOTHING


def is_users(size: int, plan: Plan) -> bool:
    """Does every user have a slot, so that a larger size has nobody to serve?

    That is where U / (Z + S) falls below N / S: users of a sweep do not think (Z = 0), so it is where N reaches U.
    """
    return size * plan.workers >= plan.users


def hold_of(trials: Sequence[TrialResult]) -> float | None:
    """The mean hold in milliseconds, or the mean query where the stack does not tell how long it holds."""
    return mean_of(trials, "hold_mean_ms") or mean_of(trials, "query_mean_ms")


def mean_of(trials: Sequence[TrialResult], name: str) -> float | None:
    """The mean of a field over the trials that know it; None when none does."""
    values = [value for trial in trials if (value := getattr(trial, name)) is not None]
    return fmean(values) if values else None


def _reaches(trials: Sequence[TrialResult], name: str, cores: float) -> bool:
    return (mean_of(trials, name) or 0.0) >= cores


def _total_cpu(trials: Sequence[TrialResult]) -> float:
    return sum(mean_of(trials, name) or 0.0 for name in ("postgresql_cpu", "server_cpu", "generator_cpu", "other_cpu"))


def _hold_grows(trials: Sequence[TrialResult], inside: Sequence[TrialResult]) -> bool:
    """Over the plateau: hold at the last size against the first, as much as the slots grew (to the power
    GROWING_HOLD)."""
    sizes = sorted({trial.size for trial in inside})
    if len(sizes) < 2:
        return False
    first, last = (hold_of([trial for trial in trials if trial.size == size]) for size in (sizes[0], sizes[-1]))
    return bool(first and last and last / first >= (sizes[-1] / sizes[0]) ** GROWING_HOLD)


def _cores(trials: Sequence[TrialResult], name: str) -> str:
    return f"{mean_of(trials, name) or 0.0:.2g}"


def _cpus(conditions: Conditions) -> str:
    return "1 core" if conditions.cpus == 1 else f"{conditions.cpus} cores"
