"""Every stack under the same load, interleaved: two sweeps of one size, and what of them goes into the table.

A sweep of half an hour may be cut into pieces: it stops after a trial, its rows are kept, and it goes on where it was.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pooldemo.stacks.stack import ROOT

SIZE = 10


@dataclass(frozen=True)
class Load:
    """One sweep over all stacks. A trial lasts `warmup_s` and `duration_s`; slow needs more of it to see its tail."""

    workload: str
    users: int
    warmup_s: int
    duration_s: int
    repeats: int
    ms: int | None = None

    @property
    def options(self) -> list[str]:
        given = {
            "stack": "all",
            "sizes": SIZE,
            "workload": self.workload,
            "users": self.users,
            "warmup": self.warmup_s,
            "duration": self.duration_s,
            "repeats": self.repeats,
        }
        if self.ms is not None:
            given["ms"] = self.ms
        return [text for name, value in given.items() for text in (f"--{name}", str(value))]


LOADS = (
    Load("slow", users=200, warmup_s=2, duration_s=5, repeats=2, ms=50),
    Load("fast", users=50, warmup_s=1, duration_s=2, repeats=3),
)


def run(load: Load, database_url: str, document: Path, seconds_left: Callable[[], float]) -> bool:
    """Run what is left of the sweep; whether it is complete. `document` is its --json. Blocks, for so long at most.

    Raises RuntimeError when the sweep ends otherwise than done or interrupted.
    """
    before = json.loads(document.read_text())["sweep"] if document.exists() else {"status": ""}
    if before["status"] == "done":
        return True
    options = ["--resume", str(before["id"])] if before["status"] == "interrupted" else load.options
    command = [sys.executable, "manage.py", "sweep", *options, "--json", str(document)]
    # A session of its own: one Ctrl-C must reach it once, the second would stop it at once.
    sweep = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"DATABASE_URL": database_url}, start_new_session=True)
    try:
        sweep.wait(seconds_left())
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        sweep.send_signal(signal.SIGINT)
        sweep.wait()
    status = json.loads(document.read_text())["sweep"]["status"] if document.stat().st_size else "without a result"
    if status not in ("done", "interrupted"):
        raise RuntimeError(f"the sweep of {load.workload} ended {status}, exit code {sweep.returncode}")
    return bool(status == "done")


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
