"""Imports point one way (docs/design.md, "Shape"), and each module is one noun of at most 400 lines.

`offences` is a pure function from {path: source} to sentences. The first test feeds it this checkout, the others bad
modules, so that each rule is seen to bite.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 400
OURS = ("pooldemo", "project", "peers", "tests", "benchmarks")

Sources = Mapping[str, str]


def module_name(path: str) -> str:
    """`pooldemo/pool/__init__.py` is `pooldemo.pool`, `locustfile.py` is `locustfile`."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports(path: str, source: str) -> Iterator[str]:
    """Every module that `source` imports, anywhere in it: absolute dotted names, each `from a import b` as `a.b`."""
    package = module_name(path).split(".")
    if not path.endswith("/__init__.py"):
        package.pop()
    for node in ast.walk(ast.parse(source, path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{prefix}.{alias.name}" for alias in node.names)


def at_import(path: str, source: str) -> Iterator[str]:
    """The imports that run when the module is imported: not those inside functions, nor under TYPE_CHECKING."""

    def pruned(body: list[ast.stmt]) -> list[ast.stmt]:
        kept: list[ast.stmt] = []
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                kept += pruned(node.orelse)
                continue
            for field in ("body", "orelse", "finalbody"):
                if isinstance(getattr(node, field, None), list):
                    setattr(node, field, pruned(getattr(node, field)) or [ast.Pass()])
            kept.append(node)
        return kept

    tree = ast.parse(source, path)
    tree.body = pruned(tree.body)
    yield from imports(path, ast.unparse(ast.fix_missing_locations(tree)))


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def standard(name: str) -> bool:
    return name.split(".")[0] in sys.stdlib_module_names


def forbidden(path: str, name: str) -> str:
    """Why the module at `path` may not import `name`; empty when it may."""
    if within(name, "project") and not path.startswith(("project/", "tests/")):
        return "nobody imports project"
    if within(name, "locust") and path not in ("locustfile.py", "benchmarks/chaos/users.py"):
        return "importing locust monkey-patches the process: locustfile.py alone does it, and what Locust loads instead"
    if path == "locustfile.py" and not (standard(name) or within(name, "locust")):
        return "locustfile.py imports locust and the standard library alone"
    if path.startswith("pooldemo/pool/") and not (standard(name) or within(name, "pooldemo.pool")):
        return "pooldemo.pool imports the standard library alone"
    if path.startswith("pooldemo/postgresql/"):
        if within(name, "django.contrib", "django.apps"):
            return "pooldemo.postgresql needs no app: ENGINE works where none of ours is installed"
        if within(name, "django.db.models") or (
            within(name, "pooldemo") and not within(name, "pooldemo.pool", "pooldemo.postgresql")
        ):
            return "pooldemo.postgresql imports the pool, Django's db and the driver"
    if path.startswith("pooldemo/sweep/") and within(name, "django", "pooldemo.models", "pooldemo.postgresql"):
        return "the sweep imports no Django"
    if path.startswith("pooldemo/sweep/analyse/") and within(name, "pooldemo.sweep.measure", "pooldemo.sweep.report"):
        return "analyse never measures and never draws"
    if path.startswith("pooldemo/sweep/report/") and within(name, "pooldemo.sweep.measure"):
        return "report never measures"
    if path == "pooldemo/models.py" and within(name, "pooldemo"):
        return "models knows nobody"
    if path in ("pooldemo/demo/views.py", "pooldemo/demo/urls.py") and within(name, "pooldemo.sweep.measure"):
        return "a page starts no servers and no load"
    if path.startswith("peers/") and within(name, "pooldemo") and not within(name, "pooldemo.sweep.workloads"):
        return "a peer stands on its own: it shares the workloads with what it is compared to, and nothing else"
    return ""


def cycle(sources: Sources) -> list[str]:
    """One import cycle among our modules as a list of names, first and last the same; empty when there is none."""
    names = {module_name(path) for path in sources}

    def resolved(name: str) -> str:
        while name and name not in names:
            name = name.rpartition(".")[0]
        return name

    edges = {
        module_name(path): sorted(
            {target for name in at_import(path, source) if (target := resolved(name))} - {module_name(path)}
        )
        for path, source in sources.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in done:
            return []
        for target in edges[name]:
            # A package's __init__ gathers what its modules define; that a module lies in it is no import of it.
            if found := visit(target, [*trail, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(edges) if (found := visit(name, []))), [])


def offences(sources: Sources) -> list[str]:
    """Every broken rule as `path: what is imported: why not`, sorted by path."""
    found = []
    for path, source in sorted(sources.items()):
        found += [f"{path}: imports {name}: {why}" for name in imports(path, source) if (why := forbidden(path, name))]
        if (lines := len(source.splitlines())) > MAX_LINES:
            found.append(f"{path}: {lines} lines: a module is one noun, at most {MAX_LINES} lines")
        if path == "pooldemo/__init__.py" and source.strip():
            found.append(f"{path}: not empty: the ENGINE is imported before apps load")
    if ring := cycle(sources):
        found.append("a cycle: " + " -> ".join(ring))
    return found


def checkout() -> dict[str, str]:
    """Every Python file of this checkout that is ours, by its path from the root."""
    files = [*ROOT.glob("*.py"), *(file for folder in OURS for file in (ROOT / folder).rglob("*.py"))]
    return {file.relative_to(ROOT).as_posix(): file.read_text() for file in files}


def test_it_imports_one_way() -> None:
    assert offences(checkout()) == []


def test_it_looks_at_the_whole_checkout() -> None:
    assert {"manage.py", "project/settings.py", "tests/test_architecture.py"} <= checkout().keys()
    for folder in ("pooldemo/pool/", "pooldemo/postgresql/", "pooldemo/sweep/analyse/", "pooldemo/sweep/report/"):
        assert any(path.startswith(folder) for path in checkout()), f"{folder} moved: its rule above guards nothing"


@pytest.mark.parametrize(
    ("path", "source", "why"),
    [
        ("pooldemo/pool/core.py", "import gevent", "standard library alone"),
        ("pooldemo/pool/core.py", "def later():\n    from django.db import connection", "standard library alone"),
        ("pooldemo/pool/core.py", "from ..sweep import plan", "standard library alone"),
        ("pooldemo/postgresql/base.py", "from django.contrib.auth.models import User", "needs no app"),
        ("pooldemo/postgresql/base.py", "from django.db import models", "the pool, Django's db and the driver"),
        ("pooldemo/postgresql/base.py", "from pooldemo import models", "the pool, Django's db and the driver"),
        ("pooldemo/postgresql/base.py", "from ..models import Sweep", "the pool, Django's db and the driver"),
        ("pooldemo/sweep/plan.py", "import django", "imports no Django"),
        ("pooldemo/sweep/plan.py", "from pooldemo import models", "imports no Django"),
        ("pooldemo/sweep/analyse/knee.py", "from pooldemo.sweep.measure import run", "never measures"),
        ("pooldemo/sweep/report/charts.py", "from ..measure import run", "never measures"),
        ("pooldemo/sweep/report/charts.py", "from django.utils.html import escape", "imports no Django"),
        ("pooldemo/sweep/workloads.py", "from django.db import connection", "imports no Django"),
        ("pooldemo/sweep/stacks/geventpool.py", "from django.conf import settings", "imports no Django"),
        ("pooldemo/models.py", "from pooldemo.sweep import plan", "models knows nobody"),
        ("pooldemo/models.py", "from . import charts", "models knows nobody"),
        ("pooldemo/demo/views.py", "from project import embedded", "nobody imports project"),
        ("pooldemo/demo/views.py", "from pooldemo.sweep.measure import load", "starts no servers and no load"),
        ("locustfile.py", "import requests", "locust and the standard library alone"),
        ("locustfile.py", "from pooldemo.sweep import plan", "locust and the standard library alone"),
        ("pooldemo/sweep/measure/load.py", "import locust", "locustfile.py alone"),
        ("tests/test_x.py", "def test():\n    from locust import HttpUser", "locustfile.py alone"),
        ("peers/upool.py", "from pooldemo.pool import Pool", "stands on its own"),
        ("pooldemo/pool/core.py", "\n" * 401, "401 lines"),
        ("pooldemo/__init__.py", "import os", "not empty"),
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
        (
            "pooldemo/postgresql/base.py",
            "import psycopg2\nfrom django.db import OperationalError\nfrom pooldemo.pool import Pool",
        ),
        (
            "pooldemo/sweep/measure/load.py",
            "import subprocess\nfrom rich.progress import Progress\nfrom pooldemo import stacks",
        ),
        ("peers/common.py", "from pooldemo.sweep.workloads import WORKLOADS"),
        ("locustfile.py", "import os\nfrom locust import FastHttpUser"),
        ("project/settings.py", "from project import embedded\nfrom pooldemo import stacks"),
        ("tests/project/test_embedded.py", "from project import embedded"),
        ("pooldemo/management/commands/sweep.py", "from pooldemo import models\nfrom pooldemo.sweep import plan"),
    ],
)
def test_it_allows_what_the_design_allows(path: str, source: str) -> None:
    assert offences({path: source}) == []


def test_it_notices_a_cycle() -> None:
    sources = {
        "pooldemo/a.py": "from . import b",
        "pooldemo/b.py": "import pooldemo.c",
        "pooldemo/c.py": "from .a import x",
    }
    assert offences(sources) == ["a cycle: pooldemo.a -> pooldemo.b -> pooldemo.c -> pooldemo.a"]


def test_it_allows_an_import_that_runs_later() -> None:
    later = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import a\ndef f():\n    from . import a"
    assert offences({"pooldemo/a.py": "from . import b", "pooldemo/b.py": later}) == []
