"""django-db-geventpool: what users under gevent have today."""

from importlib.util import find_spec

from pooldemo.sweep.stacks.green import without_pool
from pooldemo.sweep.stacks.stack import DatabaseConfig, Stack


def _database(config: DatabaseConfig) -> DatabaseConfig:
    driver = "psycopg3" if find_spec("psycopg") else "psycopg2"  # Django takes psycopg 3 as soon as there is one
    engine = f"django_db_geventpool.backends.postgresql_{driver}"
    kept = {name: value for name, value in config["OPTIONS"].items() if name in ("MAX_CONNS", "REUSE_CONNS")}
    # Its manual: CONN_MAX_AGE 0 for Django, which hands each connection back at the end of its request.
    return without_pool(config, engine, 0, **kept)


STACK = Stack(
    name="geventpool",
    about=(
        "This Django site over django-db-geventpool, the usual choice under gevent. It opens more than MAX_CONNS while "
        "it warms up (it counts a connection only when it has been opened), waits without a limit, sends a SELECT 1 at "
        "each checkout, and leaves the session's time zone unset on Django 5.1 and later."
    ),
    database=_database,
    modules=("django_db_geventpool",),
    pool_path=None,
)
