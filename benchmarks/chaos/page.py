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

What `pooldemo`, in both of its modes, and the stock library, django-db-geventpool (`geventpool`), do when PostgreSQL,
the network, gunicorn or the clients fail under load. Made by `make chaos`, which takes a quarter of an hour and writes
this page;
`make chaos ARGS="--only restart"` lets one thing happen and prints its rows.

{markdown(outcomes)}

## How to read it

- **requests**: those that ended after the fault began. **failed**: answered with anything but 200, or not for more than
  {HANGS_S:g} s.
- **query begun**: failed, and nobody could save them. Their query had begun, as PostgreSQL's own log shows, or was on
  its way over a connection that lived when the request got it. Only the application knows whether it may run again.
- **worker gone**: failed without an answer, because the fault ended gunicorn's processes, not PostgreSQL's.
- **refused**: failed because a pool with OVERLOAD "shed" said so in time, which is what it is for.
- **avoidable**: failed for no such reason. The request waited in vain, was handed a dead connection, or hangs.
- **lasted**: the fault itself. **full again**: from its beginning until a moment from which on every second had at
  least {FULL:.0%} of the requests before; `never`: not while it was watched, which is for {AFTER_S:g} s from when
  all slots worked again, and for {RECOVERY_S + AFTER_S:g} s at most.
- **above the cap**: the most connections that PostgreSQL showed of one worker beyond its MAX_CONNS at any moment,
  warm-up included, and for how long. Where the network fails they are counted at the worker's end instead: only the
  network knows that the others are no more, and PostgreSQL finds out at its next look. Where logins are slow, those
  that log in are counted too, all workers together.
- **slots lost**: those that did no work at the end; of `pooldemo` also those that `/pool/` says are taken when nobody
  asks.
- **still running**: queries that PostgreSQL works on {RUNNING_S:g} s after the fault and that nobody waits for.
- **rows**, **wrong**: requests that were answered with 200, each of which wrote two rows; and those of which the
  ledger then has not exactly these two, or of any other request one or a double.

The stock library is the faster one wherever it is above its cap: it uses more connections than it was given. Where it
keeps to the cap after the fault, and loses no slot, `never` says no more than that. In `rotate` it has the password
that stood in the file when its worker began, for it takes no callable; `pooldemo` is given one that reads the file.

## The faults

{abouts}

## Conditions

{WORKERS} gunicorn workers with gevent, MAX_CONNS {SIZE} each, POOL_TIMEOUT {POOL_TIMEOUT_S} s (the stock library has
none); {USERS} users of Locust, each request a write of {MS:g} ms on a connection of its own, half of them in a
transaction of two statements; after a failure a user rests for 0.2 s. A PostgreSQL of the run's own on a unix socket
(through a proxy on loopback where the network fails), every server started afresh for each fault.

Commit {conditions.commit}; {conditions.machine}, {conditions.cpus} cores; {versions}.
"""
