"""Tests that run elsewhere: under gevent's monkey patch, which pytest's own process must never see.

`@patched` marks a test whose body runs in a patched process of its own, with a `Site` to talk to; `@threaded` one in a
process without gevent. All chosen tests of a module share one process: Django and PostgreSQL are set up once. The same
body can be pointed at another ENGINE, which is how a promise is seen to be broken there.
"""

import contextlib
import importlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

OURS = "pooldemo.postgresql"
STOCK = "django_db_geventpool.backends.postgresql_psycopg2"
TESTS = Path(__file__).resolve().parents[1]
LIMIT_S = 120.0  # a test that hangs has broken its promise; so long, because the machine may do ten other things
HANG_S = 1.0  # enough where the stock library is known to hang: if it did not, the test would fail for that


@dataclass(frozen=True)
class Job:
    """What one process is to run. `url` is the database's, `engine` Django's ENGINE."""

    module: str
    names: tuple[str, ...]
    patched: bool
    engine: str
    url: str


class Elsewhere:
    """A test whose `body` runs in another process. `breaks`: a pattern of how it fails on the stock library."""

    def __init__(self, body: Callable[..., None], patched: bool, breaks: str) -> None:
        self.body, self.patched, self.breaks = body, patched, breaks


def _marker(patched: bool, breaks: str = "") -> Callable[[Callable[..., None]], Callable[..., None]]:
    def mark(body: Callable[..., None]) -> Callable[..., None]:
        def test(outcome: Callable[..., str]) -> None:
            failure = outcome()
            assert not failure, failure

        test.__name__, test.__doc__, test.__module__ = body.__name__, body.__doc__, body.__module__
        test.elsewhere = Elsewhere(body, patched, breaks)  # type: ignore[attr-defined]
        return test

    return mark


patched, threaded = _marker(True), _marker(False)


def promise(breaks: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A patched test of a promise that the stock library breaks, with a failure that `breaks` matches."""
    return _marker(True, breaks)


def main() -> None:
    """Perform the job that the command line tells, and print a failure for each test, empty when it passed."""
    from .site import Site, outcome_of

    job = Job(**json.loads(sys.argv[1]))
    module = importlib.import_module(job.module)
    with contextlib.closing(Site(job.url, job.engine)) as site:
        for name in job.names:
            test: Elsewhere = getattr(module, name).elsewhere
            limit_s = HANG_S if job.engine == STOCK and "TimeLimit" in test.breaks else LIMIT_S
            failure = outcome_of(test.body, site, limit_s)
            print(json.dumps({name: failure}), flush=True)  # noqa: T201
    os._exit(0)  # what a broken pool left behind must not keep the process
