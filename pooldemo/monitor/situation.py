"""What the pools' numbers come to, in a sentence, and what to do about it. Pure."""

import os
from dataclasses import dataclass

from pooldemo.monitor.overview import NO_VIEW, Overview, Pool, View
from pooldemo.monitor.server_connections import Census
from pooldemo.sweep.analyse import statistics

GUILTY = 50  # percent of a view's hold without work from which it is named
WEIGHT = 25  # percent of what all views held that it must have wasted: a page that was seen once is nobody's trouble


@dataclass(frozen=True)
class Situation:
    """`kind` is down, saturated, full, calm or idle; `sentence` says it with its numbers and the cure, `more` what else
    is odd, a sentence each."""

    kind: str
    sentence: str
    more: tuple[str, ...] = ()


def situation(pools: Overview, counted: Census, cores: int | None = None) -> Situation:
    """What is the case now. `cores` are PostgreSQL's (None: this machine's)."""
    more = tuple(filter(None, (_silent(pools), _uneven(pools))))
    used, waits = f"{pools.sum.active} of {pools.sum.max} slots in use", _wait(pools)
    if counted.trouble:
        waiting = f", {_waiting(pools.sum)} for a slot" if pools.sum.pending else ""
        return Situation("down", f"PostgreSQL does not answer: {counted.trouble}{waiting}", more)
    saturated = [each for each in pools.workers if each.pending and each.active >= each.max]
    if pools.sum.pending and not saturated:
        return Situation("full", f"Filling: {_waiting(pools.sum)}, {used}: connections are being opened", more)
    if saturated:
        cure = _cure(pools, counted, cores or os.cpu_count() or 1)
        where = "" if len(saturated) == len(pools.workers) else f" at {len(saturated)} of {len(pools.workers)} workers"
        return Situation("saturated", f"Saturated{where}: {_waiting(pools.sum)}{waits}; {cure}", more)
    if pools.sum.max and pools.sum.active >= pools.sum.max:
        return Situation("full", f"Full: {used}, and nobody waits", more)
    if pools.sum.active or any(each.count for each in pools.times):
        return Situation("calm", f"Calm: {used}, nobody waits{waits and f'; over the last minute{waits[1:]}'}", more)
    return Situation("idle", "Idle: nobody has asked for a connection in the last minute", more)


def _waiting(pool: Pool) -> str:
    return f"{pool.pending} wait{'s' if pool.pending == 1 else ''}"


def _wait(pools: Overview) -> str:
    """Over the last minute, where somebody waited at all."""
    wait = next((each for each in pools.times if each.name == "wait"), None)
    return f", p95 wait {_length(wait.percentiles[1])}" if wait and wait.count else ""


def _length(milliseconds: str) -> str:
    """`1,200` milliseconds as `1.20 s`."""
    if "," not in milliseconds:
        return f"{milliseconds} ms"
    return f"{statistics.digits(float(milliseconds.replace(',', '')) / 1000)} s"


def _cure(pools: Overview, counted: Census, cores: int) -> str:
    """What would shorten the line, by what the connections do inside PostgreSQL at this moment."""
    held_s = sum(each.held_s for each in pools.views)
    heavy = (each for each in pools.views if each.idle_s * 100 >= WEIGHT * held_s and each.name != NO_VIEW)
    guilty = next((each for each in heavy if each.idle_percent >= GUILTY), None)
    shorter = f"hold for less{_named(guilty)}"
    if counted.running is None:
        return f"raise MAX_CONNS or {shorter}"
    if 2 * counted.locked > pools.sum.active:
        return f"{counted.locked} of their connections wait for locks inside PostgreSQL: more slots would wait as well"
    if 2 * counted.thinking > pools.sum.active:
        return f"{counted.thinking} of {pools.sum.active} slots are held by transactions that think: {shorter}"
    if counted.running >= cores:
        return (
            f"PostgreSQL works on {statistics.counted(counted.running, 'statement')} at once, on "
            f"{statistics.counted(cores, 'core')}: cheaper queries help, more "
            "slots do not"
        )
    if not counted.running:
        return f"PostgreSQL is idle: raise MAX_CONNS or {shorter}"
    return f"PostgreSQL works on {counted.running} of {pools.sum.active}: raise MAX_CONNS or {shorter}"


def _named(view: View | None) -> str:
    return f" ({view.name} holds {view.idle_percent}% of its time without work)" if view else ""


def _silent(pools: Overview) -> str:
    silent = [str(each.pid) for each in pools.workers if each.stale]
    return f"Worker {', '.join(silent)} is silent: it is stuck, or starved of CPU." if silent else ""


def _uneven(pools: Overview) -> str:
    """Whether somebody waits at one worker while another has slots free."""
    waiting = max(pools.workers, key=lambda each: each.pending, default=None)
    free = max(pools.workers, key=lambda each: each.max - each.active, default=None)
    if not waiting or not free or not waiting.pending or free.pending or free.max <= free.active:
        return ""
    left = free.max - free.active
    return (
        f"Uneven: {_waiting(waiting)} at worker {waiting.pid} while worker {free.pid} has {left} of its {free.max} "
        "slots free: clients that keep their connection stay with the worker that took it."
    )
