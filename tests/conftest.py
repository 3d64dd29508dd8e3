"""What every test may rely on: the database of the settings, running. The embedded one is stopped again by whoever
leaves last, unless a user asked for it or another process uses it."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lacking
import pytest
import workers
from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.db import connection, connections
from django.test.utils import setup_databases, teardown_databases
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from served import Site, address_of

# How long an example takes says something about the machine and nothing about what is tested.
hypothesis_settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("any machine")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse where all is required and something is lacking; and let tests press Ctrl-C and close terminals.

    A shell starts what it puts into the background with Ctrl-C ignored, nohup ignores a closed terminal, and every
    child inherits that: tests that do either would wait for ever.
    """
    # Half a second for each user that a test makes. Other processes read the number from the password, so they know it.
    PBKDF2PasswordHasher.iterations = 1
    # The tests start hundreds of processes: each would compile this checkout anew where the machine's habit is so.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    if not hasattr(config, "workerinput"):  # which has been asked already
        lacking.refuse()
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # else nothing is ended that was started


def pytest_unconfigure(config: pytest.Config) -> None:
    """A worker of pytest-xdist that was killed has left the server to us."""
    server = settings.EMBEDDED
    if server is not None and not hasattr(config, "workerinput") and settings.LOCAL_DIR.exists():
        server.stop(unless_asked=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    return workers.number()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> workers.Rooms:
    return workers.Rooms(config, log)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for sentence in lacking.sentences(terminalreporter.stats.get("skipped", ())):
        terminalreporter.write_line(sentence)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    lacking.leave_out(items)
    if hasattr(config, "workerinput"):  # one process keeps to the order of the folders
        items.sort(key=lambda item: workers.rank(item.nodeid))


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The DATABASE_URL of a PostgreSQL that runs for as long as the tests do."""
    server = settings.EMBEDDED
    if server is not None:
        server.ensure()
    yield settings.DATABASE_URL
    if server is not None:
        server.stop(unless_asked=True)


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> Iterator[None]:
    """A test database that no other process has, be it of this run or of one beside it: the first free number. What a
    run that was killed left behind is made anew by the next one with its number."""
    settings.LOCAL_DIR.mkdir(mode=0o711, parents=True, exist_ok=True)
    number, lock = workers.take_number(settings.LOCAL_DIR)
    for config in connections.settings.values():
        config["TEST"]["NAME"] = f"test_{config['NAME']}_{number}"
    yield
    os.close(lock)


@pytest.fixture(scope="session")
def django_db_setup(
    django_db_modify_db_settings: None,
    postgresql: str,
    django_test_environment: None,
    django_db_blocker: Any,
    django_db_keepdb: bool,
    django_db_createdb: bool,
) -> Iterator[None]:
    """The test database. pytest-django's own fixture makes none when no chosen test carries its
    mark: a served site, and the rows made for it, would then be in the database that is worked with."""
    with django_db_blocker.unblock():
        made = setup_databases(verbosity=0, interactive=False, keepdb=django_db_keepdb and not django_db_createdb)
    yield
    if not django_db_keepdb:
        with django_db_blocker.unblock():
            teardown_databases(made, verbosity=0)


@pytest.fixture(scope="session")
def database_url(postgresql: str, django_db_setup: None) -> str:
    """The address of the test database, migrated and seeded, for other processes."""
    name = connection.settings_dict["NAME"]
    assert address_of(postgresql, name) != postgresql, f"{name} is the database that is worked with"
    return address_of(postgresql, name)


@pytest.fixture(scope="session")
def site(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two workers, four slots each: enough for everybody."""
    log = tmp_path_factory.mktemp("site") / "log"
    with Site(database_url, log, WEB_CONCURRENCY="2", MAX_CONNS="4", POOL_TIMEOUT="30") as site:
        yield site


@pytest.fixture(scope="session")
def tiny_site(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One worker with one slot, for which nobody waits longer than a fifth of a second."""
    log = tmp_path_factory.mktemp("tiny_site") / "log"
    with Site(database_url, log, WEB_CONCURRENCY="1", MAX_CONNS="1", POOL_TIMEOUT="0.2") as site:
        yield site


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"
