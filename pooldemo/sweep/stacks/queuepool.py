"""django-db-connection-pool: SQLAlchemy's QueuePool under Django."""

from pooldemo.sweep.stacks.green import size, without_pool
from pooldemo.sweep.stacks.peer import REMEDY, VENV
from pooldemo.sweep.stacks.stack import DatabaseConfig, Stack


def _database(config: DatabaseConfig) -> DatabaseConfig:
    options = {"POOL_SIZE": size(config), "MAX_OVERFLOW": 0}
    return without_pool(config, "dj_db_conn_pool.backends.postgresql", 0) | {"POOL_OPTIONS": options}


STACK = Stack(
    name="queuepool",
    about=(
        "This Django site over django-db-connection-pool, which is SQLAlchemy's QueuePool, with MAX_OVERFLOW 0. It "
        "keeps its cap and pings at each checkout. Its queue is not fair: a waiter that was woken may find that a "
        "newer request has taken the connection, and goes to the end of the queue. So some wait two or three times as "
        "long as others."
    ),
    database=_database,
    venv=VENV,
    modules=("dj_db_conn_pool",),
    remedy=REMEDY,
    pool_path=None,
)
