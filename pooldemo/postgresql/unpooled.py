"""A plain connection, past every pool: for the questions that must be answered while the pool is exhausted."""

from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

# Not libpq's PGAPPNAME: a sweep counts the connections of that name, and these are none of the pool's.
APPLICATION_NAME = "pooldemo-check"


def is_postgresql(alias: str = "default") -> bool:
    """Whether the database `alias` is one, by whatever ENGINE. Opens nothing."""
    return connections[alias].vendor == "postgresql"


def plain_connection(alias: str = "default", timeout_s: int = 2) -> BaseDatabaseWrapper:
    """Django's own connection to the database `alias`, not yet opened and not shared; close it after use.

    Opening it waits `timeout_s` for PostgreSQL at most; without a limit where psycogreen has replaced libpq's wait.
    """
    if not is_postgresql(alias):  # a project may have our app on another database
        return connections.create_connection(alias)
    from django.db.backends.postgresql.base import DatabaseWrapper  # which needs a driver

    from .addresses import first_that_answers, in_turn, looked_up

    class Plain(DatabaseWrapper):
        def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
            turns = in_turn(looked_up(conn_params))
            return first_that_answers(turns, timeout_s / len(turns), super().get_new_connection)

    settings = connections.settings[alias]
    # Every pool's options are in capitals but for "pool"; what remains is libpq's and Django's.
    options = {name: value for name, value in settings["OPTIONS"].items() if name.islower() and name != "pool"}
    options |= {"connect_timeout": timeout_s, "application_name": APPLICATION_NAME}
    password = settings["PASSWORD"]() if callable(settings["PASSWORD"]) else settings["PASSWORD"]
    return Plain({**settings, "OPTIONS": options, "PASSWORD": password, "CONN_MAX_AGE": 0}, alias)
