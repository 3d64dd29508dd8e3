"""The outcomes for people: a table in the terminal, and docs/chaos.md, words and all."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.chaos.outcome import FULL, HANGS_S, Outcome
from benchmarks.chaos.scene import (
    AFTER_S,
    MS,
    POOL_TIMEOUT_S,
    RECOVERY_S,
    RUNNING_S,
    SIZE,
    USERS,
    WORKERS,
    Fault,
)
from pooldemo.sweep.facts import Conditions
from pooldemo.sweep.stacks.stack import ROOT

PAGE = ROOT / "docs" / "chaos.md"
HEAD = (
    "fault", "stack", "requests", "failed", "query begun", "worker gone", "refused", "avoidable", "lasted s",
    "full again s", "above the cap", "slots lost", "still running", "rows", "wrong",
)  # fmt: skip


def row(outcome: Outcome) -> list[str]:
    """The cells of an outcome, in the order of HEAD; what is no zero and should be one stands out."""
    above = f"{outcome.above} ({outcome.above_s:g} s)" if outcome.above else "0"
    return [
        outcome.fault,
        outcome.stack,
        f"{outcome.requests}",
        f"{outcome.failed}",
        f"{outcome.begun}",
        f"{outcome.gone}",
        f"{outcome.refused}",
        _loud(outcome.avoidable),
        f"{outcome.lasted_s:g}",
        "**never**" if outcome.full_s is None else f"{outcome.full_s:g}",
        f"**{above}**" if outcome.above else above,
        _loud(outcome.lost),
        _loud(outcome.running),
        f"{outcome.acknowledged}",
        _loud(outcome.wrong),
    ]


def told(outcome: Outcome) -> str:
    """An outcome in a line, for who waits for the next."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in outcome.kinds.items()) or "none"
    return "; ".join(
        (
            f"{outcome.before_rps:.0f}/s before",
            f"failed {outcome.failed} ({kinds}), {outcome.avoidable} avoidable",
            f"per second {outcome.per_second}, full again after {outcome.full_s} s",
            f"above {outcome.above}, lost {outcome.lost}, running {outcome.running}, wrong {outcome.wrong}",
            *outcome.notes,
        )
    )


def _loud(count: int) -> str:
    return f"**{count}**" if count else "0"


def show(outcomes: Sequence[Outcome], console: Console) -> None:
    """Print the table: with colours in a terminal, as Markdown in a pipe."""
    if not console.is_terminal:
        print(markdown(outcomes))
        return
    table = Table()
    for name in HEAD:
        table.add_column(name, justify="left" if name in ("fault", "stack") else "right")
    for outcome in outcomes:
        cells = row(outcome)
        table.add_row(*(f"[bold red]{cell[2:-2]}[/]" if cell.startswith("**") else cell for cell in cells))
    console.print(table)


def markdown(outcomes: Sequence[Outcome]) -> str:
    lines = [HEAD, ["---"] * len(HEAD), *map(row, outcomes)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(outcomes: Sequence[Outcome], faults: Sequence[Fault], conditions: Conditions) -> None:
    PAGE.write_text(text(outcomes, faults, conditions))


def text(outcomes: Sequence[Outcome], faults: Sequence[Fault], conditions: Conditions) -> str:
    """The whole page."""
    versions = ", ".join(f"{name} {version}" for name, version in conditions.versions.items())
    abouts = "\n".join(f"- `{each.name}`: {each.about}." for each in faults)
    return f"""# When things go wrong

This page shows what happens when PostgreSQL, the network, gunicorn or the clients fail under load. It compares
`pooldemo`, in both of its modes, with django-db-geventpool (`geventpool`). `make chaos` measures it, which takes a
quarter of an hour, and writes this page;
`make chaos ARGS="--only restart"` tries one fault and prints its rows.

{markdown(outcomes)}

## How to read it

- **requests**: the requests that ended after the fault began. **failed**: those of them that were answered with
  anything but 200, or had no answer for more than {HANGS_S:g} s. The next four columns divide them by reason:
- **query begun**: no pool could have saved them. Their query had begun, as PostgreSQL's own log shows, or was on its
  way over a connection that worked when the request got it. Only the application knows whether it may run again.
- **worker gone**: they had no answer, because the fault ended gunicorn's processes, not PostgreSQL's.
- **refused**: a pool with `OVERLOAD: "shed"` refused them in time, as it is meant to.
- **avoidable**: there was no such reason. The request waited in vain, got a dead connection, or hangs.
- **lasted**: how long the fault lasted. **full again**: how long it took, from the beginning of the fault, until
  throughput was back: every second from then on had at least {FULL:.0%} of the requests of a second before the fault.
  `never` means not while it was watched: for {AFTER_S:g} s after all slots worked again, and for
  {RECOVERY_S + AFTER_S:g} s at most.
- **above the cap**: the cap of a worker is its MAX_CONNS. The number is the most connections above it that PostgreSQL
  showed for one worker at any moment, warm-up included; the time is how long a worker was above it. If the network
  fails, connections are counted at the worker's end instead, since PostgreSQL does not notice at once that the others
  are gone. If logins are slow, those that log in are counted too, for all workers together.
- **slots lost**: slots that could not be used at the end; for `pooldemo` also slots that `/pool/` shows as taken when
  no request is under way.
- **still running**: queries that PostgreSQL still works on {RUNNING_S:g} s after the fault, though nobody waits for
  them.
- **rows**: requests that were answered with 200. Each wrote two rows into a table, the ledger. **wrong**: those of them
  for which the ledger does not have exactly these two rows, and other requests of which it has one row, or a row twice.

django-db-geventpool is faster wherever it is above its cap, because it uses more connections than it was given. Where
it keeps to the cap after the fault, and loses no slot, `never` says no more than that. In `rotate` it has the password
that stood in the file when its worker began, since it accepts no callable; `pooldemo` has a callable that reads the
file.

## The faults

{abouts}

## Conditions

{WORKERS} gunicorn workers with gevent, MAX_CONNS {SIZE} each, POOL_TIMEOUT {POOL_TIMEOUT_S} s (django-db-geventpool has
none). {USERS} users of Locust: each request is a write of {MS:g} ms on an HTTP connection of its own, half of them in a
transaction of two statements. After a failure a user rests for 0.2 s. PostgreSQL is the run's own, on a unix socket
(through a proxy on loopback if the network fails). Every server is started afresh for each fault.

Commit {conditions.commit}; {conditions.machine}, {conditions.cpus} cores; {versions}.
"""
