"""How `make test` deals the tests out to pytest-xdist's workers: how many, what stays together, what goes first.

A worker has a test database and servers of its own, so nothing is shared but the PostgreSQL server. Tests that share
processes stay in one worker: a file, or a folder below `TOGETHER`. The longest go first, for a run to end evenly.
"""

import fcntl
import itertools
import os
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

TOGETHER = ("tests/peers/", "tests/browser/", "tests/deploy/")  # fleets of servers, a browser: one of each is enough
FIRST = (
    "tests/pool/test_green", "tests/peers/", "tests/deploy/", "tests/package/", "tests/chaos/", "tests/browser/",
    "tests/project/", "tests/demo/test_locust", "tests/sweep/test_sweep", "tests/postgresql/", "tests/demo/",
)  # fmt: skip


def number() -> int:
    """Two for each core that this process may use, since they wait as long as they work; eight at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, 2 * cores)


def take_number(folder: Path) -> tuple[int, int]:
    """The first number that no living process has, and the open file that keeps it."""
    for number in itertools.count(1):
        lock = os.open(folder / f"tests.{number}", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return number, lock
    raise AssertionError("numbers do not end")


def room(nodeid: str) -> str:
    """What a test stays together with."""
    path = nodeid.partition("::")[0]
    return next((folder for folder in TOGETHER if path.startswith(folder)), path)


def rank(nodeid: str) -> int:
    """0: among the first."""
    return next((place for place, start in enumerate(FIRST) if nodeid.startswith(start)), len(FIRST))


class Rooms(LoadScopeScheduling):
    """Deals rooms in the order in which they were collected."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        config.option.loadscopereorder = False  # it means by number of tests, which says little about their length
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return room(nodeid)
