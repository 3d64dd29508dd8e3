"""Runs the subjects round by round, one after the other, so that whatever else the machine does meets all of them."""

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
OURS = sys.prefix  # whatever its name is
ENVIRONMENTS: Mapping[str, str] = {
    "pooldemo": OURS,
    "waiters": OURS,
    "gevent's queue": OURS,
    "django-db-geventpool": OURS,
    "psycopg_pool": ".venv-psycopg3",
    "DBUtils": ".venv-peers",
    "SQLAlchemy": ".venv-peers",
}

Medians = dict[str, dict[str, float]]


def available(name: str) -> bool:
    """Whether the environment of this subject has been made: `make peers` makes those of the others."""
    return (ROOT / ENVIRONMENTS[name] / "bin" / "python").exists()


def run(names: Iterable[str], rounds: int) -> Medians:
    """The median of each thing measured, in microseconds, by subject. Raises RuntimeError when one ends early."""
    found: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in names}
    children = {name: _start(name) for name in found}
    try:
        for _ in range(rounds):
            for name, child in children.items():
                for what, microseconds in _ask(name, child).items():
                    found[name][what].append(microseconds)
    finally:
        for child in children.values():
            child.kill()
            child.communicate()
    return {name: {what: median(each) for what, each in seen.items()} for name, seen in found.items()}


def _start(name: str) -> "subprocess.Popen[str]":
    python = ROOT / ENVIRONMENTS[name] / "bin" / "python"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [str(python), "-m", "benchmarks.pool.subjects", name]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _ask(name: str, child: "subprocess.Popen[str]") -> dict[str, float]:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("\n")
    child.stdin.flush()
    line = child.stdout.readline()
    if not line:
        raise RuntimeError(f"{name}: ended before its round did; its error stands above")
    answer: dict[str, float] = json.loads(line)
    return answer
