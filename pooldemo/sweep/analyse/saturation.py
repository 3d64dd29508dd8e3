"""What ran out first: the reason why more slots bring no more throughput. Pure.

A plateau has a cause outside the pool, and a reader who knows it knows what to do next. Asked in an order that
excludes: who measures (the generator), what was asked for (the rate), who runs Python (the workers), who runs SQL
(PostgreSQL), who runs both (the machine, its other guests, its host, a container's quota), who asks (the users), and
what PostgreSQL itself says that its backends wait for. Each text has its witness: the numbers that it was read from.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from pooldemo.sweep.analyse.rules import BUSY_CPU, generator_stopped
from pooldemo.sweep.analyse.statistics import counted, two_digits
from pooldemo.sweep.facts import Conditions, Plan, TrialResult

BUSY_MACHINE = 0.85
"""Share of its CPUs from which a machine counts as saturated."""

MOST = 0.75
"""Share of a saturated machine's work from which it is PostgreSQL's, and the others' only what goes with it."""

CPUS = ("postgresql_cpu", "server_cpu", "generator_cpu", "other_cpu", "steal_cpu")
"""Who shares a machine's cores."""

THROTTLED = 0.5
"""Share of a quota's periods in which it runs out, from which it is what ran out."""

WAITS: dict[str, tuple[tuple[str, ...], str]] = {
    "lock": (("Lock:",), "a lock inside PostgreSQL"),
    "wal": (("IO:WAL", "IO:Wal", "LWLock:WAL"), "PostgreSQL's write-ahead log: its flush at each commit"),
    "disk": (("IO:",), "PostgreSQL's disk"),
    "contention": (("LWLock:", "BufferPin:"), "PostgreSQL's own shared memory, which its backends wait for"),
    "transactions": (("idle in transaction",), "the application's transactions: they think while they hold a slot"),
}
"""What backends wait for, by how `pg_stat_activity` names it, and what that is called; the narrower first."""

IO = {
    "disk": {"reads": "pages read", "writes": "pages written", "extends": "pages added"},
    "wal": {"wal_fsyncs": "flushes"},
}
"""What `pg_stat_io` counted, which bears such a cause out."""

GROWING_HOLD = 0.6
"""The hold grows with the slots at this power or more: every further slot only waits inside PostgreSQL."""


@dataclass(frozen=True)
class Saturation:
    """The bottleneck: `code` for programs, `text` for a sentence that reads "the bottleneck is ..."."""

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
        used = mean_of(inside, "generator_cpu")
        return Saturation(
            "generator", f"the load generator, so this is its limit and not the server's ({used:.0%} of a core)"
        )
    if inside and sum(generator_stopped(each) is not None for each in inside) * 2 > len(inside):
        return Saturation("generator", "the load generator, which ended the search for a higher rate")
    if plan.rate is not None and (mean_of(at_size, "rps") or 0) >= 0.95 * plan.rate:
        return Saturation("rate", f"the demand: no more than {plan.rate:g} requests/s were asked for")
    if _reaches(inside, "worker_cpu", BUSY_CPU):
        used = mean_of(inside, "worker_cpu")
        return Saturation(
            "hub", f"the worker's hub: one thread runs all its greenlets, and its core is full ({used:.0%})"
        )
    if machine := _machine(inside, conditions):
        return machine
    if is_users(size, plan):
        have = f"all {plan.users} of them have a slot at the same time" if plan.users > 1 else "the only one has a slot"
        return Saturation("users", f"the users: {have}")
    if waiting := _waiting(inside):
        return waiting
    return _held_longer(inside, is_hidden(plan, conditions)) if _hold_grows(trials, inside) else NOTHING


def is_hidden(plan: Plan, conditions: Conditions) -> bool:
    """Whether the CPU of PostgreSQL or of the server is not seen from here: on another machine, or in a container."""
    return bool(plan.host) or not conditions.postgresql_is_local


def _held_longer(inside: Sequence[TrialResult], hidden: bool) -> Saturation:
    """What it is that each further slot waits for."""
    grows = "the more slots, the longer each is held"
    totals, looks = _doing(inside)
    if 2 * totals["CPU"] >= (busy := totals.total()) > 0:
        running, of = (two_digits(count / looks) for count in (totals["CPU"], busy))
        return Saturation(
            "postgresql-cpu",
            f"PostgreSQL's CPU, or what it may have of it: {running} of {of} busy connections wait for nothing else, "
            f"and {grows}",
        )
    if hidden:
        return Saturation("", f"behind the slots, on a machine that cannot be seen from here: {grows}")
    return Saturation("lock", f"a lock inside PostgreSQL: {grows}, while no CPU is full")


