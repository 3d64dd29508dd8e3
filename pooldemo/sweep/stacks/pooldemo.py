"""This project: Django over `pooldemo.postgresql`."""

from pooldemo.sweep.stacks.stack import DatabaseConfig, Stack

ENGINE = "pooldemo.postgresql"


def database(config: DatabaseConfig) -> DatabaseConfig:
    """Over our ENGINE, whatever it was before."""
    if config.get("ENGINE", "").endswith(".postgis"):  # GeoDjango's, or a library's over it
        return config | {"ENGINE": f"{ENGINE}.postgis", "CONN_MAX_AGE": 0}
    moves = {"CONN_MAX_AGE": 0} if config.get("ENGINE", ENGINE) != ENGINE else {}  # our own site is told of its own
    return config | {"ENGINE": ENGINE} | moves


STACK = Stack(
    name="pooldemo",
    about=(
        "This Django site over its own pool: at most MAX_CONNS connections in each worker, cold or warm, given out in "
        "the order in which they were asked for. A request that waits longer than POOL_TIMEOUT gets a 503."
    ),
    database=database,
)
