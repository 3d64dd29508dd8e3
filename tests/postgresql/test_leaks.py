"""Nothing that a request leaves in its session reaches the next one that is given the connection."""

import contextlib

import gevent
import pytest
from django.db import DatabaseError, Error, connections, transaction
from django.db.backends.postgresql.psycopg_any import IsolationLevel, is_psycopg3

from .elsewhere import patched
from .site import Database, Site

STATES = "SELECT state FROM pg_stat_activity WHERE application_name = %s"


def leaks_nothing(site: Site, change: str, probe: str) -> None:
    """The same connection answers `probe` after a request with `change` as it did before."""
    db = site.database(MAX_CONNS=1)
    before, pid = db.ask(probe), db.ask()
    with db.request() as cursor:
        cursor.execute(change)
        cursor.execute(probe)
        changed = cursor.fetchone()[0]
    assert changed != before, f"{change} is no change that {probe} tells"
    assert (db.ask(probe), db.ask()) == (before, pid)


@patched
def test_search_path_does_not_leak(site: Site) -> None:
    leaks_nothing(site, "SET search_path TO leaked", "SHOW search_path")


@patched
def test_statement_timeout_does_not_leak(site: Site) -> None:
    leaks_nothing(site, "SET statement_timeout = 12345", "SHOW statement_timeout")


@patched
def test_the_role_does_not_leak(site: Site) -> None:
    leaks_nothing(site, "SET ROLE pg_monitor", "SELECT current_user")


@patched
def test_the_time_zone_does_not_leak(site: Site) -> None:
    leaks_nothing(site, "SET TIME ZONE 'Asia/Tokyo'", "SHOW TimeZone")


@patched
def test_temporary_tables_do_not_leak(site: Site) -> None:
    leaks_nothing(site, "CREATE TEMP TABLE leaked (id int)", "SELECT to_regclass('pg_temp.leaked')::text")


@patched
def test_advisory_locks_do_not_leak(site: Site) -> None:
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    leaks_nothing(site, "SELECT pg_advisory_lock(4711)", held)


@patched
def test_listen_does_not_leak(site: Site) -> None:
    leaks_nothing(site, "LISTEN leaked", "SELECT count(*) FROM pg_listening_channels()")


@patched
def test_prepared_statements_do_not_leak(site: Site) -> None:
    probe = "SELECT count(*) FROM pg_prepared_statements WHERE from_sql"
    leaks_nothing(site, "PREPARE leaked AS SELECT 1", probe)


@patched
def test_default_isolation_does_not_leak(site: Site) -> None:
    change = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE"
    leaks_nothing(site, change, "SHOW default_transaction_isolation")


@patched
def test_what_a_do_block_changed_does_not_leak(site: Site) -> None:
    change = "DO $$ BEGIN PERFORM set_config('statement_timeout', '12345', false); END $$"
    leaks_nothing(site, change, "SHOW statement_timeout")


@patched
def test_a_change_inside_a_longer_script_does_not_leak(site: Site) -> None:
    leaks_nothing(site, "SELECT 1; /* and */ set statement_timeout = 12345", "SHOW statement_timeout")


@patched
def test_a_change_inside_a_transaction_does_not_leak(site: Site) -> None:
    """What a rollback undoes on the server it need not undo in our books."""
    db = site.database(MAX_CONNS=1)
    for end in (None, ValueError):
        try:
            with transaction.atomic(using=db.alias), db.connection.cursor() as cursor:
                cursor.execute("SET statement_timeout = 12345")
                if end:
                    raise end
        except ValueError:
            pass
        db.end_request()
        assert db.ask("SHOW statement_timeout") == "0"


@patched
def test_what_lasts_a_transaction_only_costs_no_reset(site: Site) -> None:
    """SET LOCAL, SET CONSTRAINTS and pg_advisory_xact_lock end by themselves."""
    gate = site.gate()
    db = site.behind(gate, MAX_CONNS=1)
    db.ask()
    before = gate.queries
    with transaction.atomic(using=db.alias), db.connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 12345")
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SELECT pg_advisory_xact_lock(4711)")
    db.end_request()
    assert gate.queries - before == 5  # BEGIN, these three, COMMIT


