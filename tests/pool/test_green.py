"""The contract with greenlets: each test of this folder once more, in a process that gevent has patched."""

import ast
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NOT_HERE = {Path(__file__), HERE / "test_cost.py"}  # what it costs is measured in patched processes already
FILES = [*sorted(set(HERE.glob("test_*.py")) - NOT_HERE), *sorted(HERE.glob("green_*.py"))]


def names(path: Path) -> list[str]:
    """`file::test` of each test in it."""
    return [
        f"{path.stem}::{node.name}"
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


@pytest.fixture(scope="session")
def green(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The failures of each test under gevent; one that did not run is absent."""
    report = tmp_path_factory.mktemp("green") / "report.xml"
    files = [str(path.relative_to(ROOT)) for path in FILES]
    command = [sys.executable, "-m", "tests.pool.run_green", f"--junitxml={report}", *files]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=600 + 2 * float(os.environ.get("POOL_STRESS_S") or 1)
    )
    assert report.exists(), done.stdout + done.stderr
    outcomes: dict[str, list[str]] = {}
    for case in ET.parse(report).iter("testcase"):
        name = f"{case.attrib['classname'].split('.')[-1]}::{case.attrib['name'].split('[')[0]}"
        failures = outcomes.setdefault(name, [])
        failures += [f"{case.attrib['name']}: {problem.tag}\n{problem.text}" for problem in case]
    return outcomes


@pytest.mark.parametrize("name", [name for path in FILES for name in names(path)])
def test_it_does_the_same_with_greenlets(green, name):
    assert name in green, "it did not run"
    assert not green[name], "\n".join(green[name])
