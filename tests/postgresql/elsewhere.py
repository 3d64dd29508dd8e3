"""Tests that run elsewhere: under gevent's monkey patch, which pytest's own process must never see.

`@patched` marks a test whose body runs in a patched process of its own, with a `Site` to talk to; `@threaded` one in a
process without gevent. All chosen tests of a module share one process: Django and PostgreSQL are set up once. The same
body can be pointed at another ENGINE, which is how a promise is seen to be broken there.

    python -m postgresql.elsewhere '{"module": ..., "names": [...], "patched": true, "engine": ..., "url": ...}'
"""

import contextlib
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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


def run(job: Job) -> dict[str, str]:
    """The failures by test, empty when it passed. Blocks until the process has ended."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment["PYTHONPATH"] = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-m", __name__, json.dumps(asdict(job))],
        env=environment, cwd=TESTS, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    outcomes: dict[str, str] = {}
    for line in done.stdout.splitlines():
        with contextlib.suppress(ValueError):
            outcomes |= json.loads(line)
    crash = (
        f"the process ended with {done.returncode} before this test did:\n{done.stdout[-1000:]}{done.stderr[-3000:]}"
    )
    return {name: outcomes.get(name, crash) for name in job.names}


def _perform(job: Job) -> None:
    from .site import Site, outcome_of

    module = importlib.import_module(job.module)
    with contextlib.closing(Site(job.url, job.engine)) as site:
        for name in job.names:
            test: Elsewhere = getattr(module, name).elsewhere
            limit_s = HANG_S if job.engine == STOCK and "TimeLimit" in test.breaks else LIMIT_S
            failure = outcome_of(test.body, site, limit_s)
            print(json.dumps({name: failure}), flush=True)  # noqa: T201


def main(arguments: Sequence[str]) -> None:
    job = Job(**json.loads(arguments[0]))
    if job.patched:
        from gevent import monkey

        monkey.patch_all()
    # Imported again under its own name: as __main__ its classes would not be those of the tests.
    entry: Any = importlib.import_module("postgresql.elsewhere")
    entry._perform(entry.Job(**json.loads(arguments[0])))


if __name__ == "__main__":
    main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # what a broken pool left behind must not keep the process
