"""One source for each fact: in a copy one of each is added by one entry, and whoever lists them knows it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("pooldemo", "project", "peers", "benchmarks")

ADDED = {  # a place in a file, and the one entry that stands before it afterwards
    "pooldemo/sweep/workloads.py": (
        '        Workload(\n            "cpu",',
        'Workload("nap", "it naps", "the bed", slow, {"ms": 7.0}, weight=3),\n',
    ),
    "pooldemo/pool/options.py": (
        "    @classmethod\n    def read",
        '    max_naps: int = _option(0, "naps", "a whole number", "naps allowed", _count(0))\n\n',
    ),
    "pooldemo/sweep/report/formats.py": (
        '        Format("csv"',
        'Format("haiku", "three lines", "text/plain", lambda sweep: "no pool is like it\\n"),\n',
    ),
    "pooldemo/sweep/report/figures.py": (
        '    found |= {"latency": latency(sweep)}',
        '    found["nap"] = replace(throughput(sweep), title="Naps")\n',
    ),
    "pooldemo/monitor/conventions.py": (
        '    Number("max"',
        'Number("naps", "{nap}", "Naps taken.", _stat("pool_max")),\n',
    ),
}
CHANGED = {"pooldemo/sweep/facts/asked.py": ("MARGIN = 5.0", "MARGIN = 7.5")}
STACK, MADE_FROM = "pooldemo/sweep/stacks/nap.py", "pooldemo/sweep/stacks/gthread.py"


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the copy says."""
    copy = tmp_path_factory.mktemp("copy")
    for name in COPIED:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "static"))
    for name in ("locustfile.py", "docs/data/slow.json"):
        shutil.copy(ROOT / name, copy)
    for path, (place, entry) in ADDED.items():
        edit(copy / path, place, f"{entry}{place}")
    for path, (old, new) in CHANGED.items():
        edit(copy / path, old, new)
    (copy / STACK).write_text((copy / MADE_FROM).read_text().replace('"gthread"', '"nap"'))
    env = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "project.settings", "PYTHONPATH": str(copy)}
    command = [sys.executable, "-W", "ignore", str(ROOT / "tests" / "one_of_each.py")]
    done = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, (file, old)
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("who", "knows"),
    {
        "the site": True,
        "sweep --help": [True] * 4,
        "the load in words": "nap 100 ms, 16 users",
        "the docs": True,
        "Locust": [True, [3]],
        "each stack": [True] * 3,
        "the options": [2, True],
        "the margin": [7.5, 7.5, ["at most 7.5% less"]],
        "the formats": "no pool is like it\n",
        "the figures": [True, True],
        "Prometheus and OpenTelemetry": [True, True],
    }.items(),
)
def test_it_knows_what_was_added_by_one_entry(answers: dict[str, Any], who: str, knows: object) -> None:
    assert answers[who] == knows


def test_the_connections_that_a_server_has_left_are_asked_for_and_subtracted_in_one_place() -> None:
    """The sweep took a size that `check` refused: it did not know of the limits of the role and the database."""
    texts = {path.relative_to(ROOT / "pooldemo").as_posix(): path.read_text() for path in ROOT.glob("pooldemo/**/*.py")}
    asks = [name for name, text in texts.items() if "current_setting('superuser_reserved_connections')" in text]
    subtracts = [name for name, text in texts.items() if re.search(r"\.max_connections - [\w.]*reserved", text)]
    assert asks == ["postgresql/room.py"]
    assert sorted(subtracts) == ["postgresql/room.py", "sweep/facts/seen.py"], "the latter of documents that lack it"
