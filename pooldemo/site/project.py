"""What a sweep must know of the Django project that it is typed in: where its database is, what gunicorn serves, which
pool it has, and where that is to be asked.

A project that has POOL_STACK among its settings reads DATABASE_URL and POOL_STACK by itself, and answers the workloads.
Any other is put on a stack by settings that stand before its own (`sweep/stacks/settings.py`).
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.encoding import iri_to_uri

from pooldemo.monitor import snapshots
from pooldemo.monitor.views import Pass, is_hidden, pool_address
from pooldemo.postgresql import room
from pooldemo.postgresql.place import parameter
from pooldemo.site.address import NO_HEADERS, as_its_proxy, below_its_prefix, is_address
from pooldemo.site.errors import Unfit
from pooldemo.sweep import plan as planning
from pooldemo.sweep import stacks
from pooldemo.sweep.facts import OWN, Conditions, Plan
from pooldemo.sweep.measure import database, observe, running
from pooldemo.sweep.measure.database import OBSERVER
from pooldemo.sweep.measure.target import Page, Site
from pooldemo.sweep.stacks.stack import ROOT

# Of a database's settings what libpq reads as well, and a connection that looks on needs.
LIBPQ = (
    "channel_binding", "gssencmode", "host", "hostaddr", "krbsrvname", "passfile", "password", "port", "require_auth",
    "service", "sslcert", "sslcrl", "sslkey", "sslmode", "sslnegotiation", "sslpassword", "sslrootcert",
    "target_session_attrs", "user",
)  # fmt: skip

Headers = Mapping[str, str]


def planned(
    plan: Plan, given: Collection[str], remote: bool, behind: Sequence[str] = (), headers: Headers = NO_HEADERS
) -> Plan:
    """The plan with what the project says of it: its own load, its own stack, a site that runs, with those hosts
    `behind` its balancer, and asked with those `headers`. `given` are the names of the fields that were asked for.
    Raises Unfit."""
    if empty := [name for name in ("host", "locustfile", "wsgi") if name in given and not getattr(plan, name)]:
        raise Unfit(f"--{empty[0]} is empty: leave it out, or see what it was to be, as a variable that is not set")
    if plan.urls and plan.locustfile:
        raise Unfit("--url and --locustfile both say what users ask for: give one of them")
    if (plan.urls or plan.locustfile) and "workload" in given:
        raise Unfit("--workload is for our own pages: leave it out beside --url or --locustfile")
    if plan.locustfile and (plan.rate is not None or plan.search):
        raise Unfit("--locustfile says when its users ask: leave out --arrivals, or give --url")
    for url in plan.urls:
        if not url.startswith("/") or not url.isprintable() or " " in url:
            raise Unfit(f"--url {url} is no page of a site: give its path, as in --url '/search/?q=x' (a space is %20)")
        if "#" in url:
            raise Unfit(f"--url {url}: no browser sends what stands behind a #: leave it out (a # itself is %23)")
    module = plan.wsgi.partition(":")[0]
    if plan.wsgi and (set("/\\") & set(module) or module.startswith("-") or not all(module.split("."))):
        raise Unfit(f"--wsgi {plan.wsgi} is no module: give one as Python imports it, as in --wsgi mysite.wsgi")
    plan = replace(plan, urls=tuple(map(iri_to_uri, plan.urls)))
    if plan.locustfile:
        file = Path(plan.locustfile).resolve()
        if not file.is_file() or "," in file.name or file.suffix != ".py":
            raise Unfit(f"--locustfile {plan.locustfile} is no file, or none of Python: give one as theirs.py")
        plan = replace(plan, locustfile=str(file), workload=OWN[1])
    elif plan.urls:
        plan = replace(plan, workload=OWN[0])
    if plan.host:
        return _as_it_runs(plan, given, remote, behind, headers)
    if behind:
        raise Unfit("--behind are the hosts of a site that runs: say where their balancer is, with --host")
    return plan if "stacks" in given or is_own() else replace(plan, stacks=(its_stack(),))


def _as_it_runs(plan: Plan, given: Collection[str], remote: bool, behind: Sequence[str], headers: Headers) -> Plan:
    """The plan for the site at `plan.host`, on the stack and with as many workers as it has, and, where none are given,
    of its own size."""
    url = plan.host.rstrip("/")
    for option, address in (("--host", url), *(("--behind", each.rstrip("/")) for each in behind)):
        if not is_address(address, "http", "https") or set("?#") & set(address):
            raise Unfit(f"{option} {address} is no address: give one as http://127.0.0.1:8000")
        if "@" in urlsplit(address).netloc:
            raise Unfit(
                f"{option}: a name and password there would be kept and shown with the sweep: leave them out, and give "
                "--header 'Authorization: Basic ...'"
            )
        if not running.is_loopback(address) and not remote:
            raise Unfit(
                f"{option} {address} is not this machine, and a sweep is a load: say --remote if it is yours to load"
            )
    seen = _look(replace(plan, host=url), behind, headers)
    its, sizes = _its(url, seen), seen.sizes
    if "stacks" in given and plan.stacks != (its,):
        raise Unfit(f"--stack {','.join(plan.stacks)}: {url} runs already, on {its}: leave out --stack")
    if plan.wsgi:
        raise Unfit(f"--wsgi {plan.wsgi}: {url} runs already, and nothing is started: leave out --wsgi")
    if "workers" in given and (plan.splits or (sizes and plan.workers != len(sizes))):
        typed, has = ",".join(map(str, plan.worker_counts)), len(sizes) or "as many as it has"
        raise Unfit(f"--workers {typed}: {url} runs already, with {has}: leave out --workers")
    plan = replace(plan, host=url, stacks=(its,))
    if sizes:
        return replace(plan, workers=len(sizes), sizes=plan.sizes if "sizes" in given else (sizes[0],))
    if behind:
        raise Unfit(
            f"not each of --behind {', '.join(behind)} tells the size of its pools: include pooldemo.urls there"
        )
    if "sizes" in given and len(plan.sizes) == 1:
        return plan
    page = site(plan, headers=headers).pool
    silent = f" (it is on {its})" if seen.stacks else f" ({running.why_silent(url, page)})" if page else ""
    raise Unfit(
        f"{url} does not tell the size of its pools{silent}, so it can neither be known nor changed: say what its "
        "MAX_CONNS is, with --sizes 8, or include pooldemo.urls in its addresses; behind a balancer that hides it, "
        "name the hosts with --behind"
    )


def _look(plan: Plan, behind: Sequence[str], headers: Headers) -> running.Seen:
    """What the site that runs tells of itself. Raises Unfit."""
    page = site(plan, behind, headers).pool
    try:
        if page is None:  # then nobody has asked it yet
            observe.get(plan.host, "/", running.READY_S)
        divided = page is not None and running.is_divided(plan.host, page)
        seen = running.look(plan.host, page)  # now: a worker may tell of itself only once it was asked
    except OSError as error:
        raise Unfit(f"--host {plan.host}, or a host --behind it, does not answer: {error}") from error
    if divided:
        raise Unfit(
            f"the workers at {plan.host} do not know of each other, so a size would reach one of them alone: name each "
            "host behind a balancer with --behind, and let a server that is not gunicorn run one process"
        )
    return seen


def _its(url: str, seen: running.Seen) -> str:
    """The stack of the site that runs: as it tells, or, where it is silent, as these settings say. Raises Unfit."""
    if len(seen.stacks) > 1:
        told = ", ".join(each or "none" for each in seen.stacks)
        raise Unfit(f"the workers at {url} are on several stacks ({told}): run all on one")
    its = seen.stacks[0] if seen.stacks else snapshots.stack()
    if not its:
        raise Unfit(
            f"{url} keeps no pool that a sweep can size: leave out --host, and see what ours would do for this "
            "project, with --stack pooldemo"
        )
    return its


def same(plan: Plan, behind: Sequence[str], headers: Headers = NO_HEADERS) -> None:
    """The site that runs, and that a sweep is to go on with, is as the plan knows it. Raises Unfit."""
    if not plan.host:
        return
    seen = _look(plan, behind, headers)
    if (found := len(seen.sizes)) != plan.workers and (found or len(plan.sizes) > 1):
        raise Unfit(
            f"{plan.host} had {plan.workers} workers in that sweep, and tells of {found}: give the same --behind, and "
            "run as many"
        )
    if (its := _its(plan.host, seen)) not in plan.stacks:
        raise Unfit(f"{plan.host} was on {plan.stacks[0]} in that sweep, and is on {its}: begin a new one")


def same_settings(plan: Plan, before: Conditions, now: Conditions) -> None:
    """A sweep goes on with the settings, and in the mode, in which it began. Raises Unfit.

    Until sweeps noted their settings, a project in transaction mode was measured in that under the name of `pooldemo`.
    """
    if plan.host:
        return
    if before.settings_module not in ("", now.settings_module):
        raise Unfit(
            f"that sweep was of {before.settings_module}, and these settings are {now.settings_module}: go on with "
            f"--settings {before.settings_module}"
        )
    is_other = snapshots.stack() == "pooldemo-transaction" and "pooldemo" in map(planning.base, plan.stacks)
    if is_other and not before.settings_module:
        raise Unfit(
            "this project is in transaction mode, and an earlier release measured that under the name of pooldemo, as "
            "which request mode is measured now: begin a new sweep"
        )


def conditions(database_url: str, server_command: str) -> Conditions:
    """Under what a sweep on this machine and that database is measured. Blocks; raises DatabaseDown."""
    found = database.conditions(database_url, ROOT, server_command)
    with closing(database.connect(database_url)) as connection:
        limits = room.read(connection)
    least = limits.room()
    return replace(
        found,
        max_connections=limits.max_connections,
        reserved_connections=limits.reserved,
        room=0 if limits.between else least.left,
        room_limit=least.raised,
    )


def available(plan: Plan, site: Site, resumed: int | None = None) -> tuple[Plan, list[str]]:
    """The plan without the stacks that cannot run here, and why each cannot.

    Raises ValueError when none is left, and when the sweep `resumed` would lose one.
    """
    missing = {}
    for name in plan.stacks:
        stack = stacks.get(name)
        if site.settings and (stack.database is None or stack.helpers):
            missing[name] = f"{name} is not for a project of your own: it is another application, or has a helper"
        elif plan.workload not in (*stack.workloads, *OWN):
            missing[name] = f"{name} does not answer /{plan.workload}/: it can {', '.join(stack.workloads)}"
        elif lacks := (replace(stack, venv=None, remedy="pip install it") if site.settings else stack).missing():
            missing[name] = lacks
    left = tuple(name for name in plan.stacks if name not in missing)
    if missing and resumed is not None:
        raise ValueError(f"--resume {resumed} needs every stack of that sweep: {'; '.join(missing.values())}")
    if not left:
        raise ValueError("; ".join(missing.values()))
    return replace(plan, stacks=left), list(missing.values())


@contextmanager
def told_apart() -> Iterator[None]:
    """While this lasts PostgreSQL knows this process's connections by another name than the site's, whose connections
    a sweep counts by it: both read it from the same settings, or the same PGAPPNAME."""
    options = [each.settings_dict["OPTIONS"] for each in connections.all() if each.vendor == "postgresql"]
    names = [each.get("application_name") for each in options]
    for each in options:
        each["application_name"] = OBSERVER
    try:
        yield
    finally:
        for each, name in zip(options, names, strict=True):
            each.pop("application_name", None)  # two databases may share their OPTIONS
            if name is not None:
                each["application_name"] = name


def is_own() -> bool:
    """Whether the project chooses its stack by itself, and answers the workloads."""
    return hasattr(settings, "POOL_STACK")


def doubts(plan: Plan) -> list[str]:
    """What of this project's settings a measurement should not have."""
    on = settings.DEBUG and not is_own() and not plan.host
    found = [
        "DEBUG is on: Django keeps every statement of a request, and that is measured as well: sweep with the settings "
        "of your servers, as with --settings mysite.production"
    ] * on
    others = [each.alias for each in connections.all() if each.alias != DEFAULT_DB_ALIAS and _has_pool(each)]
    found += [
        f"DATABASES[{each!r}] has a pool of its own, of the size in your settings: a trial sets that of "
        f"{DEFAULT_DB_ALIAS!r} alone"
        for each in others
    ]
    if is_hidden():
        found.append(
            "pooldemo.urls stands below a pattern that takes its addresses too, so nobody sees the pool: include "
            "it above that"
        )
    return found


