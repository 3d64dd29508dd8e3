"""Do the pools of all hosts together fit into what PostgreSQL, and whatever stands before it, accepts?"""

import os
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

from django.db import DEFAULT_DB_ALIAS, Error, connections

from .place import parameter, server
from .unpooled import plain_connection

HOSTS = "WEB_HOSTS"  # machines that serve this site, with as many workers each
NO_LIMIT = -1  # PostgreSQL's word for it
_SQL = """
SELECT current_setting('max_connections')::int,
       current_setting('superuser_reserved_connections')::int
       + coalesce(current_setting('reserved_connections', true), '0')::int,  -- since PostgreSQL 16
       CASE WHEN rolsuper THEN -1 ELSE rolconnlimit END,
       CASE WHEN rolsuper THEN -1 ELSE (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) END,
       pg_backend_pid()
FROM pg_roles WHERE rolname = session_user  -- who logged in: what it is after SET ROLE is held to nothing
"""


class Unknown(Exception):
    """The budget cannot be told; the text says why."""


class Beside(NamedTuple):
    """Slots of each process in pools of the settings' other databases: on the same server, of them those of the same
    role, and those of the same database there."""

    server: int = 0
    role: int = 0
    database: int = 0


ALONE = Beside()


@dataclass(frozen=True)
class Budget:
    """`hosts` with `workers` processes with `max_conns` slots each, against a server with `max_connections`, of which
    some are `reserved` for its administrators, and which may hold the role or the database to less (NO_LIMIT: not).
    Each process has other pools `beside` this one.

    `between`: what we are connected to is not PostgreSQL itself but PgBouncer or another proxy: PostgreSQL's limits are
    that one's to keep, and ours is how many clients it takes.
    """

    workers: int
    max_conns: int
    max_connections: int
    reserved: int
    hosts: int = 1
    role_limit: int = NO_LIMIT
    database_limit: int = NO_LIMIT
    between: bool = False
    beside: Beside = ALONE

    @property
    def processes(self) -> int:
        return self.hosts * self.workers

    @property
    def wanted(self) -> int:
        return self.processes * self.max_conns

    @property
    def room(self) -> int:
        return self._tightest()[0]

    @property
    def fits(self) -> bool:
        return self.between or self.wanted <= self.room

    def _tightest(self) -> tuple[int, str, str]:
        """The narrowest limit: how many, what it is called, and how it is raised."""
        of_server = f"max_connections - reserved = {self.max_connections} - {self.reserved}"
        limits = [(self.max_connections - self.reserved, self.beside.server, of_server, "max_connections")]
        for limit, taken, whose, sql in (
            (self.role_limit, self.beside.role, "role", "ALTER ROLE ... CONNECTION LIMIT"),
            (self.database_limit, self.beside.database, "database", "ALTER DATABASE ... CONNECTION LIMIT"),
        ):
            if limit != NO_LIMIT:
                limits.append((limit, taken, f"the {whose}'s CONNECTION LIMIT = {limit}", f"it ({sql})"))
        limit, taken, of_what, raised = min(limits, key=lambda each: each[0] - self.processes * each[1])
        others = self.processes * taken
        return max(0, limit - others), of_what + (f" less the {others} of its other databases" * bool(others)), raised

    def __str__(self) -> str:
        room, of_what, raised = self._tightest()
        hosts, times = ("hosts x ", f"{self.hosts} x ") if self.hosts > 1 else ("", "")
        sum_ = f"{hosts}workers x MAX_CONNS = {times}{self.workers} x {self.max_conns} = {self.wanted}"
        if self.between:
            return (
                f"{sum_} connections to PgBouncer or another proxy, which must take so many clients (max_client_conn), "
                f"and open no more than {of_what} itself"
            )
        if self.fits:
            return f"{sum_} of {of_what}"
        each = room // self.processes
        smaller = f"set MAX_CONNS to {each} or less, run fewer workers" if each else "run fewer workers or hosts"
        refused = "Under load PostgreSQL will refuse connections"
        return f"{sum_} of {of_what}: too many. {refused}; {smaller}, or raise {raised}"


def hosts() -> int:
    """How many machines serve this site, as the environment says; 1 where it does not. Raises ValueError."""
    given = os.environ.get(HOSTS) or "1"
    if not (number := whole(given)):
        raise ValueError(f"{HOSTS}={given!r} is not accepted: give the number of hosts, from 1.")
    return number


def whole(given: str) -> int:
    """The number of workers or hosts that a variable says; 0 where it says none. Of 4,300 digits Python reads none."""
    return int(given) if given.isdecimal() and len(given) < 19 else 0


def beside(alias: str) -> Beside:
    """What the settings' other pools have, by where they lead as it is written there."""
    own, sums = connections[alias].settings_dict, [0, 0, 0]
    for other in connections.all():
        theirs = other.settings_dict
        if other.alias == alias or not hasattr(type(other), "pool_options"):
            continue
        slots: int = other.pool_options.max_conns  # type: ignore[attr-defined]
        if server(theirs) == server(own) and theirs["OPTIONS"].get("pool") is not False:
            same = (True, *(parameter(theirs, name) == parameter(own, name) for name in ("user", "dbname")))
            sums = [so_far + is_same * slots for so_far, is_same in zip(sums, same, strict=True)]
    return Beside(*sums)


def read_budget(workers: int, alias: str = DEFAULT_DB_ALIAS) -> Budget:
    """The budget of this site with so many workers on each host, asked on a plain connection. Blocks.

    Raises Unknown, and ImproperlyConfigured when an option is not accepted.
    """
    wrapper = connections[alias]
    if not hasattr(type(wrapper), "pool_options"):
        raise Unknown(f"ENGINE {wrapper.settings_dict['ENGINE']!r} keeps its own count of connections")
    max_conns: int = wrapper.pool_options.max_conns  # type: ignore[attr-defined]
    try:
        machines = hosts()
        with closing(plain_connection(alias)) as connection, connection.cursor() as cursor:
            cursor.execute(_SQL)
            max_connections, reserved, role_limit, database_limit, pid = cursor.fetchone()
            between = connection.connection.info.backend_pid != pid  # a proxy that pools gives out numbers of its own
    except (Error, ValueError) as error:
        raise Unknown(str(error).strip()) from error
    return Budget(
        workers, max_conns, max_connections, reserved, machines, role_limit, database_limit, between, beside(alias)
    )
