"""A plain connection, past every pool: for the questions that must be answered while the pool is exhausted."""

from django.db import connections
from django.db.backends.postgresql.base import DatabaseWrapper

# Not libpq's PGAPPNAME: a sweep counts the connections of that name, and these are none of the pool's.
APPLICATION_NAME = "pooldemo-check"


def plain_connection(alias: str = "default", timeout_s: int = 2) -> DatabaseWrapper:
    """Django's own connection to the database `alias`, not yet opened and not shared; close it after use.

    Opening it waits `timeout_s` for PostgreSQL at most; without a limit where psycogreen has replaced libpq's wait.
    """
    settings = connections.settings[alias]
    # Every pool's options are in capitals but for "pool"; what remains is libpq's and Django's.
    options = {name: value for name, value in settings["OPTIONS"].items() if name.islower() and name != "pool"}
    options |= {"connect_timeout": timeout_s, "application_name": APPLICATION_NAME}
    password = settings["PASSWORD"]() if callable(settings["PASSWORD"]) else settings["PASSWORD"]
    return DatabaseWrapper({**settings, "OPTIONS": options, "PASSWORD": password, "CONN_MAX_AGE": 0}, alias)