def _has_pool(wrapper: BaseDatabaseWrapper) -> bool:
    given = wrapper.settings_dict["OPTIONS"].get("pool")
    return given is not False if hasattr(type(wrapper), "pool_options") else bool(given)


def how_to_start_postgresql() -> str:
    """What to do where it does not answer."""
    if is_own():
        return "Start it (python manage.py postgres start), or set DATABASE_URL to one that runs"
    return "Start it, or mend DATABASES['default'] in your settings"


def site(plan: Plan, behind: Sequence[str] = (), headers: Headers = NO_HEADERS) -> Site:
    """The project as `plan` wants it swept; the hosts `behind`, if any, tell of its pools to who sends those `headers`.
    Raises Unfit."""
    application = plan.wsgi or ("" if plan.host else application_of(settings.WSGI_APPLICATION))  # that one runs already
    if is_own():
        return Site(application, settings.DATABASE_URL, pool=pool_page(plan.host, behind, headers))
    if not plan.urls and not plan.locustfile:
        raise Unfit(
            "this project has none of our workloads: say what its users ask for, with --url /orders/ (once for each "
            "page) or --locustfile FILE"
        )
    module = os.environ.get("DJANGO_SETTINGS_MODULE")
    if not module and not plan.host:
        raise Unfit(
            "the settings of this project stand in no module, as after settings.configure(), so its servers cannot be "
            "given another size: name a module of settings in DJANGO_SETTINGS_MODULE, or sweep the site as it runs, "
            "with --host"
        )
    return Site(
        application,
        database_url(),
        module or "settings.configure()",
        snapshots.stack(),
        pool_page(plan.host, behind, headers),
        ready_path=None,
        probe_path=None,
    )


