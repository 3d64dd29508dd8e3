"""Runs the tests that are marked as `elsewhere`, a module at a time, and tells each its outcome."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path

import pytest
from forks import Forks, Run

from .elsewhere import OURS, TESTS, Elsewhere, Job

Runner = Callable[[Job], dict[str, str]]
PATIENCE_S = 900.0  # for all tests of a module


def interpreter(folder: Path, patched: bool) -> Forks:
    """What all jobs fork from that are patched, or are not: it has imported what they need, but none of ENGINEs and of
    our pool."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment["PYTHONPATH"] = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    before = "from gevent import monkey; monkey.patch_all()\n" if patched else ""
    before += "import django.db.backends.postgresql.base, django.test, pytest, postgresql.site"
    return Forks(folder, before, "-W", "error::ResourceWarning", environment=environment, limit_s=PATIENCE_S)


def run(job: Job, interpreter: Forks) -> dict[str, str]:
    """The failures by test, empty when it passed. Blocks until the process has ended."""
    code = "from postgresql.elsewhere import main; main()"
    [done] = interpreter.run(Run(code, ("elsewhere", json.dumps(asdict(job))), TESTS))
    outcomes: dict[str, str] = {}
    for line in done.stdout.splitlines():
        with contextlib.suppress(ValueError):
            outcomes |= json.loads(line)
    crash = (
        f"the process ended with {done.returncode} before this test did:\n{done.stdout[-1000:]}{done.stderr[-3000:]}"
    )
    return {name: outcomes.get(name, crash) for name in job.names}


@pytest.fixture(scope="session")
def run_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """`run`, each job once: the tests of a module share a process."""
    with contextlib.ExitStack() as running:

        @cache
        def forks(patched: bool) -> Forks:
            return running.enter_context(interpreter(tmp_path_factory.mktemp("elsewhere"), patched))

        yield cache(lambda job: run(job, forks(job.patched)))


@pytest.fixture
def outcome(request: pytest.FixtureRequest, postgresql: str, run_once: Runner) -> Callable[[], str]:
    """Asks how the test that wants it went: its failure's text, or nothing."""

    def ask() -> str:
        chosen: Elsewhere = request.function.elsewhere
        names = [
            item.function.__name__
            for item in request.session.items
            if isinstance(item, pytest.Function)
            and item.module is request.module
            and getattr(getattr(item.function, "elsewhere", None), "patched", None) == chosen.patched
        ]
        job = Job(request.module.__name__, tuple(names), chosen.patched, OURS, postgresql)
        return run_once(job)[request.function.__name__]

    return ask
