"""Where a database is, as its settings say: in Django's own keys, or among OPTIONS.

The query of an address leaves libpq's names there, as in `postgres://me@/shop?host=/cloudsql/one`.
"""

import os
from collections.abc import Mapping
from typing import Any

SERVER = ("host", "hostaddr", "port", "service")  # the last one may be all that is


def parameter(settings: Mapping[str, Any], name: str) -> Any:
    """What libpq is given as `name`; None or an empty one: nothing."""
    options = settings.get("OPTIONS") or {}
    if name == "dbname":
        return options.get(name) or settings.get("NAME")
    return settings.get(name.upper()) or options.get(name)


def server(settings: Mapping[str, Any]) -> tuple[Any, ...]:
    """By what two databases are on one server."""
    given = {name: str(parameter(settings, name) or os.environ.get(f"PG{name.upper()}") or "") for name in SERVER}
    if not given["service"]:  # whose file may say the port
        given["port"] = given["port"] or "5432"
    return tuple(given.values())


def place(settings: Mapping[str, Any]) -> tuple[Any, ...]:
    """By what two aliases lead to one database."""
    return (parameter(settings, "dbname"), *server(settings))