@patched
def test_an_open_transaction_does_not_leak(site: Site) -> None:
    """Rolled back at checkin: not seen by the next, nothing kept locked."""
    db = site.database(MAX_CONNS=1)
    pid = db.ask()
    db.connection.ensure_connection()
    db.connection.set_autocommit(False)
    with db.connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(4711)")
    db.connection.close()
    assert site.observe(STATES, db.alias) == [("idle",)]
    assert (db.ask(), db.connection.get_autocommit()) == (pid, True)


@patched
def test_a_transaction_that_its_greenlet_left_open_does_not_leak(site: Site) -> None:
    """Killed in the middle of `atomic`: everything since its BEGIN is undone, and the next has a clean connection."""
    db = site.database(MAX_CONNS=1)
    table = site.name("left_open")
    db.ask(f"CREATE TABLE {table} (id int)")
    site.finally_do(lambda: site.database(pool=False).ask(f"DROP TABLE {table}"))

    def left() -> None:
        try:
            with transaction.atomic(using=db.alias), db.connection.cursor() as cursor:
                cursor.execute(f"INSERT INTO {table} VALUES (1)")
                gevent.sleep(60)
        finally:
            db.end_request()

    greenlet = gevent.spawn(left)
    site.wait_until(lambda: site.observe(STATES, db.alias) == [("idle in transaction",)])
    greenlet.kill()
    assert db.ask(f"SELECT count(*) FROM {table}") == 0


@patched
def test_the_drivers_isolation_level_does_not_leak(site: Site) -> None:
    """Set on the connection object, it changes the next BEGIN and nothing on the server."""
    db = site.database(MAX_CONNS=1)
    db.connection.ensure_connection()
    db.connection.connection.isolation_level = IsolationLevel.SERIALIZABLE
    db.connection.close()
    with transaction.atomic(using=db.alias), db.connection.cursor() as cursor:
        cursor.execute("SHOW transaction_isolation")
        assert cursor.fetchone()[0] == "read committed"


@patched
def test_a_projects_isolation_level_is_that_of_transactions_alone(site: Site) -> None:
    """Of a connection that was reset as of a new one: a statement outside of a transaction has the server's."""
    db = site.database(MAX_CONNS=1, isolation_level=IsolationLevel.SERIALIZABLE)
    before, probe = db.ask(), "SHOW transaction_isolation"
    db.ask("SET work_mem = '5MB'")
    assert (db.ask(probe), db.ask()) == ("read committed", before)
    with transaction.atomic(using=db.alias), db.connection.cursor() as cursor:
        cursor.execute(probe)
        assert cursor.fetchone()[0] == "serializable"


@patched
def test_autocommit_and_readonly_do_not_leak(site: Site) -> None:
    db = site.database(MAX_CONNS=1)
    db.connection.ensure_connection()
    raw = db.connection.connection
    raw.autocommit = False
    setattr(raw, "read_only" if is_psycopg3 else "readonly", True)
    db.connection.close()
    with transaction.atomic(using=db.alias), db.connection.cursor() as cursor:
        cursor.execute("SHOW transaction_read_only")
        assert cursor.fetchone()[0] == "off"


def open_cursors(db: Database) -> int:
    number: int = db.ask("SELECT count(*) FROM pg_cursors WHERE is_holdable")
    return number


@patched
def test_holdable_cursors_do_not_leak(site: Site) -> None:
    """What a queryset's `iterator()` opens outside a transaction lives as long as the session if nobody closes it."""
    db = site.database(MAX_CONNS=1)
    db.connection.ensure_connection()
    cursor = db.connection.chunked_cursor()
    cursor.execute("SELECT generate_series(1, 1000)")
    assert cursor.fetchone() == (1,)
    db.connection.close()
    assert open_cursors(db) == 0
    with db.request() as declared:
        declared.execute("BEGIN; DECLARE mine CURSOR WITH HOLD FOR SELECT 1; COMMIT")
    assert open_cursors(db) == 0


