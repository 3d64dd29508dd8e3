"""PgBouncer in front of PostgreSQL, and our pool in front of PgBouncer."""

from dataclasses import replace

from pooldemo.sweep.stacks.pgbouncer import STACK as PGBOUNCER
from pooldemo.sweep.stacks.stack import DatabaseConfig


def _database(config: DatabaseConfig) -> DatabaseConfig:
    return config | {"ENGINE": "pooldemo.postgresql", "DISABLE_SERVER_SIDE_CURSORS": True}


STACK = replace(
    PGBOUNCER,
    name="pgbouncer-pooldemo",
    about=(
        "This Django site over its own pool, whose connections go to a PgBouncer on loopback, transaction pooling: no "
        "connect in a request, a fair queue with a time limit in each worker, and one cap for all workers and hosts "
        "together. Each query makes one network hop more, to PgBouncer."
    ),
    database=_database,
    pool_path="/pool/",
)
