"""A PostgreSQL of the benchmark's own, so that it may restart it and set its time zone: nobody else's is touched."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
from django.conf import settings

ZONE = "America/New_York"  # never UTC, so that a session whose zone was not set tells the wrong time


@contextmanager
def own_postgresql(folder: Path) -> Iterator[Any]:
    """An embedded server whose data stay in `folder`, running inside the block, its databases' time zone ZONE.

    Raises RuntimeError when DATABASE_URL is set: then this site has no embedded server to make another like it.
    """
    if settings.EMBEDDED is None:
        raise RuntimeError("DATABASE_URL is set: unset it, this benchmark restarts a PostgreSQL of its own")
    server = type(settings.EMBEDDED)(folder)
    server.ensure()
    try:
        with sql(server.url) as cursor:
            name = cursor.connection.info.dbname
            cursor.execute(f"ALTER DATABASE {name} SET timezone = '{ZONE}'")
        yield server
    finally:
        server.reset(force=True)  # as root its data may be elsewhere, outside of `folder`


@contextmanager
def sql(database_url: str) -> Iterator[Any]:
    """A cursor on a connection of its own, in autocommit."""
    connection = psycopg2.connect(database_url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()
