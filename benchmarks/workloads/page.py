"""The measured sweeps in docs/data/workloads.json, and the tables of docs/workloads.md made from them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks import markdown
from benchmarks.sweeps import Load
from pooldemo.sweep.analyse.statistics import digits
from pooldemo.sweep.analyse.theory import bound
from pooldemo.sweep.report.lines import to_lines
from pooldemo.sweep.stacks.stack import ROOT
from pooldemo.sweep.workloads import WORKLOADS

DATA, PAGE = ROOT / "docs" / "data" / "workloads.json", ROOT / "docs" / "workloads.md"
USERS, SIZES = 32, (1, 2, 4, 8, 16, 32)
LENGTHS = {
    "slow": {"ms": 50},
    "cpu": {"ms": 100},
    "lock": {"ms": 50},
    "hold": {"ms": 20, "think_ms": 50},
    "think": {"ms": 5, "think_ms": 50},
}


def _load(workload: str, seed: int) -> Load:
    warmup_s, duration_s = (3, 6) if workload == "mix" else (1, 3)  # the lock's queue in it takes seconds to fill
    # Where a core is full, whatever else the machine does shows: more repeats.
    repeats = 6 if workload in ("read", "write", "fast") else 3
    length = LENGTHS.get(workload, {})
    return Load(
        workload,
        USERS,
        ",".join(map(str, SIZES)),
        warmup_s,
        duration_s,
        repeats=repeats,
        ms=length.get("ms"),
        think_ms=length.get("think_ms"),
        seed=seed,
    )


LOADS = tuple(_load(workload, seed) for seed in (1, 2) for workload in (*WORKLOADS, "mix"))


def store(folder: Path) -> None:
    """Keep what the page shows of the sweeps' --json in `folder`."""
    documents = [json.loads((folder / f"{load.workload}-{load.seed}.json").read_text()) for load in LOADS]
    facts = {"conditions": documents[0]["sweep"]["conditions"], "sweeps": [_facts(each) for each in documents]}
    DATA.write_text(to_lines(facts))


def _facts(document: Mapping[str, Any]) -> dict[str, Any]:
    sweep, (verdict,) = document["sweep"], document["verdicts"]
    by_size = {size: [trial for trial in document["trials"] if trial["size"] == size] for size in SIZES}
    carried = {each["size"]: each for each in document["sizes"]}  # as the verdict counts it: outliers are left out
    return {
        **{name: sweep[name] for name in ("workload", "ms", "think_ms", "seed", "warmup_s", "duration_s", "repeats")},
        "commit": sweep["conditions"]["commit"],
        **{name: [carried[size][name] for size in SIZES] for name in ("rps", "rps_low", "rps_high")},
        "hold_ms": [_mean(trials, "hold_mean_ms") for trials in by_size.values()],
        "disturbed": sum(any(w["code"] == "other-load" for w in trial["warnings"]) for trial in document["trials"]),
        **{name: verdict[name] for name in ("shape", "max_conns", "because")},
    }


def _mean(trials: Sequence[Mapping[str, Any]], name: str) -> float | None:
    known = [trial[name] for trial in trials if trial[name] is not None]
    return fmean(known) if known else None


def write() -> None:
    """Put the tables into the page."""
    PAGE.write_text(with_tables(PAGE.read_text(), json.loads(DATA.read_text())))


def with_tables(text: str, facts: Mapping[str, Any]) -> str:
    """`text` with each of its tables made again from `facts`."""
    first, again = ([each for each in facts["sweeps"] if each["seed"] == seed] for seed in (1, 2))
    tables = {
        "about": about_table(),
        "verdicts": verdicts_table(first, again),
        "words": words(first, again),
        "bound": bound_table(next(each for each in first if each["workload"] == "slow")),
        "conditions": conditions(facts),
    }
    return markdown.with_tables(text, tables, "make workloads")


def about_table() -> str:
    body = [[f"`{each.name}`", each.does, each.limited_by] for each in WORKLOADS.values()]
    return markdown.table(("workload", "what a request does", "what limits it"), body)


def verdicts_table(first: Sequence[Mapping[str, Any]], again: Sequence[Mapping[str, Any]]) -> str:
    body = [
        [f"`{one['workload']}`", *_carried(one), told(one), told(other)]
        for one, other in zip(first, again, strict=True)
    ]
    return markdown.table(("requests/s at size", *map(str, SIZES), "verdict", "the same again"), body)


def _carried(sweep: Mapping[str, Any]) -> list[str]:
    rows = zip(sweep["rps"], sweep["rps_low"], sweep["rps_high"], strict=True)
    return [digits(rps, high - low) for rps, low, high in rows]


def words(first: Sequence[Mapping[str, Any]], again: Sequence[Mapping[str, Any]]) -> str:
    """What the verdicts said; of the second ones only what was another verdict."""
    lines = []
    for one, other in zip(first, again, strict=True):
        lines.append(f"- `{one['workload']}`: {one['because']}")
        if told(one) != told(other):
            lines.append(f"- `{one['workload']}`, again: {other['because']}")
    return "\n".join(lines)


def told(sweep: Mapping[str, Any]) -> str:
    return sweep["shape"] + (f" at {sweep['max_conns']}" if sweep["shape"] in ("knee", "rising") else "")


def bound_table(slow: Mapping[str, Any]) -> str:
    body = []
    for size, rps, hold_ms, most in zip(SIZES, slow["rps"], slow["hold_ms"], bounds(slow), strict=True):
        body.append([str(size), digits(rps), digits(hold_ms), digits(most), f"{100 * (rps / most - 1):+.1f}%"])
    return markdown.table(("size", "requests/s", "hold ms", "bound", "off"), body)


def bounds(slow: Mapping[str, Any]) -> list[float]:
    """The most that each size can carry, by the hold that was measured there."""
    return [bound(size, 1, USERS, hold_ms).rps for size, hold_ms in zip(SIZES, slow["hold_ms"], strict=True)]


def conditions(facts: Mapping[str, Any]) -> str:
    about, sweeps = facts["conditions"], facts["sweeps"]
    commits = ", ".join(dict.fromkeys(each["commit"] for each in sweeps))
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lengths = "; ".join(
        f"`{name}` of {' + '.join(f'{ms} ms' for ms in length.values())}" for name, length in LENGTHS.items()
    )
    trials = sum(each["repeats"] for each in sweeps) * len(SIZES)
    return (
        f"Commit {commits}; {about['machine']}, {about['cpus']} cores; {versions}. {USERS} users, one worker, 3 to 6 "
        f"repeats; {lengths}. Something else kept this machine busy in {sum(each['disturbed'] for each in sweeps)} of "
        f"{trials} trials."
    )
