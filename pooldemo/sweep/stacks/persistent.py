"""A connection for each greenlet, kept: Django's CONN_MAX_AGE=None."""

from pooldemo.sweep.stacks.green import without_pool
from pooldemo.sweep.stacks.stack import DatabaseConfig, Stack


def _database(config: DatabaseConfig) -> DatabaseConfig:
    return without_pool(config, "django.db.backends.postgresql", None)


STACK = Stack(
    name="persistent",
    about=(
        "This Django site over Django's own backend with CONN_MAX_AGE None. Under gevent a greenlet serves a client's "
        "connection, so every client that stays connected keeps a connection to PostgreSQL, busy or not: as many as "
        "there are clients, until the server refuses. It ignores MAX_CONNS."
    ),
    database=_database,
    capped=False,
    pool_path=None,
)
