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

This page shows what visitors of {WEBS} web hosts behind HAProxy see when hosts, the balancer, PgBouncer or PostgreSQL
fail under load. `make fleet` measures it, which takes ten minutes, and writes this page;
`make fleet ARGS="--only worker-killed"` tries one fault and prints its rows.

{markdown(outcomes)}

The columns are those of [when things go wrong](chaos.md), except these:

- **way**: how the hosts reach PostgreSQL: `straight`, or through PgBouncer in transaction mode.
- **worker gone**: the balancer answered 502 to 504, because the fault had ended the processes of a host.
- **refused**: the balancer answered 503, because more than 50 requests waited at each host, as `/readyz?waiting=50`
  told it.
- **above the cap**: counted by PostgreSQL for all hosts together. The cap is hosts x workers x MAX_CONNS =
  {WEBS * WORKERS * SIZE} with `straight`, and the size of PgBouncer's pool, {POOL_SIZE}, with `pgbouncer`.
  If a worker dies there, the cap is one more for each request in **query begun**: PostgreSQL still works on such a
  query when PgBouncer opens another connection.
- **slots lost**: slots that the pools of all hosts show as taken when no request is under way, or do not have any more.

## The faults

{abouts}

## Conditions

All services are plain processes on loopback, each started by its script in `deploy/services`: {WEBS} hosts with
{WORKERS} gunicorn workers, MAX_CONNS {SIZE} each, POOL_TIMEOUT {POOL_TIMEOUT_S} s. PostgreSQL accepts {MAX_CONNECTIONS}
connections. {USERS} users of Locust: each request is a write of {MS:g} ms on an HTTP connection of its own. `never` in
**full again** means not while it was watched: for {AFTER_S:g} s after all slots worked again, and for
{RECOVERY_S + AFTER_S:g} s at most.

Commit {conditions.commit}; {conditions.machine}, {conditions.cpus} cores under a load of {load:.0f}; {versions}.
"""
