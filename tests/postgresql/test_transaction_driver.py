"""The driver's own connection and cursors in transaction mode: who may ask for them, and what that keeps."""

from typing import Any
from unittest import mock

import pytest
from django.db import InterfaceError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql.psycopg_any import is_psycopg3
from django.db.backends.signals import connection_created
from django.db.backends.utils import CursorWrapper
from django.test.utils import CaptureQueriesContext
from django.utils.connection import ConnectionProxy

from .elsewhere import patched, threaded
from .site import Database, Site
from .test_transaction_mode import is_free, one_slot, uses


def raw_of(db: Database) -> Any:
    """The driver's connection, as code outside of Django asks for it."""
    return db.connection.connection


@patched
def test_who_takes_the_drivers_connection_keeps_the_slot_until_the_request_ends(site: Site) -> None:
    db = one_slot(site)
    assert raw_of(db) is None  # nobody has asked for one yet
    uses(db)
    assert is_free(db)
    raw = raw_of(db)
    uses(db)
    assert not is_free(db)
    with raw.cursor() as cursor:
        cursor.execute("SELECT 3")
        assert cursor.fetchone() == (3,)
    db.end_request()
    assert is_free(db)
    assert raw_of(db) is None
    with db.connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.connection.cursor().close()
        assert not is_free(db)
    db.connection.close()
    assert is_free(db)
    uses(db)
    raw = ConnectionProxy(connections, db.alias).connection  # as `from django.db import connection` is one
    assert raw is not None
    uses(db)
    assert not is_free(db)
    db.end_request()
    assert is_free(db)


@patched
def test_what_a_function_leaves_is_kept_with_the_drivers_connection(site: Site) -> None:
    """Nobody notices it: without the connection the slot goes back, and the lock with it."""
    db, name = one_slot(site), site.name("locks")
    site.finally_do(lambda: site.database(pool=False).ask(f"DROP FUNCTION {name}"))
    body = "BEGIN PERFORM pg_advisory_lock(4712); RETURN 1; END"
    db.ask(f"CREATE FUNCTION {name}() RETURNS int LANGUAGE plpgsql AS '{body}'")
    for keeps in (False, True):
        assert not keeps or raw_of(db) is not None
        uses(db, f"SELECT {name}()")
        assert is_free(db) != keeps
    uses(db, "SELECT pg_advisory_unlock_all()")
    db.end_request()


@patched
def test_django_itself_may_ask_for_the_drivers_connection(site: Site) -> None:
    db = one_slot(site)
    with db.connection.schema_editor() as editor:
        editor.execute("SELECT %s::int", [1])  # composed on the client's side with psycopg 3's connection
    assert is_free(db)


@patched
def test_sentry_may_look_where_each_statement_leads(site: Site) -> None:
    """Its SDK puts this around each statement of Django's cursors, whether its spans are recorded or not."""
    db = one_slot(site)
    seen: list[str] = []
    sentry: dict[str, Any] = {
        "__name__": "sentry_sdk.integrations.django",
        "seen": seen,
        "execute": CursorWrapper.execute,
    }
    exec(
        "def look(of): seen.append(hasattr(of, 'connection') and of.connection.info.dbname)\n"
        "def traced(cursor, *args): look(cursor); look(cursor.db); return execute(cursor, *args)",
        sentry,
    )
    with mock.patch.object(CursorWrapper, "execute", sentry["traced"]), db.connection.cursor() as cursor:
        for _ in range(2):
            cursor.execute("SELECT 1")
            assert is_free(db)  # with the cursor open
            assert cursor.fetchall() == [(1,)]
    sentry["look"](db.connection)
    uses(db)
    assert is_free(db)
    assert seen == [db.connection.settings_dict["NAME"]] * 5


@patched
def test_django_pgbulk_may_quote_with_the_drivers_connection(site: Site) -> None:
    """It asks each new cursor for its connection before it executes; with psycopg 3 for its adapters as well."""
    db = one_slot(site)
    pgbulk: dict[str, Any] = {"__name__": "pgbulk.core"}
    exec("def look(cursor): return cursor.connection.info.dbname, getattr(cursor, 'adapters', None)", pgbulk)
    for _ in range(2):
        with db.connection.cursor() as cursor:
            pgbulk["look"](cursor)
            cursor.execute("SELECT 1")
            pgbulk["look"](cursor)
            assert cursor.fetchall() == [(1,)]
        assert is_free(db)


