"""This project: Django over `pooldemo.postgresql`."""

from pooldemo.sweep.stacks.stack import DatabaseConfig, Stack


def _database(config: DatabaseConfig) -> DatabaseConfig:
    return config | {"ENGINE": "pooldemo.postgresql"}


STACK = Stack(
    name="pooldemo",
    about=(
        "This Django site over its own pool: at most MAX_CONNS connections in each worker, cold or warm, given out in "
        "the order in which they were asked for; who waits longer than POOL_TIMEOUT gets a 503."
    ),
    database=_database,
)
