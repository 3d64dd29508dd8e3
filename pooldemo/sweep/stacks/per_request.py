"""A connection for each request: Django's default."""

from pooldemo.sweep.stacks.green import without_pool
from pooldemo.sweep.stacks.stack import DatabaseConfig, Stack


def _database(config: DatabaseConfig) -> DatabaseConfig:
    return without_pool(config, "django.db.backends.postgresql", 0)


STACK = Stack(
    name="per-request",
    about=(
        "This Django site over Django's own backend with CONN_MAX_AGE 0, its default: each request opens a connection "
        "and closes it. Nothing limits them but the number of requests at once; each pays a connect of a millisecond "
        "or two, and a process start inside PostgreSQL. It ignores MAX_CONNS."
    ),
    database=_database,
    capped=False,
    pool_path=None,
)
