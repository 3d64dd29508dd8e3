"""What a cursor of transaction mode has read is its own: it outlives the slot, or keeps it."""

import gc
from functools import partial
from typing import Any

import pytest
from django.db import DatabaseError, transaction

from .elsewhere import patched, threaded
from .site import Site
from .test_transaction_mode import is_free, one_slot, uses


@patched
def test_a_large_result_keeps_its_slot_until_it_is_closed(site: Site) -> None:
    db = one_slot(site)
    with db.connection.cursor() as cursor:
        cursor.execute("SELECT n FROM generate_series(1, 5000) AS n")
        uses(db)
        assert not is_free(db)
        assert sum(n for (n,) in cursor) == 5000 * 5001 // 2
    assert is_free(db)
    cursor = db.connection.cursor()
    cursor.execute("SELECT n FROM generate_series(1, 5000) AS n")
    del cursor
    gc.collect()
    uses(db)
    assert is_free(db)


@patched
def test_a_cursor_keeps_its_rows_whatever_had_kept_the_slot_that_goes(site: Site) -> None:
    """A transaction, autocommit off, another's large result, a statement in whose midst it asked."""
    db, sql = one_slot(site), "SELECT n FROM generate_series(1, 5) AS n"
    wrapper = db.connection

    def after_a_transaction(cursor: Any) -> None:
        with transaction.atomic(using=db.alias):
            cursor.execute(sql)
            assert cursor.fetchone() == (1,)

    def after_autocommit(cursor: Any) -> None:
        wrapper.set_autocommit(False)
        after_a_statement(cursor)
        wrapper.commit()
        wrapper.set_autocommit(True)

    def after_a_statement(cursor: Any) -> None:
        cursor.execute(sql)
        assert cursor.fetchone() == (1,)

    def after_anothers_large_result(cursor: Any) -> None:
        with wrapper.cursor() as other:
            other.execute("SELECT generate_series(1, 5000)")
            after_a_statement(cursor)
            assert not is_free(db)

    def within_another_statement(cursor: Any) -> None:
        def wrap(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            if "7" in sql:
                after_a_statement(cursor)
            return execute(sql, params, many, context)

        with wrapper.execute_wrapper(wrap):
            uses(db, "SELECT 7")

    for keep in (after_a_transaction, after_autocommit, after_anothers_large_result, within_another_statement):
        with wrapper.cursor() as cursor:
            keep(cursor)
            assert is_free(db), keep.__name__
            assert (cursor.rowcount, cursor.rownumber, cursor.description[0][0]) == (5, 1, "n"), keep.__name__
            assert (cursor.fetchone(), cursor.fetchall()) == ((2,), [(3,), (4,), (5,)]), keep.__name__
        with wrapper.cursor() as cursor:
            rows = iter(cursor)
            after_a_transaction(cursor)
            with transaction.atomic(using=db.alias):
                cursor.execute(sql)
                assert next(rows) == (1,)
            assert (list(rows), is_free(db)) == ([(2,), (3,), (4,), (5,)], True)


@patched
def test_a_large_result_keeps_its_slot_after_its_transaction_too(site: Site) -> None:
    db = one_slot(site)
    with db.connection.cursor() as cursor, db.connection.cursor() as small:
        with transaction.atomic(using=db.alias):
            small.execute("SELECT 1")
            cursor.execute("SELECT n FROM generate_series(1, 5000) AS n")
            assert cursor.fetchone() == (1,)
        assert not is_free(db)
        small.execute("SELECT %s::int", [small.fetchone()[0] + 1])
        assert (len(cursor.fetchall()), small.fetchone()) == (4999, (2,))
    assert is_free(db)
    with db.connection.cursor() as cursor:
        with transaction.atomic(using=db.alias):
            cursor.execute("SELECT n FROM generate_series(1, 5000) AS n")
            assert len(cursor.fetchall()) == 5000
        assert (is_free(db), cursor.fetchone(), cursor.rowcount) == (True, None, 5000)
    for read in (1, 600, 1499):  # however little of it is left
        with db.connection.cursor() as cursor:
            with transaction.atomic(using=db.alias):
                cursor.execute("SELECT n FROM generate_series(1, 1500) AS n")
                assert len(cursor.fetchmany(read)) == read
            assert cursor.fetchall() == [(n,) for n in range(read + 1, 1501)], read
        assert is_free(db)


@patched
def test_a_transaction_that_is_done_ends_well_whatever_its_cursors_have_left(site: Site) -> None:
    """One that is closed past Django, and a value that Python cannot take, in the last row."""
    db = one_slot(site)
    told: list[str] = []

    def is_closed(cursor: Any) -> None:
        cursor.execute("SELECT 1")
        cursor.cursor.close()

    def cannot_be_read(cursor: Any) -> None:
        cursor.execute("SELECT '0044-03-15 BC'::date")
        with pytest.raises((ValueError, DatabaseError)):
            cursor.fetchone()

    for leave in (is_closed, cannot_be_read):
        with db.connection.cursor() as cursor, db.connection.cursor() as other:
            with transaction.atomic(using=db.alias):
                transaction.on_commit(partial(told.append, leave.__name__), using=db.alias)
                leave(cursor)
                other.execute("SELECT 2")
            assert other.fetchone() == (2,)
        assert is_free(db)
    assert told == ["is_closed", "cannot_be_read"]


@patched
def test_a_cursor_of_the_server_gives_many_rows_at_a_time(site: Site) -> None:
    """As the driver's own does where one iterates over it, and not one in each round trip."""
    gate = site.gate()
    db = site.behind(gate, MAX_CONNS=1, POOL_MODE="transaction")
    with db.connection.chunked_cursor() as cursor:
        cursor.execute("SELECT n FROM generate_series(1, 5000) AS n")
        before = gate.queries
        assert sum(n for (n,) in cursor) == 5000 * 5001 // 2
        assert gate.queries - before < 100


@threaded
def test_rows_that_are_left_are_asked_for_as_the_drivers(site: Site) -> None:
    """Errors too are those that the driver has where its own cursor is asked."""
    kept, given_back = site.database(POOL_MODE="request"), one_slot(site)

    def told(db: Any, name: str, *args: Any) -> Any:
        with db.connection.cursor() as cursor:
            cursor.execute("SELECT n FROM generate_series(1, 3) AS n")
            try:
                return getattr(cursor, name)(*args), cursor.fetchall()
            except Exception as error:
                return type(error), cursor.fetchall()

    scrolls = ("scroll", 2), ("scroll", 3), ("scroll", -1), ("scroll", 1, "absolute")
    for asked in (*scrolls, ("nextset",), ("fetchmany", 0)):
        assert told(kept, *asked) == told(given_back, *asked), asked
    assert is_free(given_back)
