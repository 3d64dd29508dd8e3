"""The shape of the code: each module is one noun, and imports point one way (docs/design.md, "Layout").

Which way stands in pyproject.toml, as import-linter's contracts with their reasons; here each is seen to bite, in a
copy of the code with one bad import.
"""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 400
GENERATOR = ("pooldemo.sweep.workloads", "pooldemo.sweep.generator")
PACKAGES = ("pooldemo", "project", "peers", "benchmarks")
ALLOWED = {"locustfile.py": ("locust", *GENERATOR), "pooldemo/sweep/generator/options.py": GENERATOR}
STANDARD_ALONE = ("pooldemo/pool/", "pooldemo/sweep/workloads.py", "pooldemo/sweep/generator/", "locustfile.py")

Sources = Mapping[str, str]


def strangers(path: str, source: str) -> Iterator[str]:
    """What `source` imports, anywhere in it, that is neither Python's own nor what it may import of ours."""
    for node in ast.walk(ast.parse(source, path)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = ["." * node.level + (node.module or "")] if node.level != 1 else []
        for name in names:
            own = name.startswith(ALLOWED.get(path, "pooldemo.pool"))
            if not own and name.split(".")[0] not in sys.stdlib_module_names:
                yield name


def misread(path: str, source: str) -> Iterator[str]:
    """The patterns in `source` that Python before 3.11.5 reads wrongly, Debian's 3.11.2 too: those with a possessive
    quantifier or an atomic group. It goes on in the midst of what they refused."""
    for node in ast.walk(ast.parse(source, path)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name("re")), args=[ast.Constant(str(pattern)), *_]):
                if re.search(r"[*+?}]\+|\(\?>", re.sub(r"\\.|\[\^?\]?(?:\\.|[^]\\])*\]", "x", pattern)):
                    yield pattern


def offences(sources: Sources) -> list[str]:
    """What import-linter cannot say, as `path: what is wrong`, sorted by path."""
    found = []
    for path, source in sorted(sources.items()):
        if path.startswith(STANDARD_ALONE):
            found += [f"{path}: imports {name}: the standard library alone" for name in strangers(path, source)]
        if (lines := len(source.splitlines())) > (most := MAX_LINES):
            found.append(f"{path}: {lines} lines: a module is one noun, at most {most} lines")
        found += [f"{path}: {pattern}: misread by Python 3.11.2" for pattern in misread(path, source)]
        if path == "pooldemo/__init__.py" and source.strip():
            found.append(f"{path}: not empty: the ENGINE is imported before apps load")
    return found


def checkout() -> dict[str, str]:
    """Every Python file of this checkout that is ours, by its path from the root."""
    files = [*ROOT.glob("*.py"), *(file for folder in (*PACKAGES, "tests") for file in (ROOT / folder).rglob("*.py"))]
    return {file.relative_to(ROOT).as_posix(): file.read_text() for file in files}


def contracts(folder: Path) -> str:
    """What import-linter says of the code in `folder`; empty when every contract is kept."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    done = subprocess.run([*command, "--no-cache", "--no-logo"], cwd=folder, capture_output=True, text=True)
    return done.stdout + done.stderr if done.returncode else ""


def test_its_modules_are_one_noun_each() -> None:
    assert offences(checkout()) == []


def test_its_imports_point_one_way() -> None:
    assert contracts(ROOT) == ""


@pytest.mark.parametrize(
    ("path", "source", "why"),
    [
        ("pooldemo/pool/core.py", "import gevent", "standard library alone"),
        ("pooldemo/pool/core.py", "def later():\n    from django.db import connection", "standard library alone"),
        ("pooldemo/pool/core.py", "from ..sweep import plan", "standard library alone"),
        ("locustfile.py", "import requests", "standard library alone"),
        ("locustfile.py", "from pooldemo.sweep import plan", "standard library alone"),
        ("pooldemo/pool/core.py", "\n" * 401, "401 lines"),
        ("pooldemo/__init__.py", "import os", "not empty"),
        ("pooldemo/sites.py", 're.compile(r"(?:a|[^]+]b++)*c")', "misread"),
        ("pooldemo/sites.py", 're.sub("(?>a|ab)c", "", text)', "misread"),
    ],
)
def test_it_notices_a_broken_rule(path: str, source: str, why: str) -> None:
    (offence,) = offences({path: source})
    assert offence.startswith(f"{path}: ")
    assert why in offence


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("pooldemo/pool/core.py", "import threading\nfrom .options import Options\nfrom pooldemo.pool import stats"),
        ("locustfile.py", "import os\nfrom locust import FastHttpUser"),
        ("pooldemo/sites.py", 're.compile(r"[*+]+\\++")'),
    ],
)
def test_it_allows_the_standard_library(path: str, source: str) -> None:
    assert offences({path: source}) == []


WRONG_WAY = {  # a line for a module, and the arrow that import-linter then names
    "pooldemo/demo/front.py": ("from project import secret", "pooldemo.demo.front -> project.secret"),
    "pooldemo/monitor/overview.py": ("from peers import common", "pooldemo.monitor.overview -> peers.common"),
    "pooldemo/another.py": ("", "- pooldemo.another"),
    "pooldemo/postgresql/base.py": ("from pooldemo import models", "pooldemo.postgresql.base -> pooldemo.models"),
    "pooldemo/models.py": ("from pooldemo.sweep import plan", "pooldemo.models -> pooldemo.sweep.plan"),
    "pooldemo/pool/slots.py": ("import gevent", "pooldemo.pool.slots -> gevent"),
    "pooldemo/pool/report.py": ("from .slots import Slots", "pooldemo.pool.report -> pooldemo.pool.slots"),
    "pooldemo/sweep/stacks/geventpool.py": ("import django", "pooldemo.sweep.stacks.geventpool -> django"),
    "pooldemo/sweep/analyse/knee.py": (
        "from pooldemo.sweep.report import charts",
        "pooldemo.sweep.analyse.knee -> pooldemo.sweep.report.charts",
    ),
    "pooldemo/sweep/report/charts.py": (
        "def later():\n    from pooldemo.sweep.measure import run",
        "pooldemo.sweep.report.charts -> pooldemo.sweep.measure.run",
    ),
    "pooldemo/demo/views.py": (
        "from pooldemo.sweep.measure import load",
        "pooldemo.demo.views -> pooldemo.sweep.measure.load",
    ),
    "peers/upool.py": ("from pooldemo.pool import Pool", "peers.upool -> pooldemo.pool"),
    "project/secret.py": ("from project import settings", "- .settings -> .secret"),
}


def test_it_notices_an_import_that_points_the_wrong_way(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "static"))
    for path, (line, _) in WRONG_WAY.items():
        with (tmp_path / path).open("a") as file:
            file.write(f"\n{line}\n")
    said = contracts(tmp_path)
    table, _, details = said.partition("Broken contracts")
    assert " KEPT" not in table, table
    assert [arrow for _, arrow in WRONG_WAY.values() if arrow not in details] == [], details


def test_locust_is_imported_by_its_own_files_alone(tmp_path: Path) -> None:
    """Importing it monkey-patches the process."""
    (tmp_path / "page.py").write_text('"""A page."""\n\nfrom locust import HttpUser\n\nprint(HttpUser)\n')
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--config",
        str(ROOT / "pyproject.toml"),
        "--select",
        "TID251",
        ".",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "`locust` is banned: importing it monkey-patches the process" in done.stdout