@patched
def test_a_cursor_that_was_read_to_its_end_costs_no_reset(site: Site) -> None:
    gate = site.gate()
    db = site.behind(gate, MAX_CONNS=1)

    def read() -> int:
        before = gate.queries
        with db.connection.chunked_cursor() as cursor:
            cursor.execute("SELECT generate_series(1, 3)")
            assert len(cursor.fetchall()) == 3
        used = gate.queries
        db.end_request()
        assert gate.queries == used, "the checkin asked the server"
        return used - before

    db.ask()
    read()


@patched
def test_reset_always_undoes_what_text_does_not_tell(site: Site) -> None:
    """A function of the application's own changes the session: "dirty" cannot notice that, "always" needs not to."""
    name = site.name("changes_the_session")
    creator = site.database(pool=False)
    creator.ask(
        f"CREATE FUNCTION {name}() RETURNS text LANGUAGE sql AS "
        "$$ SELECT set_config('statement_timeout', '12345', false) $$"
    )
    site.finally_do(lambda: creator.ask(f"DROP FUNCTION {name}()"))
    found = {}
    for reset in ("dirty", "always", "never"):
        db = site.database(MAX_CONNS=1, RESET=reset)
        db.ask(f"SELECT {name}()")
        found[reset] = db.ask("SHOW statement_timeout")
    assert found == {"dirty": "12345ms", "always": "0", "never": "12345ms"}


@patched
def test_reset_never_still_rolls_back(site: Site) -> None:
    """Session state stays, transactions do not."""
    db = site.database(MAX_CONNS=1, RESET="never")
    db.ask("SET statement_timeout = 12345")
    db.connection.ensure_connection()
    db.connection.set_autocommit(False)
    with pytest.raises(DatabaseError), db.connection.cursor() as cursor:
        cursor.execute("SELECT 1/0")
    db.connection.close()
    assert db.ask("SHOW statement_timeout") == "12345ms"


@patched
def test_a_reset_connection_is_configured_again(site: Site) -> None:
    """DISCARD ALL undoes Django's time zone and role and SETUP_SQL as well."""
    options = {"assume_role": "pg_monitor", "options": "-c TimeZone=Asia/Tokyo", "SETUP_SQL": ["SET work_mem = '7MB'"]}
    db = site.database(MAX_CONNS=1, **options)
    seen = "SELECT concat_ws(' ', current_user, current_setting('TimeZone'), current_setting('work_mem'))"
    pid = db.ask()
    for change in ("SELECT 1", "SET search_path TO leaked", "DISCARD ALL"):
        db.ask(change)
        assert db.ask(seen) == "pg_monitor UTC 7MB"
    assert db.ask() == pid


@patched
def test_a_setup_statement_that_fails_is_told(site: Site) -> None:
    """And the connection is not used without it, nor kept."""
    db = site.database(MAX_CONNS=1, SETUP_SQL=["SET work_mem = 'nonsense'"])
    with pytest.raises(DatabaseError, match="work_mem"):
        db.ask()
    site.wait_until(lambda: not db.pids())


@patched
def test_a_reset_that_cannot_be_done_costs_the_connection_only(site: Site) -> None:
    """The server ends between the last query and the checkin: the request has its answer, the next a new connection."""
    db = site.database(MAX_CONNS=1)
    with db.request() as cursor:
        cursor.execute("SET search_path TO leaked")
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
        site.terminate(pid)
    assert db.ask() != pid
    assert db.pool.get_stats()["returns_bad"] == 1


@patched
def test_another_wrapper_of_the_same_greenlet_sees_nothing_either(site: Site) -> None:
    """The promise is the connection's, not the wrapper's."""
    db = site.database(MAX_CONNS=1)
    db.ask("SET search_path TO leaked")
    other = connections.create_connection(db.alias)
    with other.cursor() as cursor:
        cursor.execute("SHOW search_path")
        assert cursor.fetchone()[0] != "leaked"
    other.close()


