"""The fleet of benchmarks/fleet/services.py, for all tests of this folder."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.fleet.services import Fleet

SECOND = {"DATABASE_BY": "pgbouncer", "WEB_CONCURRENCY": "1"}
DRAIN_S = "600"  # a test says itself when the balancer has looked elsewhere: on a busy machine that is late


@pytest.fixture
def promtool() -> str:
    return shutil.which("promtool") or "promtool"


@pytest.fixture(scope="session")
def fleet_of_hosts() -> Iterator[Fleet]:
    """PostgreSQL, two web hosts (one straight, with two workers; one by PgBouncer, with one) behind HAProxy, Prometheus
    and its exporter."""
    with contextlib.ExitStack() as lasting:
        folder = Path(lasting.enter_context(tempfile.TemporaryDirectory(prefix="pd ö ", ignore_cleanup_errors=True)))
        folder.chmod(0o755)
        fleet = Fleet(folder, MAX_CONNS="4", WEB_CONCURRENCY="2", MAX_CONNECTIONS="60", DRAIN_S=DRAIN_S)
        lasting.callback(fleet.stop)
        fleet.begin()
        fleet.start("prometheus")
        fleet.start("postgres-exporter")
        fleet.web(1)
        fleet.web(2, **SECOND)
        fleet.wait_up()
        yield fleet