def application_of(path: str | None) -> str:
    """WSGI_APPLICATION as gunicorn takes it: `mysite.wsgi:application`. Raises Unfit."""
    if not path:
        raise Unfit(
            "WSGI_APPLICATION is not set: say what gunicorn is to serve, as in --wsgi mysite.wsgi, or in a project for "
            "ASGI alone --wsgi 'django.core.wsgi:get_wsgi_application()'"
        )
    module, _, name = path.rpartition(".")
    return f"{module}:{name}"


def no_postgresql(alias: str = DEFAULT_DB_ALIAS) -> str:
    """That a database of the settings is none; empty where it is one."""
    if connections[alias].vendor == "postgresql":
        return ""
    return (
        f"DATABASES[{alias!r}] is no PostgreSQL: ENGINE is {connections.settings[alias]['ENGINE']!r}. If your servers "
        "have other settings, name those: --settings mysite.production"
    )


def database_url(alias: str = "default") -> str:
    """The address of a database of the settings, as libpq reads it. Raises Unfit when it is no PostgreSQL."""
    config = connections.settings[alias]
    if said := no_postgresql(alias):
        raise Unfit(said)
    given = {name: parameter(config, name) for name in LIBPQ}
    if callable(given["password"]):
        given["password"] = given["password"]()
    query = urlencode({name: value for name, value in given.items() if value}, quote_via=quote)
    return f"postgresql://@/{quote(parameter(config, 'dbname') or '')}?{query}"


def its_stack() -> str:
    """The stack that the project is on by itself. Raises Unfit when it has none."""
    if stack := snapshots.stack():
        return stack
    engine = connections.settings["default"]["ENGINE"]
    if said := no_postgresql():
        raise Unfit(said)
    raise Unfit(
        f"ENGINE {engine!r} keeps no pool that a sweep can size: see what ours would do for this project, with "
        "--stack pooldemo; its settings stay as they are"
    )


def pool_page(running: str = "", hosts: Sequence[str] = (), headers: Headers = NO_HEADERS) -> Page | None:
    """Where the project, on these hosts behind the `running` site if any, answers the pool's counters; None: it
    includes no `pooldemo.urls`."""
    address = pool_address()
    if address is None:
        return None
    hosts = tuple(dict.fromkeys(each.rstrip("/") for each in hosts))
    sent = as_its_proxy(*hosts or filter(None, [running]), typed=headers)
    return Page(below_its_prefix(address), Pass(sent), hosts)
