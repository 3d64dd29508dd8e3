"""docs/fleet.md, words and all; the rows are those of benchmarks/chaos."""

from collections.abc import Sequence

from benchmarks.chaos import page
from benchmarks.chaos.outcome import Outcome
from benchmarks.fleet.scene import (
    AFTER_S,
    MAX_CONNECTIONS,
    MS,
    POOL_SIZE,
    POOL_TIMEOUT_S,
    RECOVERY_S,
    SIZE,
    USERS,
    WEBS,
    WORKERS,
    Fault,
)  # fmt: skip
from pooldemo.sweep.facts import Conditions
from pooldemo.sweep.stacks.stack import ROOT

PAGE = ROOT / "docs" / "fleet.md"


def markdown(outcomes: Sequence[Outcome]) -> str:
    return page.markdown(outcomes).replace("| stack |", "| way |", 1)


def write(outcomes: Sequence[Outcome], faults: Sequence[Fault], conditions: Conditions, load: float) -> None:
    PAGE.write_text(text(outcomes, faults, conditions, load))


def text(outcomes: Sequence[Outcome], faults: Sequence[Fault], conditions: Conditions, load: float) -> str:
    """The whole page. `load` is the machine's, on average before and after."""
    versions = ", ".join(f"{name} {version}" for name, version in conditions.versions.items())
    abouts = "\n".join(f"- `{each.name}`: {each.about}." for each in faults)
    return f"""# When a fleet fails

What visitors of {WEBS} web hosts behind HAProxy see when hosts, balancer, PgBouncer or PostgreSQL fail under load. Made
by `make fleet`, which takes ten minutes and writes this page; `make fleet ARGS="--only worker-killed"` lets one thing
happen and prints its rows.

{markdown(outcomes)}

The columns are those of [when things go wrong](chaos.md), but for these:

- **way**: from the hosts to PostgreSQL, straight or by PgBouncer in transaction mode.
- **worker gone**: the balancer answered, 502 to 504, for a host whose processes the fault had ended.
- **refused**: the balancer answered 503, for all hosts had more than 50 waiting, as `/readyz?waiting=50` said.
- **above the cap**: beyond hosts x workers x MAX_CONNS = {WEBS * WORKERS * SIZE} straight, beyond PgBouncer's pool of
  {POOL_SIZE} by it; all of them together, as PostgreSQL counts.
- **slots lost**: those that the pools of all hosts say are taken when nobody asks, or do not have any more.

## The faults

{abouts}

## Conditions

Plain processes on loopback, each started by its script of `deploy/services`: {WEBS} hosts with {WORKERS} gunicorn
workers, MAX_CONNS {SIZE} each, POOL_TIMEOUT {POOL_TIMEOUT_S} s; PostgreSQL takes {MAX_CONNECTIONS} connections. {USERS}
users of Locust, each request a write of {MS:g} ms on a connection of its own. `never` in **full again**: not while it
was watched, {AFTER_S:g} s from when all slots worked again, {RECOVERY_S + AFTER_S:g} s at most.

Commit {conditions.commit}; {conditions.machine}, {conditions.cpus} cores under a load of {load:.0f}; {versions}.
"""