@patched
def test_a_transaction_begun_as_text_does_not_leak(site: Site) -> None:
    """Whatever the driver thinks of it: the next holder's rows are kept, and nothing of the last one's is."""
    table = site.name("begun")
    creator = site.database(pool=False)
    creator.ask(f"CREATE TABLE {table} (id int)")
    site.finally_do(lambda: creator.ask(f"DROP TABLE {table}"))
    for autocommit in (True, False):
        for begin in ("BEGIN", "START TRANSACTION", "BEGIN; SELECT 1/0", "COMMIT AND CHAIN", "/* so */ begin"):
            db = site.database(MAX_CONNS=1)
            db.connection.ensure_connection()
            db.connection.set_autocommit(autocommit)
            with contextlib.suppress(DatabaseError), db.connection.cursor() as cursor:
                if "CHAIN" in begin:
                    cursor.execute("BEGIN" if autocommit else "SELECT 1")
                cursor.execute(begin)
                cursor.execute(f"INSERT INTO {table} VALUES (-1)")
            db.connection.close()
            assert site.observe(STATES, db.alias) in ([("idle",)], []), begin
            db.ask(f"INSERT INTO {table} VALUES (1)")
    assert site.observe(f"SELECT id, count(*) FROM {table} GROUP BY id") == [(1, 10)]


@patched
def test_a_notification_does_not_reach_the_next_request(site: Site) -> None:
    db = site.database(MAX_CONNS=1)
    channel = site.name("told")
    with db.request() as cursor:
        cursor.execute(f"LISTEN {channel}")
        site.observe(f"SELECT pg_notify('{channel}', 'for the first')")
    with db.request() as cursor:
        cursor.execute("SELECT 1")
        raw = db.connection.connection
        told = list(raw.notifies(timeout=0)) if is_psycopg3 else raw.notifies
        assert told == []


@patched
def test_a_held_cursor_that_could_not_be_closed_does_not_outlive_its_checkout(site: Site) -> None:
    db = site.database(MAX_CONNS=1)
    with contextlib.suppress(DatabaseError), db.request():
        db.connection.ensure_connection()
        cursor = db.connection.create_cursor(name="held")
        cursor.execute("SELECT generate_series(1, 10)")
        cursor.fetchone()
        with transaction.atomic(using=db.alias), db.connection.cursor() as other:
            with contextlib.suppress(DatabaseError):
                other.execute("SELECT 1/0")
            cursor.close()
    assert db.ask("SELECT count(*) FROM pg_cursors WHERE name = 'held'") == 0


if is_psycopg3:

    @patched
    def test_atomic_inside_a_pipeline_is_rolled_back(site: Site) -> None:
        db = site.database(MAX_CONNS=1)
        table = site.name("piped")
        db.ask(f"CREATE TABLE {table} (id int)")
        site.finally_do(lambda: site.database(pool=False).ask(f"DROP TABLE {table}"))
        db.connection.ensure_connection()
        with contextlib.suppress(ValueError), db.connection.connection.pipeline():
            with transaction.atomic(using=db.alias), db.connection.cursor() as cursor:
                cursor.execute(f"INSERT INTO {table} VALUES (1)")
                raise ValueError
        db.end_request()
        assert site.observe(f"SELECT id FROM {table}") == []
        assert db.ask("SELECT 1") == 1

    @patched
    def test_atomic_that_begins_while_rows_stream_in_is_no_silent_autocommit(site: Site) -> None:
        db = site.database(MAX_CONNS=1)
        table = site.name("streamed")
        db.ask(f"CREATE TABLE {table} (id int)")
        site.finally_do(lambda: site.database(pool=False).ask(f"DROP TABLE {table}"))
        with contextlib.suppress(ValueError, Error), db.connection.cursor() as cursor:
            rows = cursor.cursor.stream("SELECT generate_series(1, 3)")
            next(rows)
            with transaction.atomic(using=db.alias):
                list(rows)
                cursor.execute(f"INSERT INTO {table} VALUES (1)")
                raise ValueError
        db.end_request()
        assert site.observe(f"SELECT id FROM {table}") == []
