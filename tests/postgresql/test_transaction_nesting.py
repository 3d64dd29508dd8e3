"""Transaction mode where statements run within others, and what others do to a wrapper in the midst of its work."""

import threading
from typing import Any

import pytest
from django.db import InterfaceError, connections, transaction
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from pooldemo.postgresql.transaction_mode import TransactionMode

from .elsewhere import patched, threaded
from .site import Site
from .test_transaction_mode import is_free, one_slot, uses


@patched
def test_a_slot_is_kept_while_a_statement_is_in_work_that_asks_for_others(site: Site) -> None:
    """A wrapper of `execute` that looks something up, and rows for executemany() that come from queries."""
    db, table = one_slot(site), site.name("asked")
    site.finally_do(lambda: site.database(pool=False).ask(f"DROP TABLE {table}"))
    uses(db, f"CREATE TABLE {table} (id int)")

    def audit(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        if "audit" not in sql:
            uses(db, "SELECT 'audit'")
        result = execute(sql, params, many, context)
        if "audit" not in sql:
            uses(db, "SELECT 'audit'")
        return result

    with db.connection.execute_wrapper(audit), db.connection.cursor() as cursor:
        cursor.execute("SELECT 42")
        assert cursor.fetchall() == [(42,)]
    assert is_free(db)
    if not is_psycopg3:  # whose connection cannot be asked meanwhile

        def numbers() -> Any:
            for number in range(3):
                uses(db, f"SELECT {number}")
                assert not is_free(db)
                yield (number,)

        with db.connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {table} VALUES (%s)", numbers())
        assert is_free(db)
        assert db.ask(f"SELECT count(*) FROM {table}") == 3


@threaded
def test_a_wrapper_that_is_shared_between_two_statements_is_every_threads(site: Site) -> None:
    db, got = one_slot(site), []
    uses(db)
    wrapper: Any = db.connection
    wrapper.inc_thread_sharing()
    uses(db)

    def asks() -> None:
        with wrapper.cursor() as cursor:
            cursor.execute("SELECT 2")
            got.append(cursor.fetchone())

    other = threading.Thread(target=asks)
    other.start()
    other.join()
    wrapper.dec_thread_sharing()
    assert got == [(2,)]


@threaded
def test_who_gives_back_what_a_finaliser_gave_back_just_before_has_nothing_to_do(site: Site) -> None:
    """A cursor's that the collector closes, or a signal's handler, before the first line of `give_back`."""
    db = one_slot(site)
    plain = TransactionMode.give_back

    def later(self: Any) -> None:
        plain(self)
        plain(self)

    site.finally_do(lambda: setattr(TransactionMode, "give_back", plain))
    TransactionMode.give_back = later  # type: ignore[method-assign]
    uses(db)
    with transaction.atomic(using=db.alias):
        uses(db)
    assert is_free(db)


@threaded
def test_a_cursor_that_the_collector_closes_takes_no_slot_from_work_that_goes_on(site: Site) -> None:
    """It closes one in whatever thread, and in the midst of atomic()'s beginning."""
    db, table = one_slot(site), site.name("collected")
    site.finally_do(lambda: site.database(pool=False).ask(f"DROP TABLE {table}"))
    uses(db, f"CREATE TABLE {table} (id int)")
    wrapper: Any = db.connection
    plain = wrapper.ensure_connection
    site.finally_do(lambda: wrapper.__dict__.pop("ensure_connection"))

    def close_elsewhere(cursor: Any) -> None:
        other = threading.Thread(target=cursor.close)
        other.start()
        other.join()

    for close in (close_elsewhere, lambda cursor: cursor.close()):
        old = wrapper.cursor()
        old.execute("SELECT generate_series(1, 5000)")

        def ensure(close: Any = close, old: Any = old) -> None:
            plain()
            close(old)

        wrapper.ensure_connection = ensure
        with transaction.atomic(using=db.alias):
            uses(db, f"INSERT INTO {table} VALUES (1)")
            assert not is_free(db)
            transaction.set_rollback(True, using=db.alias)
        wrapper.ensure_connection = plain
        assert is_free(db)
    assert db.ask(f"SELECT count(*) FROM {table}") == 0


@threaded
def test_a_cursor_in_another_threads_hands_costs_its_owner_nothing(site: Site) -> None:
    """It does what it does in request mode: psycopg2's works there, psycopg 3's refuses."""
    for mode in ("request", "transaction"):
        db = one_slot(site, POOL_MODE=mode)
        pid = db.ask()
        told: list[Any] = []
        with db.connection.cursor() as cursor:

            def ask(cursor: Any = cursor, told: Any = told) -> None:
                try:
                    cursor.execute("SELECT 7")
                    told.append(cursor.fetchall())
                except InterfaceError as error:
                    told.append(type(error))

            other = threading.Thread(target=ask)
            other.start()
            other.join()
            assert told == [InterfaceError if is_psycopg3 else [(7,)]], mode
            cursor.execute("SELECT pg_backend_pid()")
            assert cursor.fetchone() == (pid,)
            assert is_free(db) == (mode == "transaction")
        db.end_request()


@threaded
def test_a_cursor_closed_by_another_thread_gives_nothing_back(site: Site) -> None:
    db = one_slot(site)
    old = db.connection.cursor()
    old.execute("SELECT generate_series(1, 5000)")
    other = threading.Thread(target=old.close)
    other.start()
    other.join()
    assert not is_free(db)
    uses(db)
    assert is_free(db)


@patched
def test_a_mode_that_changes_in_the_settings_changes_between_requests(site: Site) -> None:
    """Whatever the request that first finds it out is doing."""
    db = one_slot(site)

    def change(mode: str) -> None:
        config = connections.settings[db.alias]
        config["OPTIONS"] = {**config["OPTIONS"], "POOL_MODE": mode}

    def in_a_block() -> None:
        with transaction.atomic(using=db.alias), transaction.atomic(using=db.alias):
            uses(db)

    def in_another_session() -> None:
        with db.connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            change("request")
            cursor.execute("SELECT 2")  # whose slot went back meanwhile
            assert cursor.fetchone() == (2,)

    for work in (in_a_block, lambda: uses(db), in_another_session):
        for mode in ("request", "transaction"):
            uses(db)  # the old one's
            change(mode)
            for _ in range(2):
                work()
                db.end_request()
            wrapper: Any = db.connection
            assert wrapper.pool.options.pool_mode == connections.settings[db.alias]["OPTIONS"]["POOL_MODE"]
            assert isinstance(wrapper, TransactionMode) is (wrapper.pool.options.pool_mode == "transaction")


@patched
def test_a_mode_that_another_finds_changed_changes_at_the_end_of_who_has_a_slot(site: Site) -> None:
    """And not in the midst of a statement, in which somebody closes the connection."""
    db = one_slot(site)

    def find() -> None:
        connections.settings[db.alias]["OPTIONS"]["POOL_MODE"] = "request"
        other: Any = connections.create_connection(db.alias)
        assert other.pool.options.pool_mode == "request"

    def close(execute: Any, *args: Any) -> Any:
        db.connection.close()
        return execute(*args)

    uses(db, "SET work_mem = '5MB'")
    find()
    db.end_request()
    assert not isinstance(db.connection, TransactionMode)
    connections.settings[db.alias]["OPTIONS"]["POOL_MODE"] = "transaction"
    uses(db)
    find()
    with pytest.raises(InterfaceError), db.connection.execute_wrapper(close):
        uses(db)
    db.end_request()
    assert not isinstance(db.connection, TransactionMode)
    assert db.ask("SELECT 1") == 1
