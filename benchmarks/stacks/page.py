"""The measured facts in docs/data/stacks.json, and the tables of docs/stacks.md made from them. Pure but for two files.

The page's words are written by hand; a table stands between its two markers.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import markdown
from benchmarks.stacks.behaviour import CROWD, SLOTS
from benchmarks.stacks.bursts import told
from benchmarks.stacks.load import LEFT_OUT, LOADS, SIZE, disturbed, rows
from benchmarks.sweeps import Load
from pooldemo.sweep import stacks
from pooldemo.sweep.report.lines import to_lines
from pooldemo.sweep.stacks.stack import ROOT

DATA, PAGE = ROOT / "docs" / "data" / "stacks.json", ROOT / "docs" / "stacks.md"
GENERATOR_BUSY = 0.9  # cores; from here on the load generator sets the pace


def store(
    documents: Mapping[str, Mapping[str, Any]],
    behaviour: Sequence[Mapping[str, Any]],
    burst: Sequence[Mapping[str, Any]],
) -> None:
    """Keep what the page shows; `documents` are the sweeps' --json by workload."""
    facts: dict[str, Any] = {
        "conditions": next(iter(documents.values()))["sweep"]["conditions"],
        "loads": {
            workload: {
                "plan": _plan(document["sweep"]),
                "trials": len(document["trials"]),
                "disturbed": disturbed(document),
                "rows": sorted(rows(document), key=_place),
            }
            for workload, document in documents.items()
        },
        "behaviour": sorted(behaviour, key=_place),
        "burst": burst,
    }
    DATA.parent.mkdir(exist_ok=True)
    DATA.write_text(to_lines(facts))


def write() -> None:
    """Put the tables into the page."""
    PAGE.write_text(with_tables(PAGE.read_text(), json.loads(DATA.read_text())))


def with_tables(text: str, facts: Mapping[str, Any]) -> str:
    """`text` with each of its tables made again from `facts`."""
    tables = {load.workload: load_table(facts["loads"][load.workload]) for load in LOADS}
    tables |= {
        "about": about_table(),
        "behaviour": behaviour_table(facts["behaviour"]),
        "burst": burst_table(facts["burst"]),
        "conditions": conditions(facts["conditions"], facts["loads"]),
    }
    return markdown.with_tables(text, tables, "make stacks")


def load_table(load: Mapping[str, Any]) -> str:
    body = [_load_row(row) for row in load["rows"]]
    head = (
        "stack",
        "requests/s",
        "low-high",
        "p50 ms",
        "p99 ms",
        "p99 / p50",
        "failed",
        "connections",
        "CPU ms / request",
    )
    return markdown.table(head, body)


def _load_row(row: Mapping[str, Any]) -> list[str]:
    if "error" in row:
        return [_name(row["stack"]), f"did not run: {row['error']}", *[""] * 7]
    capped = stacks.get(row["stack"]).capped
    peak = row["peak_connections"]
    seen = f"{peak} of {SIZE}" if capped else f"{peak}, no limit"
    busy = "+" if row["generator_cpu"] >= GENERATOR_BUSY else ""
    failed = f"{row['failed']:.1%} {row['failures']}" if row["failed"] else "0"
    return [
        _name(row["stack"]),
        _digits(row["rps"]) + busy,
        f"{_digits(row['rps_low'])}-{_digits(row['rps_high'])}",
        _digits(row["p50_ms"]),
        _digits(row["p99_ms"]),
        "-" if row["p99_to_p50"] is None else f"{row['p99_to_p50']:.2f}",
        failed,
        f"**{seen}**" if capped and peak > SIZE else seen,
        "-" if row["cpu_ms"] is None else f"{row['cpu_ms']:.2f}",
    ]


def behaviour_table(seen: Sequence[Mapping[str, Any]]) -> str:
    head = (
        "stack",
        f"cold, {CROWD} at once: connections",
        "full: the next request",
        f"the {SLOTS} held connections die: {SLOTS} who wait",
        "slots left",
        f"restart: {2 * SLOTS} requests after it",
        "slots left",
        "time zone",
    )
    return markdown.table(head, [_behaviour_row(row) for row in seen])


def _behaviour_row(row: Mapping[str, Any]) -> list[str]:
    capped = stacks.get(row["stack"]).capped
    cold = f"{row['cold_peak']}" + ("" if set(row["cold"]) == {"ok"} else f"; {_outcomes(row['cold'])}")
    full = f"served after {row['full_s']:g} s" if row["full"] == "ok" else f"{row['full']} after {row['full_s']:g} s"
    zone = row["zone"] if not row["hours_wrong"] else f"{row['zone']}: now() is **{row['hours_wrong']:+d} h** wrong"
    return [
        _name(row["stack"]),
        f"**{cold}**" if capped and row["cold_peak"] > SLOTS else cold,
        full,
        _outcomes(row["waiters"]),
        f"{row['left_after_deaths']}",
        _outcomes(row["after_restart"]),
        f"{row['left_after_restart']}",
        zone,
    ]


def burst_table(bursts: Sequence[Mapping[str, Any]]) -> str:
    head = ("stack", "requests at once", "answered", "failed")
    body = [[_name(row["stack"]), str(row["requests"]), told(row["waves"]), str(row["failed"])] for row in bursts]
    return markdown.table(head, body)


def about_table() -> str:
    return markdown.table(
        ("stack", "what it is, what is known of it"), [[_name(n), stacks.get(n).about] for n in (*ORDER, *LEFT_OUT)]
    )


def conditions(facts: Mapping[str, Any], loads: Mapping[str, Mapping[str, Any]]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return (
        f"Commit {facts['commit']}; {facts['machine']}, {facts['cpus']} cores; {versions}; "
        f"max_connections {facts['max_connections']}. {'; '.join(_told(load, loads[load.workload]) for load in LOADS)}."
    )


def _told(load: Load, measured: Mapping[str, Any]) -> str:
    ms = f" of {load.ms} ms" if load.ms else ""
    return (
        f"`{load.workload}`{ms}: {load.users} users, size {SIZE}, one worker, {load.repeats} repeats of "
        f"{load.duration_s} s after {load.warmup_s} s of warm-up, in a seeded random order, a fresh server for each; "
        f"something else kept this machine busy in {measured['disturbed']} of {measured['trials']} trials"
    )


# Ours, this site over other pools, systems that are no Django, and a rival that is none either.
ORDER = (
    "pooldemo", "pooldemo-psycopg3", "pgbouncer-pooldemo", "geventpool", "queuepool", "psycopg-pool", "gthread",
    "pgbouncer", "per-request", "persistent", "flask-sqlalchemy", "sqlalchemy-async", "upool", "connect-each",
    "global-lock", "dbutils-persistent", "dbutils-pooled", "shared-session", "scoped-session", "asyncpg",
)  # fmt: skip


def _place(row: Any) -> int:
    return ORDER.index(row["stack"])


def _plan(sweep: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in sweep.items() if name not in ("conditions", "id", "stacks")}


def _name(stack: str) -> str:
    return f"**{stack}**" if stack.startswith("pooldemo") else stack


def _outcomes(counted: Mapping[str, int]) -> str:
    ok = counted.get("ok", 0)
    failed = ", ".join(f"{number} {kind}" for kind, number in counted.items() if kind != "ok")
    return f"{ok} of {sum(counted.values())}" + (f"; {failed}" if failed else "")


def _digits(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{float(f'{value:.3g}'):,g}"
