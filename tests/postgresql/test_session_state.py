"""However a request changes its session, and wherever: on the server, out of sight, on the driver's side."""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import DatabaseError, ProgrammingError, transaction
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from .elsewhere import patched, threaded
from .site import Site, address

CHANGES = {
    "SET/**/statement_timeout = 12345": "SHOW statement_timeout",
    """SELECT "set_config"('statement_timeout', '12345', false)""": "SHOW statement_timeout",
    """SELECT U&"\\0073et_config"('statement_timeout', '12345', false)""": "SHOW statement_timeout",
    "UPDATE pg_settings SET setting = '12345' WHERE name = 'statement_timeout'": "SHOW statement_timeout",
    "SELECT 1 AS id INTO LOCAL TEMP leaked": "SELECT to_regclass('pg_temp.leaked')::text",
    "SET SESSION AUTHORIZATION DEFAULT; SET DateStyle = 'German'": "SHOW DateStyle",
    "SET IntervalStyle = 'iso_8601'": "SHOW IntervalStyle",
    "SET client_encoding = 'LATIN1'": "SHOW client_encoding",
    "SET application_name = 'leaked'": "SHOW application_name",
}


@patched
def test_no_way_to_write_a_change_hides_it(site: Site) -> None:
    for change, probe in CHANGES.items():
        db = site.database(MAX_CONNS=1)
        before = db.ask(probe)
        with db.request() as cursor:
            cursor.execute(change)
            cursor.execute(probe)
            assert cursor.fetchone()[0] != before, change
        assert db.ask(probe) == before, change


@patched
def test_a_table_is_noticed_that_is_temporary_by_a_path_of_its_transaction(site: Site) -> None:
    """The path has gone with the transaction, and the next request would read the table by its name alone."""
    db = site.database(MAX_CONNS=1)
    with db.request() as cursor, transaction.atomic(using=db.alias):
        cursor.execute("SET LOCAL search_path = pg_temp, public")
        cursor.execute("CREATE TABLE secret AS SELECT 42 AS it")
    assert db.ask("SELECT to_regclass('secret')::text") is None


@patched
def test_what_the_server_reports_is_noticed_though_a_function_did_it(site: Site) -> None:
    """Out of sight of any text or tag."""
    name = site.name("out_of_sight")
    creator = site.database(pool=False)
    site.finally_do(lambda: creator.ask(f"DROP FUNCTION {name}"))
    for setting, value in (("DateStyle", "German"), ("IntervalStyle", "iso_8601"), ("client_encoding", "LATIN1")):
        body = f"SELECT set_config('{setting}', '{value}', false)"
        creator.ask(f"CREATE OR REPLACE FUNCTION {name}() RETURNS text LANGUAGE sql AS $$ {body} $$")
        db = site.database(MAX_CONNS=1)
        before = db.ask(f"SHOW {setting}")
        db.ask(f"SELECT {name}()")
        assert db.ask(f"SHOW {setting}") == before


@patched
def test_no_way_to_execute_a_change_hides_it(site: Site) -> None:
    """Cursors of every class, callproc, streams, copies, a second thought."""
    change, probe = "SET statement_timeout = 12345", "SHOW statement_timeout"
    function, arguments = "set_config", ("statement_timeout", "12345", False)

    def ways(raw: Any) -> dict[str, Callable[[], Any]]:
        if is_psycopg3:
            import psycopg
            from psycopg import sql

            return {
                "connection": lambda: raw.execute(change),
                "client": lambda: psycopg.ClientCursor(raw).execute(change),
                "raw": lambda: psycopg.RawCursor(raw).execute(change),
                "binding": lambda: psycopg.Cursor(raw).execute(f"SELECT {function}(%s, %s, %s)", arguments),
                "bytes": lambda: raw.execute(change.encode()),
                "composed": lambda: raw.execute(sql.SQL("SET {} = 12345").format(sql.Identifier(arguments[0]))),
                "stream": lambda: list(raw.cursor().stream(f"SELECT {function}(%s, %s, %s)", arguments)),
                "many": lambda: raw.cursor().executemany(f"SELECT {function}(%s, %s, %s)", [arguments]),
                "copy": lambda: copied(raw),
                "pipeline": lambda: piped(raw),
                "callproc": lambda: raw.cursor().callproc(function, arguments),
            }
        from psycopg2 import extras, sql

        return {
            "dict": lambda: raw.cursor(cursor_factory=extras.RealDictCursor).execute(change),
            "function": lambda: raw.cursor(cursor_factory=made_by_a_function).execute(change),
            "callproc": lambda: raw.cursor().callproc(function, arguments),
            "bytes": lambda: raw.cursor().execute(change.encode()),
            "composed": lambda: raw.cursor().execute(sql.SQL("SET {} = 12345").format(sql.Identifier(arguments[0]))),
            "many": lambda: raw.cursor().executemany(f"SELECT {function}(%s, %s, %s)", [arguments]),
            "batch": lambda: extras.execute_batch(raw.cursor(), f"SELECT {function}(%s, %s, %s)", [arguments]),
        }

    def copied(raw: Any) -> None:
        with raw.cursor().copy(f"COPY (SELECT {function}('statement_timeout', '12345', false)) TO STDOUT") as copy:
            list(copy)

    def piped(raw: Any) -> None:
        with raw.pipeline():
            raw.execute(change)

    db = site.database(MAX_CONNS=1)
    db.connection.ensure_connection()
    for name in ways(db.connection.connection):
        db.end_request()
        db.connection.ensure_connection()
        ways(db.connection.connection)[name]()
        db.end_request()
        assert db.ask(probe) == "0", name


