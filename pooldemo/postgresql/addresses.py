"""Where a server is: its name is looked up so that other greenlets run meanwhile.

libpq does that by itself and stops the whole worker, its health check too, for as long as the name server takes.
psycopg 3 looks it up as this does.
"""

import ipaddress
import os
import socket
from collections.abc import Mapping
from typing import Any

from django.db.backends.postgresql.base import DatabaseWrapper

from . import green

_ALREADY = ("hostaddr", "service", "dsn")  # the first says the address, the others may


def looked_up(params: Mapping[str, Any]) -> dict[str, Any]:
    """The same parameters of libpq, under gevent with the addresses of `host` beside it, as libpq would try them.

    Blocks this greenlet alone. Raises the driver's OperationalError where no name of `host` is known.
    """
    hosts = str(params.get("host") or os.environ.get("PGHOST") or "").split(",")
    ports = str(params.get("port") or os.environ.get("PGPORT") or "").split(",")
    given = any(params.get(name) or os.environ.get(f"PG{name.upper()}") for name in _ALREADY)
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
