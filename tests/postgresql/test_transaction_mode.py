"""`POOL_MODE: "transaction"`: a slot goes back as soon as nothing needs it, and nothing else differs but what is said.

One slot for each database here: where another request gets it, it was free.
"""

from typing import Any

import gevent
import pytest
from django.db import Error, IntegrityError, InterfaceError, ProgrammingError, transaction
from django.db.backends.signals import connection_created

from pooldemo.postgresql.transaction_mode import TransactionMode

from .elsewhere import patched, threaded
from .site import Database, Site

LASTING = {  # what makes a session more than a connection
    "setting": "SET work_mem = '5MB'",
    "search path": "SET search_path = pg_catalog",
    "function": "SELECT set_config('work_mem', '5MB', false)",
    "temporary table": "CREATE TEMPORARY TABLE carried (id int)",
    "advisory lock": "SELECT pg_advisory_lock(4711)",
    "replication slot": "SELECT 'pg_create_physical_replication_slot'",  # by its name: few roles may make one
    "backup": "SELECT 'pg_backup_start'",
    "listening": "LISTEN carried",
    "prepared statement": "PREPARE carried AS SELECT 1",
    "sequence": "CREATE TEMPORARY SEQUENCE carried; SELECT nextval('carried')",
    "several statements": "SELECT 1; SET work_mem = '5MB'",
    "long text": "SELECT 1" + " " * 20_000 + ", set_config('work_mem', '5MB', false)",
    "transaction as text": "BEGIN",
}


def one_slot(site: Site, **options: Any) -> Database:
    return site.database(**{"MAX_CONNS": 1, "POOL_TIMEOUT": 25, "POOL_MODE": "transaction", **options})


def is_free(db: Database) -> bool:
    return bool(db.pool.get_stats()["pool_available"])


def uses(db: Database, sql: str = "SELECT 1") -> None:
    with db.connection.cursor() as cursor:
        cursor.execute(sql)


def elsewhere(db: Database) -> Any:
    """What another greenlet or thread gets; it waits for the one slot."""
    if not gevent.monkey.is_module_patched("socket"):
        pytest.fail("for patched tests")
    return gevent.spawn(db.ask, "SELECT 1").get()


@patched
def test_a_slot_goes_back_after_a_statement(site: Site) -> None:
    db = one_slot(site)
    with db.connection.cursor() as cursor:
        cursor.execute("SELECT n, n * n FROM generate_series(1, 5) AS n")
        assert elsewhere(db) == 1  # with the cursor open, and its rows unread
        assert [column[0] for column in cursor.description] == ["n", "?column?"]
        assert (cursor.rowcount, cursor.fetchone(), cursor.fetchmany(2)) == (5, (1, 1), [(2, 4), (3, 9)])
        assert (list(cursor), cursor.fetchone(), cursor.fetchall()) == ([(4, 16), (5, 25)], None, [])
        cursor.execute("SELECT %s::int", [7])  # on whatever connection comes
        assert cursor.fetchall() == [(7,)]
        cursor.executemany("SELECT %s", [[1], [2]])
    with pytest.raises(InterfaceError), db.connection.wrap_database_errors:
        cursor.fetchone()


@threaded
def test_a_slot_goes_back_after_a_statement_under_threads(site: Site) -> None:
    import threading

    db = one_slot(site)
    uses(db)
    got = []
    other = threading.Thread(target=lambda: got.append(db.ask("SELECT 1")))
    other.start()
    other.join()
    uses(db)
    assert (got, is_free(db)) == ([1], True)


@patched
def test_a_slot_goes_back_after_a_statement_that_failed(site: Site) -> None:
    db = one_slot(site)
    with db.connection.cursor() as cursor:
        for comment in ("", "", "/*dddbs='x'*/ "):  # as a tracer's
            with pytest.raises(ProgrammingError):
                cursor.execute(f"{comment}SELECT nothing")
            assert elsewhere(db) == 1
        with pytest.raises(ProgrammingError), db.connection.wrap_database_errors:
            cursor.fetchone()
        cursor.execute("SELECT 2")
        assert cursor.fetchone() == (2,)


@patched
def test_a_slot_goes_back_after_a_transaction(site: Site) -> None:
    db, seen = one_slot(site), []
    for durable in (False, True):
        with transaction.atomic(using=db.alias, durable=durable):
            uses(db)
            with transaction.atomic(using=db.alias):
                uses(db)
            assert not is_free(db)
            transaction.on_commit(lambda: seen.append(elsewhere(db)), using=db.alias)
        assert is_free(db)
    assert seen == [1, 1]  # what is done on commit holds nothing
    with pytest.raises(ProgrammingError), transaction.atomic(using=db.alias):
        uses(db, "SELECT nothing")
    assert elsewhere(db) == 1


@patched
def test_a_transaction_is_whole(site: Site) -> None:
    """Savepoints, an error in the midst, and a raw BEGIN: all on one connection, and rolled back as ever."""
    db, table = one_slot(site, MAX_CONNS=2), site.name("whole")
    site.finally_do(lambda: site.database(pool=False).ask(f"DROP TABLE {table}"))
    uses(db, f"CREATE TABLE {table} (id int PRIMARY KEY)")
    with transaction.atomic(using=db.alias), db.connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} VALUES (1)")
        with pytest.raises(IntegrityError), transaction.atomic(using=db.alias):
            cursor.execute(f"INSERT INTO {table} VALUES (2), (1)")
        cursor.execute(f"INSERT INTO {table} VALUES (3)")
        cursor.execute(f"SELECT id FROM {table} ORDER BY id FOR UPDATE")
        assert cursor.fetchall() == [(1,), (3,)]
    with transaction.atomic(using=db.alias):
        uses(db, f"DELETE FROM {table}")
        transaction.set_rollback(True, using=db.alias)
    db.connection.set_autocommit(False)
    uses(db, f"DELETE FROM {table}")
    db.connection.rollback()
    uses(db, f"INSERT INTO {table} VALUES (4)")
    db.connection.commit()
    db.connection.set_autocommit(True)
    assert is_free(db)
    assert db.ask(f"SELECT count(*) FROM {table}") == 3


