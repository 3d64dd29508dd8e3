"""What every test may rely on: the database of the settings, running. The embedded one is stopped again afterwards,
unless a user asked for it or another process uses it."""

from collections.abc import Iterator

import pytest
from django.conf import settings


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The DATABASE_URL of a PostgreSQL that runs for as long as the tests do."""
    server = settings.EMBEDDED
    started = server is not None and server.ensure()
    yield settings.DATABASE_URL
    if server is not None and started:
        server.stop(unless_asked=True)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(postgresql: str) -> None:
    """pytest-django's hook before it makes the test database."""
