"""The PostgreSQL under the servers: how the sweep itself connects to it, and under what conditions it works.

The sweep's connections are its own, in autocommit, named `sweep-observer`; they write nothing.
"""

import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import psutil
import psycopg2

from pooldemo.sweep.facts import Conditions
from pooldemo.sweep.measure import machine

OBSERVER = "sweep-observer"
PACKAGES = (
    "pooldemo", "django", "gunicorn", "gunicorn-h1c", "gevent", "locust", "psycopg2-binary", "psycogreen",
    "django-db-geventpool",
)  # fmt: skip
SETTINGS = (
    "max_connections", "superuser_reserved_connections", "reserved_connections", "shared_buffers", "work_mem", "fsync",
    "synchronous_commit", "max_worker_processes", "max_parallel_workers_per_gather", "jit", "TimeZone",
)  # fmt: skip


class DatabaseDown(Exception):
    """PostgreSQL does not answer: no sweep without it."""


def libpq_url(database_url: str) -> str:
    """A DATABASE_URL as libpq takes it: our options, all in capitals, and `pool` are left out of the query string."""
    return _with_query(database_url, lambda name: not name.isupper() and name != "pool")


def server_url(database_url: str, options: Mapping[str, str] | None = None) -> str:
    """A DATABASE_URL for a server whose size a trial sets, and whose mode its stack: without what is bound to another,
    and with `options` of the pool."""
    replaced = {"MAX_CONNS", "REUSE_CONNS", "MIN_CONNS", "POOL_MODE", *(options or ())}
    return _with_query(database_url, lambda name: name not in replaced, options or {})


def _with_query(database_url: str, wanted: Callable[[str], bool], more: Mapping[str, str] | None = None) -> str:
    parts = urlsplit(database_url)
    query = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if wanted(name)]
    query += (more or {}).items()
    # libpq reads %20 and no plus: the folder of a socket may have a space in its name.
    return urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(query, quote_via=quote), ""))


def connect(database_url: str) -> Any:
    """A connection for looking on, in autocommit.

    Raises DatabaseDown within 5 seconds when there is none to have.
    """
    try:
        connection = psycopg2.connect(libpq_url(database_url), application_name=OBSERVER, connect_timeout=5)
    except psycopg2.Error as error:
        raise DatabaseDown(f"PostgreSQL does not answer: {str(error).strip()}") from error
    connection.autocommit = True
    return connection


def conditions(database_url: str, root: Path, server_command: str) -> Conditions:
    """What a number of this machine, this checkout in `root` and this database must be read with, but for how many
    connections there are. Blocks for a query."""
    connection = connect(database_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s)", [list(SETTINGS)])
            settings = dict(cursor.fetchall())
            cursor.execute("SHOW server_version")
            server = cursor.fetchone()[0]
        local = postmaster(connection) is not None
    finally:
        connection.close()
    versions = {"python": platform.python_version(), "postgresql": server}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return Conditions(
        commit=_commit(root),
        machine=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpus=cpus(),
        cpu_quota=limit.cores if (limit := machine.quota()) else None,
        load_before=round(psutil.getloadavg()[0], 2),
        versions=versions,
        settings=settings,
        gunicorn=server_command,
        postgresql_is_local=local,
        settings_module=os.environ.get("DJANGO_SETTINGS_MODULE", ""),
    )


def at_first(connection: Any) -> tuple[datetime, bool]:
    """Its clock, and whether it tells what its backends read and write: from PostgreSQL 16 on.

    Raises DatabaseDown: PgBouncer takes a connection also while the server behind it is gone.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp(), to_regclass('pg_catalog.pg_stat_io') IS NOT NULL")
            clock, has_io = cursor.fetchone()
    except psycopg2.Error as error:
        raise DatabaseDown(f"PostgreSQL does not answer: {str(error).strip()}") from error
    return clock, has_io


def io(connection: Any) -> dict[str, float]:
    """What all client backends of the server have read and written so far; empty where it does not say. Blocks for a
    query."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_jsonb(io) FROM pg_stat_io AS io WHERE backend_type = 'client backend'")
            rows = [row for (row,) in cursor]
            cursor.execute("SHOW block_size")
            return io_of(rows, int(cursor.fetchone()[0]))
    except psycopg2.Error:  # a witness more or less: an outage is told by the others
        return {}


def io_of(rows: Iterable[Mapping[str, Any]], page: int) -> dict[str, float]:
    """Rows of pg_stat_io, summed: pages of so many bytes `reads`, `writes`, `extends` and `evictions`, and
    `wal_fsyncs`, where the server counts these (18)."""
    found = dict.fromkeys(("reads", "writes", "extends", "evictions"), 0.0)
    for row in rows:
        if row["object"] == "wal":
            found["wal_fsyncs"] = found.get("wal_fsyncs", 0.0) + (row["fsyncs"] or 0)
            continue
        for name in ("reads", "writes", "extends", "evictions"):
            told = row.get(f"{name.removesuffix('s')}_bytes")  # from 18 on, where one read may be of many pages
            found[name] += told / page if told is not None else row.get(name) or 0
    return found


def cpus() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def postmaster(connection: Any) -> psutil.Process | None:
    """The parent of all backends when `connection` is to a server whose processes can be seen from here, else None."""
    host = connection.info.host
    if host and not host.startswith(("/", "@")) and host not in ("localhost", "127.0.0.1", "::1"):
        return None
    try:
        backend = psutil.Process(connection.info.backend_pid)
        return backend.parent() if "postgres" in backend.name() else None
    except (psutil.Error, ValueError):  # PgBouncer gives out numbers of its own, below zero as well
        return None


def _commit(root: Path) -> str:
    """The checkout's commit, with `+` when tracked files differ from it; empty outside of one."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"],
            cwd=root, capture_output=True, text=True, check=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return described.stdout.strip()