@patched
def test_what_the_driver_keeps_does_not_leak(site: Site) -> None:
    """Encodings, typecasters, factories, thresholds, handlers: on its side of the connection."""
    db = site.database(MAX_CONNS=1)
    db.connection.ensure_connection()
    raw = db.connection.connection
    if is_psycopg3:
        raw.prepare_threshold, raw.prepared_max = 0, 1
        raw.add_notice_handler(print)
        raw.adapters.register_loader("int4", raw.adapters.get_loader(25, 0))
        kept: tuple[str, ...] = (
            "prepare_threshold",
            "prepared_max",
            "_notice_handlers",
            "row_factory",
            "cursor_factory",
        )
    else:
        import psycopg2.extensions as ext

        raw.cursor_factory = psycopg2_extras().RealDictCursor
        ext.register_type(ext.new_type((23,), "WORDS", lambda value, cursor: value), raw)
        raw.set_client_encoding("LATIN1")
        kept = ("cursor_factory", "string_types", "encoding")
    db.end_request()
    fresh = site.database(MAX_CONNS=1)
    with fresh.request(), db.request() as cursor:
        for name in kept:
            assert getattr(db.connection.connection, name) == getattr(fresh.connection.connection, name), name
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


@patched
def test_nothing_stays_prepared(site: Site) -> None:
    """Neither by a statement, nor by the driver where the project has not asked it to prepare."""
    db = site.database(MAX_CONNS=1)
    for prepare in preparations():
        db.connection.ensure_connection()
        prepare(db.connection.connection)
        db.end_request()
        assert db.ask("SELECT count(*) FROM pg_prepared_statements") == 0


def preparations() -> list[Callable[[Any], Any]]:
    def at_once(raw: Any) -> None:
        raw.prepare_threshold = 0
        raw.execute("SELECT 1")

    ways: list[Callable[[Any], Any]] = [lambda raw: raw.cursor().execute("PREPARE leaked AS SELECT 1")]
    return [*ways, at_once, lambda raw: raw.execute("SELECT 1", prepare=True)] if is_psycopg3 else ways


def psycopg2_extras() -> Any:
    from psycopg2 import extras

    return extras


def made_by_a_function(*given: Any) -> Any:
    return psycopg2_extras().DictCursor(*given)


@patched
def test_what_discard_all_does_not_undo_is_undone(site: Site) -> None:
    """The seed of random() is another; what may have opened a connection to elsewhere ends this one."""
    db = site.database(MAX_CONNS=1)
    seen = set()
    pid = db.ask()
    for _ in range(2):
        db.ask("SELECT setseed(0.5)")
        seen.add(db.ask("SELECT random()"))
        assert db.ask() == pid
    assert len(seen) == 2
    db.ask("SELECT 'dblink_connect'")
    assert db.ask() != pid


@patched
def test_what_would_go_on_at_the_server_ends_with_its_request(site: Site) -> None:
    """A backup keeps the server from what it saves else, and a slot its log, which grows until the disk is full."""
    db = site.database(address(site.own_server().place.url("postgres")), MAX_CONNS=1)
    for begin in (
        "SELECT pg_create_physical_replication_slot('a', true, true)",
        "SELECT pg_create_logical_replication_slot('b', 'pgoutput', true)",
        "SELECT pg_backup_start('c', true)",  # without a wait for the next checkpoint
    ):
        pid = db.ask()
        with contextlib.suppress(DatabaseError):  # of a server before 15, or whose wal_level is none for it
            db.ask(begin)
        assert db.ask() != pid, begin
    assert db.ask("SELECT count(*) FROM pg_replication_slots") == 0


@patched
def test_a_write_that_the_server_refuses_as_read_only_ends_the_connection(site: Site) -> None:
    """As after a failover: the next request connects to whoever is the primary then."""
    db = site.database(MAX_CONNS=1)
    pid = db.ask()
    with contextlib.suppress(DatabaseError):
        db.ask("BEGIN READ ONLY")
    with contextlib.suppress(DatabaseError), transaction.atomic(using=db.alias), db.connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ ONLY")
        cursor.execute("CREATE TABLE refused (id int)")
    db.end_request()
    assert db.ask() != pid


