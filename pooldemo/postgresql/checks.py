"""System checks: what is wrong with a site's settings that only this backend knows.

Registered when Django loads the backend, so that ENGINE alone brings them.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from pooldemo.pool import NAMES

from . import leftovers  # registers its own
from .budget import Unknown, hosts, read_budget, whole
from .limits_middleware import SETTINGS, setting
from .unavailable import FULL

GUNICORN_CONF = Path("gunicorn.conf.py")


def ours() -> list[Any]:
    """The databases of this site whose ENGINE is ours."""
    return [each for each in connections.all() if hasattr(type(each), "pool_options")]


@checks.register("pooldemo")
def check_pools(**_: Any) -> list[checks.CheckMessage]:
    """Settings with which a pool cannot do what it is for. Opens no connection."""
    found: list[checks.CheckMessage] = []
    for wrapper in ours():
        settings, where = wrapper.settings_dict, f"DATABASES[{wrapper.alias!r}]"
        options = settings["OPTIONS"] if isinstance(settings["OPTIONS"], dict) else {}
        if is_djangos := isinstance(pool := options.get("pool"), dict):
            found.append(leftovers.pool_of_django(where, pool))
        try:  # reading them is the check; the rest of them, where Django's own pool's are named already
            (wrapper.without_pool() if is_djangos else wrapper).pool_options  # noqa: B018
            if options.get("pool") is False and (given := sorted(filter(str.isupper, options))):
                found.append(
                    checks.Warning(
                        f"{where}: 'pool': False means no pool here: {', '.join(given)} have no effect, and each "
                        "greenlet or thread opens a connection of its own.",
                        hint=f"del {where}['OPTIONS']['pool']. (django-db-geventpool's documents ask for it.)",
                        id="pooldemo.W003",
                    )
                )
        except ImproperlyConfigured as error:
            found.append(
                checks.Error(str(error), hint=f"The pool's options are {', '.join(sorted(NAMES))}.", id="pooldemo.E001")
            )
        found += leftovers.of_sqlalchemy(where, settings)
        if settings["CONN_MAX_AGE"] != 0:
            found.append(
                checks.Error(
                    f"{where}: CONN_MAX_AGE={settings['CONN_MAX_AGE']!r} would keep connections from going back to the "
                    "pool after each request.",
                    hint=f"{where}['CONN_MAX_AGE'] = 0; MAX_LIFETIME and MAX_IDLE say how long the pool keeps them.",
                    id="pooldemo.E002",
                )
            )
        if settings["CONN_HEALTH_CHECKS"]:
            found.append(
                checks.Info(
                    f"{where}: CONN_HEALTH_CHECKS=True has no effect: the pool looks at each connection by itself.",
                    hint=f"{where}['CONN_HEALTH_CHECKS'] = False; HEALTH_CHECK says how the pool looks.",
                    id="pooldemo.I003",
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


@checks.register("pooldemo")
def check_deadlines(**_: Any) -> list[checks.CheckMessage]:
    """Deadlines with which no worker would start, where the middleware is in use."""
    found: list[checks.CheckMessage] = []
    for name in SETTINGS:
        try:
            setting(name)
        except ImproperlyConfigured as error:
            found.append(checks.Error(str(error), hint=f"{name} = 10", id="pooldemo.E004"))
    return found


@checks.register(checks.Tags.database)
def check_budget(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """All workers' slots fit into PostgreSQL's connections; asks it, so only with `check --database` and `migrate`."""
    in_conf = leftovers.workers_in_gunicorn_conf(GUNICORN_CONF, os.environ)
    given = str((in_conf and in_conf.number) or os.environ.get("WEB_CONCURRENCY") or 1)
    if not (workers := whole(given)):
        text = f"WEB_CONCURRENCY={given!r} is not accepted: give the number of workers, from 1."
        return [checks.Error(text, hint="export WEB_CONCURRENCY=2", id="pooldemo.E003")]
    try:
        hosts()
    except ValueError as error:
        return [checks.Error(str(error), hint="export WEB_HOSTS=2", id="pooldemo.E003")]
    found: list[checks.CheckMessage] = []
    if in_conf and in_conf.number is None and not os.environ.get("WEB_CONCURRENCY") and databases and ours():
        text = f"gunicorn.conf.py:{in_conf.line}: the check cannot tell how many workers that is, and counts 1."
        found.append(
            checks.Info(text, hint="export WEB_CONCURRENCY=4 (your number), and check again.", id="pooldemo.I004")
        )
    for wrapper in ours():
        if wrapper.alias not in (databases or ()):
            continue
        try:
            budget = read_budget(workers, wrapper.alias)
        except ImproperlyConfigured:  # check_pools tells
            continue
        except Unknown as error:
            said = " ".join(str(error).split())
            text = f"{wrapper.alias}: workers x MAX_CONNS is not known to fit into max_connections: {said}"
            hint = "Let PostgreSQL answer, and check again."
            if FULL.search(said):
                hint = "Its connections are all taken now: a smaller MAX_CONNS, fewer workers, or a higher limit."
            found.append(checks.Warning(text, hint=hint, id="pooldemo.W006"))
            continue
        if not budget.fits:
            room, each = budget.room, budget.room // budget.processes
            line = f"DATABASES[{wrapper.alias!r}]['OPTIONS']['MAX_CONNS'] = {each}"
            hint = f"{line}, or where your settings read it from, as in export MAX_CONNS={each}"
            if not each:
                fewer = room // budget.hosts
                hint = f"export WEB_CONCURRENCY={fewer}"
                then = leftovers.workers_in_gunicorn_conf(GUNICORN_CONF, os.environ | {"WEB_CONCURRENCY": str(fewer)})
                if then and then.number not in (None, fewer):
                    hint = f"gunicorn.conf.py:{then.line}: {fewer} workers at most"
            if room < budget.hosts:
                hint = "Fewer hosts, or a higher limit: each worker needs a connection."
            found.append(checks.Warning(f"{wrapper.alias}: {budget}.", hint=hint, id="pooldemo.W002"))
    return found