@patched
def test_who_looks_while_it_connects_sees_no_connection(site: Site) -> None:
    """As Sentry's SDK does around Django's connect(): showing one would take a slot beside that of the connect."""
    db = one_slot(site)
    seen, connect = [], BaseDatabaseWrapper.connect

    def traced(wrapper: Any) -> None:
        seen.append(wrapper.connection)
        connect(wrapper)

    # Django's own is called for each checkout where both are: a subclass with connection parameters of its own, ...
    db.connection._is_plain = False  # type: ignore[attr-defined]
    receiver = mock.Mock()  # ... and somebody who is told of each
    connection_created.connect(receiver)
    site.finally_do(lambda: connection_created.disconnect(receiver))
    with mock.patch.object(BaseDatabaseWrapper, "connect", traced):
        uses(db)
        uses(db)
    assert seen == [None, None]
    assert is_free(db)


@threaded
def test_the_drivers_own_methods_work_between_statements(site: Site) -> None:
    db = one_slot(site)
    with CaptureQueriesContext(db.connection) as captured:
        for _ in range(2):
            with db.connection.cursor() as cursor:
                cursor.execute("SELECT 1")
                if is_psycopg3:
                    with cursor.copy("COPY (SELECT 5) TO STDOUT") as copy:
                        assert b"".join(map(bytes, copy)) == b"5\n"
                else:
                    import io

                    into = io.StringIO()
                    cursor.copy_expert("COPY (SELECT 5) TO STDOUT", into)
                    assert into.getvalue() == "5\n"
                assert not is_free(db)
            assert is_free(db)
    assert "SELECT 1" in captured.captured_queries[0]["sql"]


@threaded
def test_mogrify_leaves_the_rows_that_are_not_read_yet(site: Site) -> None:
    db = one_slot(site)
    with db.connection.cursor() as cursor:
        for _ in range(2):
            assert cursor.mogrify("SELECT %s", ["x"]) in ("SELECT 'x'", b"SELECT 'x'")
            cursor.execute("SELECT 1")
            assert cursor.mogrify("%s", ["x"]) in ("'x'", b"'x'")
            assert is_free(db)
            assert cursor.fetchone() == (1,)
    with pytest.raises(InterfaceError):
        cursor.mogrify("%s", ["x"])


@threaded
def test_what_a_cursor_is_asked_for_leaves_the_rows_that_are_not_read_yet(site: Site) -> None:
    """What it is, has, or has not: only its next statement, or the driver's own work, takes rows away."""
    db = one_slot(site)
    for name in ("adapters", "connection", "copy", "copy_expert", "nothing", "row_factory", "stream", "string_types"):
        with db.connection.cursor() as cursor:
            has = hasattr(cursor, name)
            for _ in range(2):
                cursor.execute("SELECT n FROM generate_series(1, 3) AS n")
                assert cursor.fetchone() == (1,)
                assert hasattr(cursor, name) == has, name
                assert (cursor.rowcount, [column[0] for column in cursor.description]) == (3, ["n"])
                assert (cursor.fetchmany(1), list(cursor)) == ([(2,)], [(3,)])
            if name == "nothing":
                assert is_free(db)
        db.end_request()
    if is_psycopg3:
        with db.connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            assert [each.fetchall() for each in cursor.results()] == [[(1,)]]
            cursor.execute("SET CONSTRAINTS ALL DEFERRED")
            assert [each.statusmessage for each in cursor.results()] == ["SET CONSTRAINTS"]


@patched
def test_the_drivers_cursor_is_gone_with_its_statement(site: Site) -> None:
    db = one_slot(site)
    with db.connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.cursor.fetchall() == [(1,)]
        with pytest.raises(AttributeError, match="ask connection.cursor"):
            cursor.cursor.execute("SELECT 1")


@patched
def test_what_was_executed_last_is_asked_of_no_connection(site: Site) -> None:
    """Django 6.1 and what shows statements read it of psycopg 3's cursor, perhaps when it is closed."""
    db = one_slot(site)
    with db.connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert db.connection.ops.last_executed_query(cursor, "SELECT 1", None) == "SELECT 1"
        assert is_free(db)
    if is_psycopg3:
        assert cursor._query.query == b"SELECT 1"
