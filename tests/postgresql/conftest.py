"""Runs the tests that are marked as `elsewhere`, a module at a time, and tells each its outcome."""

from collections.abc import Callable

import pytest

from .elsewhere import OURS, Elsewhere, Job, run

Runner = Callable[[Job], dict[str, str]]


@pytest.fixture(scope="session")
def run_once() -> Runner:
    """`run`, each job once: the tests of a module share a process."""
    outcomes: dict[Job, dict[str, str]] = {}

    def once(job: Job) -> dict[str, str]:
        if job not in outcomes:
            outcomes[job] = run(job)
        return outcomes[job]

    return once


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