@patched
def test_what_it_cannot_notice_is_left_and_reset_always_notices_it(site: Site) -> None:
    """The documented limits: a function that does it out of sight, what sequences remember, SQL past `cursor()`, and a
    path that is not spelled out."""
    schema = site.name("limits")
    creator = site.database(pool=False)
    creator.ask(
        f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.kept (id serial);"
        f"CREATE FUNCTION {schema}.hides() RETURNS text LANGUAGE sql AS "
        "$$ SELECT set_config('statement_timeout', '12345', false) $$"
    )
    site.finally_do(lambda: creator.ask(f"DROP SCHEMA {schema} CASCADE"))
    limits: dict[str, tuple[Callable[[Any], object], str]] = {
        "a function": (lambda cursor: cursor.execute(f"SELECT {schema}.hides()"), "SHOW statement_timeout"),
        "a sequence": (lambda cursor: cursor.execute(f"INSERT INTO {schema}.kept DEFAULT VALUES"), "SELECT lastval()"),
        "a path": (makes_a_table_on_a_path, TEMPORARY),
        "a path as a parameter": (makes_a_table_on_a_path_that_is_given, TEMPORARY),
    }
    if not is_psycopg3:
        from psycopg2.extensions import AsIs
        from psycopg2.extensions import cursor as by_hand

        hidden, change = "SELECT %s('statement_timeout', '12345', false)", "SET statement_timeout = 12345"
        limits |= {
            "AsIs": (lambda cursor: cursor.execute(hidden, [AsIs("set_config")]), "SHOW statement_timeout"),
            "by hand": (lambda cursor: by_hand(cursor.connection).execute(change), "SHOW statement_timeout"),
        }
    for name, (deed, probe) in limits.items():
        for reset, is_left in (("dirty", True), ("always", False)):
            db = site.database(MAX_CONNS=1, RESET=reset)
            with db.request() as cursor:
                deed(cursor)
            with contextlib.suppress(DatabaseError):  # lastval() is not yet defined in this session
                assert (str(db.ask(probe)) != "0") is is_left, (name, reset)
                continue
            assert not is_left, (name, reset)


TEMPORARY = "SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()"


def makes_a_table_on_a_path(cursor: Any) -> None:
    with transaction.atomic(using=cursor.db.alias):
        cursor.execute(r"SET LOCAL search_path = E'pg\137temp'")
        cursor.execute("CREATE TABLE hidden ()")


def makes_a_table_on_a_path_that_is_given(cursor: Any) -> None:
    with transaction.atomic(using=cursor.db.alias):
        cursor.execute("SET LOCAL search_path = %s", ["pg_temp"])
        cursor.execute("CREATE TABLE hidden ()")


@patched
def test_a_plan_of_pl_pgsql_is_left_and_reset_always_undoes_it(site: Site) -> None:
    """Made for the type that it met first: for another one it fails, in whatever request of the same session."""
    name = site.name("of_any_type")
    creator = site.database(pool=False)
    creator.ask(
        f"CREATE FUNCTION {name}(value text) RETURNS text LANGUAGE plpgsql AS "
        "$$ DECLARE it record; BEGIN EXECUTE 'SELECT ' || value || ' AS it' INTO it; RETURN it.it; END $$"
    )
    site.finally_do(lambda: creator.ask(f"DROP FUNCTION {name}"))
    dirty, always = (site.database(MAX_CONNS=1, RESET=reset) for reset in ("dirty", "always"))
    for db in (dirty, always):
        assert db.ask(f"SELECT {name}('1')") == "1"
    with pytest.raises(ProgrammingError, match="does not match that when preparing the plan"):
        dirty.ask(f"SELECT {name}('true')")
    assert always.ask(f"SELECT {name}('true')") == "true"


@threaded
def test_a_large_object_leaves_nothing(site: Site) -> None:
    """psycopg2's `lobject` speaks past every cursor. It refuses to outside a transaction, and ends with it. (psycopg2
    has none under gevent.)"""
    if is_psycopg3:
        return
    db = site.database(MAX_CONNS=1)
    for ends in (True, False):
        db.connection.ensure_connection()
        raw: Any = db.connection.connection
        with pytest.raises(ProgrammingError), db.connection.wrap_database_errors:
            raw.lobject(0, "wb")
        db.connection.set_autocommit(False)
        large = raw.lobject(0, "wb")
        large.write("abc")
        if ends:
            db.connection.commit()
            db.connection.set_autocommit(True)
            site.finally_do(partial(site.database(pool=False).ask, f"SELECT lo_unlink({large.oid})"))
        db.end_request()
        with pytest.raises(ProgrammingError, match="invalid large-object descriptor: 0"):
            db.ask("SELECT lo_close(0)")
        assert db.ask(f"SELECT count(*) FROM pg_largeobject_metadata WHERE oid = {large.oid}") == ends


@patched
def test_a_setting_of_ones_own_prefix_is_empty_afterwards_and_not_absent(site: Site) -> None:
    for reset in ("dirty", "always"):
        db = site.database(MAX_CONNS=1, RESET=reset)
        for left in (None, ""):
            assert db.ask("SELECT current_setting('tests.name', true)") == left
            db.ask("SET tests.name = 'someone'")
