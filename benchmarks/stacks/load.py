"""Every stack under the same load, interleaved: two sweeps of one size, and what of them goes into the table."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.sweeps import Load
from pooldemo.sweep import stacks

SIZE = 10
# Ours in its other mode does the same under these loads; README.md shows both where they differ.
LEFT_OUT = ("pooldemo-transaction",)
NAMES = [name for name in stacks.names() if name not in LEFT_OUT]

LOADS = (
    Load("slow", users=200, sizes=str(SIZE), warmup_s=2, duration_s=5, repeats=2, stack=",".join(NAMES), ms=50),
    Load("fast", users=50, sizes=str(SIZE), warmup_s=1, duration_s=2, repeats=3, stack=",".join(NAMES)),
)


def disturbed(document: Mapping[str, Any]) -> int:
    """In how many trials something else took a good part of the machine."""
    return sum(any(warning["code"] == "other-load" for warning in trial["warnings"]) for trial in document["trials"])


def rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each stack: medians over its repeats, failures and connections over all of them."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for trial in document["trials"]:
        found.setdefault(trial["stack"], []).append(trial)
    return [_row(name, trials) for name, trials in found.items()]


def _row(name: str, trials: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    ran = [trial for trial in trials if not trial["error"]]
    if not ran:
        return {"stack": name, "error": trials[0]["error"]}
    requests = sum(trial["requests"] for trial in ran)
    messages: dict[str, int] = {}
    for trial in ran:
        for message, number in trial["failures_by_message"].items():
            messages[message] = messages.get(message, 0) + number
    p50_ms, p99_ms = _median(ran, "p50_ms"), _median(ran, "p99_ms")
    return {
        "stack": name,
        "rps": _median(ran, "rps"),
        "rps_low": min(trial["rps"] for trial in ran),
        "rps_high": max(trial["rps"] for trial in ran),
        "p50_ms": p50_ms,
        "p99_ms": p99_ms,
        "p99_to_p50": p99_ms / p50_ms if p50_ms and p99_ms else None,
        "failed": sum(trial["failures"] for trial in ran) / requests if requests else None,
        "failures": max(messages, key=lambda message: messages[message]) if messages else "",
        "peak_connections": max(trial["peak_connections"] for trial in ran),
        "cpu_ms": 1000 * sum(trial["server_cpu"] * trial["window_s"] for trial in ran) / requests if requests else None,
        "postgresql_cpu": _median(ran, "postgresql_cpu"),
        "generator_cpu": max(trial["generator_cpu"] for trial in ran),
        "warnings": sorted({warning["code"] for trial in ran for warning in trial["warnings"]}),
    }


def _median(trials: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [trial[name] for trial in trials if trial[name] is not None]
    return statistics.median(values) if values else None
