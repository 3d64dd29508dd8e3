"""Tracers put a proxy before what the driver's `connect` returns, and see what passes it: here it is handed on."""

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from .elsewhere import patched, threaded
from .site import Database, Site

if is_psycopg3:
    import psycopg as driver
else:
    import psycopg2 as driver


class Proxy:
    """As wrapt makes them: what it does not have itself is that of `__wrapped__`, which may be another one later."""

    def __init__(self, wrapped: Any, seen: list[str]) -> None:
        self.__dict__.update(__wrapped__=wrapped, seen=seen)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["__wrapped__"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "__wrapped__":
            self.__dict__[name] = value
        else:
            setattr(self.__dict__["__wrapped__"], name, value)


class TracedConnection(Proxy):
    def cursor(self, *args: Any, **kwargs: Any) -> "TracedCursor":
        return TracedCursor(self.__dict__["__wrapped__"].cursor(*args, **kwargs), self.__dict__["seen"])


class TracedCursor(Proxy):
    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        self.__dict__["seen"].append(query)
        return self.__dict__["__wrapped__"].execute(query, *args, **kwargs)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.__dict__["__wrapped__"])


class Bound(TracedConnection):
    """One that leads to the same connection for ever."""

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__dict__["__wrapped__"], name, value)


@contextlib.contextmanager
def tracing(kind: type[Proxy] = TracedConnection) -> Iterator[list[str]]:
    """The statements that a tracer of connections sees, which are made while this lasts."""
    seen: list[str] = []
    owner = driver.Connection if is_psycopg3 else driver
    plain = owner.__dict__["connect"]
    connect = getattr(plain, "__func__", plain)

    def traced(*args: Any, **kwargs: Any) -> Any:
        return kind(connect(*args, **kwargs), seen)

    owner.connect = classmethod(traced) if is_psycopg3 else traced
    try:
        yield seen
    finally:
        owner.connect = plain


def sees_each_statement(site: Site) -> None:
    """Of each request on one connection, also when what the last one had changed was undone."""
    for mode in ("request", "transaction"):
        db = site.database(MAX_CONNS=1, POOL_MODE=mode)
        with tracing() as seen:
            db.fill(1)
        seen.clear()
        asked = []
        for sql in ("SELECT 1", "SET statement_timeout = '7s'", "SELECT 2", "CREATE TEMP TABLE t ()", "SELECT 3"):
            db.ask(sql)
            asked.append(sql)
        with transaction.atomic(using=db.alias):
            db.ask("SELECT 4")
        db.end_request()
        assert [sql for sql in seen if "SAVEPOINT" not in sql] == [*asked, "SELECT 4"], mode
        assert db.pool.get_stats()["connections_num"] == 1, mode
        db.connection.close_pool()  # type: ignore[attr-defined]


@threaded
def test_a_tracer_sees_each_statement_under_threads(site: Site) -> None:
    sees_each_statement(site)


@patched
def test_a_tracer_sees_each_statement_under_gevent(site: Site) -> None:
    sees_each_statement(site)


@threaded
def test_what_it_put_before_a_connection_refuses_after_the_checkout(site: Site) -> None:
    db = site.database(MAX_CONNS=1)
    with tracing():
        db.fill(1)
    db.connection.ensure_connection()
    kept = db.connection.connection
    db.end_request()
    with pytest.raises(driver.InterfaceError, match="given back"):
        kept.cursor().execute("SELECT 1")
    with db.request() as cursor:
        cursor.execute("SELECT 1")
        refused: list[BaseException] = []

        def uses_it() -> None:
            try:
                kept.cursor().execute("SELECT 1")
            except driver.InterfaceError as error:
                refused.append(error)

        thread = threading.Thread(target=uses_it)
        thread.start()
        thread.join()
        assert len(refused) == 1
        assert cursor.fetchone() == (1,)


@threaded
def test_what_it_put_before_a_connection_ends_nothing_of_another_checkout(site: Site) -> None:
    """A watchdog that comes late, or who closes at last what he kept."""
    db = site.database(MAX_CONNS=1)
    with tracing():
        [pid] = db.fill(1)
    db.connection.ensure_connection()
    kept: Any = db.connection.connection
    db.end_request()
    begun, ended = threading.Event(), threading.Event()
    told: list[int] = []

    def other_request() -> None:
        with db.request() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            told.extend(cursor.fetchone())
            begun.set()
            ended.wait()
            cursor.execute("SELECT pg_backend_pid()")
            told.extend(cursor.fetchone())

    other = threading.Thread(target=other_request)
    other.start()
    try:
        assert begun.wait(60)
        kept.close()
        for name in ("cancel", "cancel_safe") if is_psycopg3 else ("cancel",):
            with pytest.raises(driver.InterfaceError, match="given back"):
                getattr(kept, name)()
    finally:
        ended.set()
        other.join()
    assert told == [pid, pid]


@threaded
def test_a_cursor_of_a_tracers_is_djangos_after_a_statement(site: Site) -> None:
    """psycopg 3's `execute` returns the cursor: of transaction mode ours, which gives its slot back."""
    db: Database = site.database(MAX_CONNS=1, POOL_MODE="transaction")
    with tracing(), db.request() as cursor:
        result = cursor.execute("SELECT generate_series(1, 3)")
        assert result is (cursor if is_psycopg3 else None)
        assert db.pool.get_stats()["pool_available"] == 1
        assert [row for (row,) in cursor] == [1, 2, 3]


@threaded
def test_what_it_has_kept_of_a_connect_makes_a_connection_of_its_own(site: Site) -> None:
    """To have slow queries explained it connects once more as the pool did."""
    db = site.database(MAX_CONNS=1)
    kept: list[Any] = []

    class Explaining(TracedConnection):
        def __init__(self, wrapped: Any, seen: list[str]) -> None:
            super().__init__(wrapped, seen)
            kept.append(sys._getframe(1).f_locals["kwargs"])

    with tracing(Explaining):
        [pid] = db.fill(1)
    [given] = kept
    other = driver.connect(**given)
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            assert cursor.fetchone() != (pid,)
        assert db.ask() == pid
    finally:
        other.close()


@threaded
def test_a_proxy_that_cannot_lead_elsewhere_is_left(site: Site) -> None:
    """It would lead to a checkout that is over, with psycopg 3; psycopg2's connection is one for all of them."""
    db = site.database(MAX_CONNS=1)
    with tracing(Bound) as seen:
        db.fill(1)
    seen.clear()
    assert db.ask("SELECT 1") == 1
    assert seen == ([] if is_psycopg3 else ["SELECT 1"])