@patched
def test_a_session_keeps_what_it_carries_until_the_request_ends(site: Site) -> None:
    for what, sql in LASTING.items():
        db = one_slot(site)
        uses(db, sql)
        assert not is_free(db), what
        uses(db, "SELECT 1")
        assert not is_free(db), what
        db.end_request()
        assert is_free(db) or elsewhere(db) == 1, what


@patched
def test_iterator_keeps_its_slot_until_it_is_read_or_closed(site: Site) -> None:
    db = one_slot(site)
    for reads_all in (True, False):
        cursor = db.connection.chunked_cursor()
        cursor.execute("SELECT n FROM generate_series(1, 5000) AS n")
        first = cursor.fetchmany(100)
        with db.connection.cursor() as other:
            other.execute("SELECT 1")
        assert (len(first), is_free(db)) == (100, False)
        assert not reads_all or len(cursor.fetchall()) == 4900
        cursor.close()
        assert is_free(db)


@patched
def test_an_old_cursor_refuses_after_the_request(site: Site) -> None:
    db = one_slot(site)
    executed, fresh, closed = (db.connection.cursor() for _ in range(3))
    executed.execute("SELECT 1")
    closed.close()
    db.end_request()
    for cursor in (executed, fresh, closed):
        with pytest.raises(InterfaceError):
            cursor.execute("SELECT 1")
    assert is_free(db)


@patched
def test_whoever_sets_up_each_connection_is_asked_for_each(site: Site) -> None:
    """A handler of `connection_created` that SETs something keeps the slot, and is never left out."""
    db = one_slot(site)

    def set_up(sender: Any, connection: Any, **_: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET work_mem = '5MB'")

    uses(db)
    connection_created.connect(set_up)
    site.finally_do(lambda: connection_created.disconnect(set_up))
    with db.connection.cursor() as cursor:
        for _ in range(2):
            cursor.execute("SHOW work_mem")
            assert (cursor.fetchone(), is_free(db)) == (("5MB",), False)


@patched
def test_a_connection_that_ended_between_statements_is_replaced(site: Site) -> None:
    db = one_slot(site)
    with db.connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        site.terminate(cursor.fetchone()[0])
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


@patched
def test_what_waited_for_the_commit_of_a_lost_transaction_is_not_done_after_the_next_one(site: Site) -> None:
    """Who takes no notice of the error learns of it from the commit, and tries the whole again."""
    db, done = one_slot(site), []
    for _ in range(2):
        uses(db)

    def write(name: str, *, ends: bool) -> None:
        with transaction.atomic(using=db.alias), db.connection.cursor() as cursor:
            transaction.on_commit(lambda: done.append(name), using=db.alias)
            cursor.execute("SELECT pg_backend_pid()")
            if ends:
                site.terminate(cursor.fetchone()[0])
                with pytest.raises(Error):
                    cursor.execute("SELECT 1")

    with pytest.raises(Error):
        write("lost", ends=True)
    write("again", ends=False)
    assert done == ["again"]


@patched
def test_a_shared_wrapper_keeps_its_slot(site: Site) -> None:
    """Threads that share it may be anywhere between its statements."""
    db = one_slot(site)
    db.connection.inc_thread_sharing()
    uses(db)
    assert not is_free(db)
    db.connection.dec_thread_sharing()
    uses(db)
    assert is_free(db)


@patched
def test_asking_for_autocommit_or_usability_takes_no_slot_for_good(site: Site) -> None:
    db = one_slot(site)
    uses(db)
    assert db.connection.get_autocommit()
    transaction.on_commit(lambda: elsewhere(db), using=db.alias)
    assert is_free(db)
    assert db.connection.is_usable()
    assert is_free(db)
    assert db.connection.get_database_version()
    wrapper: Any = db.connection
    wrapper._close()
    assert not db.connection.is_usable()


@patched
def test_what_stands_around_ensure_connection_may_look_whether_there_is_one(site: Site) -> None:
    """Django's own TestCase does, and so do libraries."""
    db = one_slot(site)
    wrapper: Any = db.connection
    plain, looked = wrapper.ensure_connection, []

    def around() -> None:
        looked.append(wrapper.connection is None)
        plain()

    uses(db)
    wrapper.ensure_connection = around
    site.finally_do(lambda: wrapper.__dict__.pop("ensure_connection"))
    uses(db)
    assert looked


@patched
def test_the_mode_follows_the_settings(site: Site) -> None:
    db = one_slot(site)
    uses(db)
    assert isinstance(db.connection, TransactionMode)
    assert type(db.connection).__name__ == "DatabaseWrapper"
    other: Any = db.connection.copy()
    other.settings_dict["OPTIONS"]["POOL_MODE"] = "request"
    with other.cursor() as cursor:
        cursor.execute("SELECT 1")
    assert not isinstance(other, TransactionMode)
    assert other.connection is not None
    other.close()
