"""Where a server is, under gevent: its name is looked up so that other greenlets run meanwhile, and where one address
does not answer the next is tried. libpq does both by itself only where it stops the whole worker, its health check too.
"""

import contextlib
import ipaddress
import os
import random
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.db.backends.postgresql.base import DatabaseWrapper

from . import green

_ELSEWHERE = ("service", "dsn")  # may say the address
_ALREADY = ("hostaddr", *_ELSEWHERE)


def in_turn(params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The same parameters of libpq, then those without the first of its addresses, without the first two, and so on.

    The order is drawn here where load_balance_hosts says so: libpq would draw anew each time. Under prefer-standby they
    all come again for whatever server there is, for one that answered may have been left out as no standby.
    """
    if any(_given(params, name) for name in _ELSEWHERE):
        return [{**params}]
    lists = {name: _given(params, name).split(",") for name in ("host", "hostaddr", "port")}
    number = max(len(lists["host"]), len(lists["hostaddr"]))
    several = {name: each for name, each in lists.items() if len(each) > 1}
    matched = {number} == {len(each) for each in several.values()}
    if green.is_patched() and matched and params.get("load_balance_hosts") == "random":
        order = random.sample(range(number), number)
        several = {name: [each[n] for n in order] for name, each in several.items()}
        params = {**params, "load_balance_hosts": "disable"}
    turns = [{**params, **{name: ",".join(each[n:]) for name, each in several.items()}} for n in range(number)]
    if number > 1 and _given(params, "target_session_attrs") == "prefer-standby":
        turns += [{**each, "target_session_attrs": "any"} for each in turns]
    return turns


def first_that_answers(
    turns: Sequence[dict[str, Any]], limit_s: float, connect: Callable[[dict[str, Any]], Any]
) -> Any:
    """What `connect` returns for the first of `in_turn`, or for the next where it takes longer than `limit_s`; the last
    one may. Under plain threads libpq and psycopg do that by themselves, by connect_timeout. Raises what the first one
    raises, or, once an address has not answered, the last one."""
    if not green.is_patched():
        return connect(turns[0])
    passes: tuple[type[Exception], ...] = (_NoAnswer,)
    for each in turns[:-1]:
        with contextlib.suppress(*passes), green.time_limit(limit_s, _NoAnswer):
            return connect(each)
        passes = (_NoAnswer, DatabaseWrapper.Database.OperationalError)
    return connect(turns[-1])


class _NoAnswer(Exception):
    """An address has not answered in its time."""


def _given(params: Mapping[str, Any], name: str) -> str:
    return str(params.get(name) or os.environ.get(f"PG{name.upper().replace('_', '')}") or "")


def looked_up(params: Mapping[str, Any]) -> dict[str, Any]:
    """The same parameters of libpq, under gevent with the addresses of `host` beside it, as libpq would try them.

    Blocks this greenlet alone. Raises the driver's OperationalError where no name of `host` is known.
    """
    hosts, ports = _given(params, "host").split(","), _given(params, "port").split(",")
    given = any(_given(params, name) for name in _ALREADY)
    if not green.is_patched() or given or len(ports) not in (1, len(hosts)):
        return {**params}
    found: list[tuple[str, str, str]] = []
    unknown = None
    for host, port in zip(hosts, ports * (len(hosts) // len(ports)), strict=True):
        try:
            found += [(host, address, port) for address in _addresses(host)]
        except OSError as error:
            unknown = unknown or f'could not translate host name "{host}" to address: {error.strerror}'
    if unknown and not found:
        raise DatabaseWrapper.Database.OperationalError(unknown)
    if not (unknown or any(address for _, address, _ in found)):
        return {**params}  # nothing was looked up
    names, addresses, doors = (",".join(each) for each in zip(*found, strict=True))
    more = {"host": names, "hostaddr": addresses} | ({"port": doors} if len(ports) > 1 else {})
    return {**params, **more}


def _addresses(host: str) -> list[str]:
    """Those of a name; an empty one for what libpq takes as it is. Raises OSError for a name that is not known."""
    if host in ("", "localhost") or host.startswith(("/", "@")):
        return [""]
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return [""]
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError:  # no name: libpq says what is wrong with it
        return [""]
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
