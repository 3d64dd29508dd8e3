"""System checks: what is wrong with a site's settings that only this backend knows."""

import os
from collections.abc import Sequence
from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from pooldemo.postgresql.base import DatabaseWrapper
from pooldemo.postgresql.budget import Unknown, read_budget


def pooled() -> list[DatabaseWrapper]:
    """The databases of this site that are reached through our pool."""
    return [each for each in connections.all() if isinstance(each, DatabaseWrapper)]


@checks.register("pooldemo")
def check_pools(**_: Any) -> list[checks.CheckMessage]:
    """Settings with which a pool cannot do what it is for. Opens no connection."""
    found: list[checks.CheckMessage] = []
    for wrapper in pooled():
        settings, where = wrapper.settings_dict, f"DATABASES[{wrapper.alias!r}]"
        try:
            wrapper.pool_options  # noqa: B018  reading them is the check
        except ImproperlyConfigured as error:
            found.append(checks.Error(str(error), hint="docs/options.md lists the options.", id="pooldemo.E001"))
        if settings["CONN_MAX_AGE"] != 0:
            found.append(
                checks.Error(
                    f"{where}: CONN_MAX_AGE={settings['CONN_MAX_AGE']!r} would keep connections from going back to the "
                    "pool after each request.",
                    hint=f"{where}['CONN_MAX_AGE'] = 0; MAX_LIFETIME and MAX_IDLE say how long the pool keeps them.",
                    id="pooldemo.E002",
                )
            )
        if settings["ATOMIC_REQUESTS"]:
            found.append(
                checks.Warning(
                    f"{where}: ATOMIC_REQUESTS=True takes a slot before each view and holds it until the view has "
                    "ended, whatever the view does meanwhile.",
                    hint=f"{where}['ATOMIC_REQUESTS'] = False, and transaction.atomic() around what needs it.",
                    id="pooldemo.W001",
                )
            )
    return found


@checks.register(checks.Tags.database)
def check_budget(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """All workers' slots fit into PostgreSQL's connections; asks it, so only with `check --database` and `migrate`."""
    workers = int(os.environ.get("WEB_CONCURRENCY") or 1)
    found: list[checks.CheckMessage] = []
    for wrapper in pooled():
        if wrapper.alias not in (databases or ()):
            continue
        try:
            budget = read_budget(workers, wrapper.alias)
        except Unknown:  # whoever asked for the database hears of it
            continue
        if not budget.fits:
            most = (budget.max_connections - budget.reserved) // workers
            found.append(
                checks.Warning(f"{wrapper.alias}: {budget}.", hint=f"export MAX_CONNS={most}", id="pooldemo.W002")
            )
    return found