def _machine(inside: Sequence[TrialResult], conditions: Conditions) -> Saturation | None:
    """Whether the cores ran out, and who had them."""
    throttled = mean_of(inside, "throttled") or 0.0
    if conditions.cpu_quota and throttled >= THROTTLED:
        allowed = _count_of(conditions.cpu_quota)
        return Saturation(
            "quota", f"the container's CPU quota: its {allowed} ran out in {throttled:.0%} of the periods"
        )
    total = _total_cpu(inside)
    if total < BUSY_MACHINE * conditions.cpus:
        return None
    cores = _count_of(conditions.cpus)
    if _reaches(inside, "steal_cpu", total / 4):
        return Saturation(
            "steal", f"the host of this machine: it gave {_cores(inside, 'steal_cpu')} of {cores} to others"
        )
    if _reaches(inside, "other_cpu", total / 3):
        return Saturation(
            "neighbour", f"this machine's CPU: something else on it used {_cores(inside, 'other_cpu')} of {cores}"
        )
    used = _cores(inside, "postgresql_cpu")
    if _reaches(inside, "postgresql_cpu", MOST * total):
        return Saturation("postgresql-cpu", f"PostgreSQL's CPU: it used {used} of {cores}")
    parts = f"PostgreSQL {used}, workers {_cores(inside, 'server_cpu')}"
    return Saturation("machine-cpu", f"this machine's CPU, shared by all ({parts} of {cores})")


def _waiting(inside: Sequence[TrialResult]) -> Saturation | None:
    """What most of the connections that were not idle did, if that was waiting inside PostgreSQL for one thing."""
    totals, looks = _doing(inside)
    busy = totals.total()
    for code, (starts, text) in WAITS.items():
        found = {label: count for label, count in totals.items() if label.startswith(starts)}
        if busy and sum(found.values()) >= busy / 2:
            label = max(found, key=lambda each: found[each])
            waiting, of = (two_digits(count / looks) for count in (sum(found.values()), busy))
            seen = f"{waiting} of {of} busy connections, most of them in {label}{_io(inside, code)}"
            return Saturation(code, f"{text} ({seen})")
    return None


def _doing(inside: Sequence[TrialResult]) -> tuple[Counter[str], int]:
    """What the connections that were not idle did, over all trials that tell it, and how many these are."""
    told = [trial.waits for trial in inside if trial.waits]
    totals = Counter[str]()
    for waits in told:
        totals.update(waits)
    del totals["idle"]
    return totals, len(told)


def _io(inside: Sequence[TrialResult], code: str) -> str:
    """What of its kind the backends did most for each request, where that is anything to speak of."""
    told = [trial for trial in inside if trial.io and trial.requests]
    requests = sum(trial.requests for trial in told)
    counts = {words: sum(trial.io.get(name, 0.0) for trial in told) for name, words in IO.get(code, {}).items()}
    words = max(counts, key=lambda each: counts[each], default="")
    if not requests or not words or counts[words] < 0.1 * requests:
        return ""
    return f"; {two_digits(counts[words] / requests)} {words} for each request"


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
    return sum(mean_of(trials, name) or 0.0 for name in CPUS)


def _hold_grows(trials: Sequence[TrialResult], inside: Sequence[TrialResult]) -> bool:
    """Over the plateau: hold at the last size against the first, as much as the slots grew (to the power
    GROWING_HOLD)."""
    sizes = sorted({trial.size for trial in inside})
    if len(sizes) < 2:
        return False
    first, last = (hold_of([trial for trial in trials if trial.size == size]) for size in (sizes[0], sizes[-1]))
    return bool(first and last and last / first >= (sizes[-1] / sizes[0]) ** GROWING_HOLD)


def _cores(trials: Sequence[TrialResult], name: str) -> str:
    return two_digits(mean_of(trials, name) or 0.0)


def _count_of(cores: float) -> str:
    return counted(f"{cores:g}", "core")
