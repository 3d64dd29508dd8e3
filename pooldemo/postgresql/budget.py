"""Do the pools of all hosts together fit into what PostgreSQL, and whatever stands before it, accepts?"""

import os
from contextlib import closing
from dataclasses import dataclass

from django.db import DEFAULT_DB_ALIAS, Error, connections

from .place import parameter, server
from .room import NOTHING, Limits, Room, Taken, read
from .unpooled import plain_connection

HOSTS = "WEB_HOSTS"  # machines that serve this site, with as many workers each


class Unknown(Exception):
    """The budget cannot be told; the text says why."""


@dataclass(frozen=True)
class Budget:
    """`hosts` with `workers` processes with `max_conns` slots each, against the `limits` of a server. Each process has
    slots in other pools `beside` this one, as many as that."""

    workers: int
    max_conns: int
    limits: Limits
    hosts: int = 1
    beside: Taken = NOTHING

    @property
    def processes(self) -> int:
        return self.hosts * self.workers

    @property
    def wanted(self) -> int:
        return self.processes * self.max_conns

    @property
    def room(self) -> int:
        return self._room().left

    @property
    def fits(self) -> bool:
        return self.limits.between or self.wanted <= self.room

    def _room(self) -> Room:
        """What the pools of the other databases leave."""
        return self.limits.room(Taken(*(self.processes * each for each in self.beside)))

    def __str__(self) -> str:
        room = self._room()
        of_what = room.of_what + (f" less the {room.taken} of its other databases" * bool(room.taken))
        hosts, times = ("hosts x ", f"{self.hosts} x ") if self.hosts > 1 else ("", "")
        sum_ = f"{hosts}workers x MAX_CONNS = {times}{self.workers} x {self.max_conns} = {self.wanted}"
        if self.limits.between:  # it takes the clients of every role and database, and has each limit for itself
            clients = self.processes * self.beside.server
            others = f" and the {clients} of its other databases" * bool(clients)
            return (
                f"{sum_} connections to PgBouncer or another proxy, which must take so many clients{others} "
                f"(max_client_conn), and open no more than {self.limits.room().of_what} itself"
            )
        if self.fits:
            return f"{sum_} of {of_what}"
        each = room.left // self.processes
        smaller = f"set MAX_CONNS to {each} or less, run fewer workers" if each else "run fewer workers or hosts"
        refused = "Under load PostgreSQL will refuse connections"
        return f"{sum_} of {of_what}: too many. {refused}; {smaller}, or raise {room.raised}"


def hosts() -> int:
    """How many machines serve this site, as the environment says; 1 where it does not. Raises ValueError."""
    given = os.environ.get(HOSTS) or "1"
    if not (number := whole(given)):
        raise ValueError(f"{HOSTS}={given!r} is not accepted: give the number of hosts, from 1.")
    return number


def whole(given: str) -> int:
    """The number of workers or hosts that a variable says; 0 where it says none. Of 4,300 digits Python reads none."""
    return int(given) if given.isdecimal() and len(given) < 19 else 0


def beside(alias: str) -> Taken:
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
    return Taken(*sums)


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
        with closing(plain_connection(alias)) as connection:
            connection.ensure_connection()
            limits = read(connection.connection)
    except (Error, ValueError) as error:
        raise Unknown(str(error).strip()) from error
    return Budget(workers, max_conns, limits, machines, beside(alias))
