"""A deadline in whatever the driver does: what was sent ahead ends with it, and a savepoint is rolled back after it."""

import io
import time
from functools import partial
from typing import Any

import pytest
from django.db import transaction
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from pooldemo.postgresql import DeadlineExceeded, deadline
from pooldemo.postgresql.limits import Limit, current

from .elsewhere import patched, threaded
from .site import Database, Site
from .test_limits import exceeded, patiently, running


@patched
def test_what_was_sent_ahead_ends_with_its_deadline(site: Site) -> None:
    """psycopg 3 sends all of executemany's statements, a pipeline's, and a COPY's rows, and waits only afterwards.

    What waits begins after the deadline here, so that no outcome depends on when it passes.
    """
    patiently(site)
    db, table = site.database(MAX_CONNS=1), site.name("rows")
    if not is_psycopg3:
        sleeps = partial(db.connection.cursor().executemany, "SELECT pg_sleep(%s)", [[600]] * 3)
        assert "ended at the server" in exceeded("executing", sleeps)
        assert running(site, db) == 0
        return
    site.finally_do(lambda: site.database(pool=False).ask(f"DROP TABLE {table}"))
    db.ask(f"CREATE TABLE {table} (id int, slow text DEFAULT pg_sleep(600))")

    def executes_many(limit: Limit) -> None:
        def late() -> Any:
            yield from [[600]] * 3
            limit.set(0)  # for what begins from now on

        with db.connection.cursor() as cursor:
            cursor.executemany("SELECT pg_sleep(%s)", late())

    def copies(limit: Limit) -> None:
        with db.connection.cursor() as cursor, cursor.copy(f"COPY {table} (id) FROM STDIN") as copy:
            copy.write(b"1\n")  # at once; a row would be sent at the end, after the deadline
            limit.set(0)

    def pipes(limit: Limit) -> None:
        db.connection.ensure_connection()
        with db.connection.connection.pipeline(), db.connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(600)")
            limit.set(0)

    for work in (executes_many, copies, pipes):
        with pytest.raises(DeadlineExceeded, match="executing .*; ended at the server"), deadline(600) as limit:
            work(limit)
        assert running(site, db) == 0
        db.end_request()
        assert db.ask("SELECT 7") == 7
    assert db.ask(f"SELECT count(*) FROM {table}") == 0


@threaded
def test_a_copy_ends_with_its_deadline_under_threads(site: Site) -> None:
    """Where alone psycopg2 can copy."""
    patiently(site)
    db, table = site.database(MAX_CONNS=1), site.name("copied")
    site.finally_do(lambda: site.database(pool=False).ask(f"DROP TABLE {table}"))
    db.ask(f"CREATE TABLE {table} (id int, slow text DEFAULT pg_sleep(600))")

    def copies(cursor: Any) -> None:
        with cursor.copy(f"COPY {table} (id) FROM STDIN") as copy:
            copy.write_row((1,))

    def copies_from(cursor: Any) -> None:
        cursor.copy_from(io.StringIO("1\n"), table, columns=("id",))

    def copies_to(cursor: Any) -> None:
        cursor.copy_to(io.StringIO(), table)

    def copies_by_text(cursor: Any) -> None:
        cursor.copy_expert(f"COPY {table} (id) FROM STDIN", io.StringIO("1\n"))

    with site.database(MAX_CONNS=1).request() as other:
        other.execute("BEGIN")
        other.execute(f"LOCK TABLE {table}")
        for work in (copies,) if is_psycopg3 else (copies_from, copies_to, copies_by_text):
            with db.request() as cursor:
                assert "ended at the server" in exceeded("executing COPY", partial(work, cursor))
            assert running(site, db) == 0
    assert db.ask(f"SELECT count(*) FROM {table}") == 0


@patched
def test_a_savepoint_is_rolled_back_after_a_deadline(site: Site) -> None:
    for mode in ("request", "transaction"):
        db, table = site.database(MAX_CONNS=1, POOL_MODE=mode), site.name(f"saved_{mode}")
        site.finally_do(partial(site.database(pool=False).ask, f"DROP TABLE {table}"))
        db.ask(f"CREATE TABLE {table} AS SELECT 1 AS id")
        for wrap in (lambda execute, *given: execute(*given), comments):
            with transaction.atomic(using=db.alias), db.connection.cursor() as cursor:
                cursor.execute(f"INSERT INTO {table} VALUES (2)")
                with pytest.raises(DeadlineExceeded), db.connection.execute_wrapper(wrap):
                    works_too_long(db, f"INSERT INTO {table} VALUES (4)")
                cursor.execute(f"INSERT INTO {table} VALUES (8)")
        assert db.ask(f"SELECT sum(id) FROM {table}") == 21


def comments(execute: Any, sql: str, *given: Any) -> Any:
    """Says before and after each statement where it comes from, as tracers do."""
    return execute(f"/*dddbs='x'*/ {sql} /*traceparent='{'0' * 200}'*/", *given)


@deadline(600)
def works_too_long(db: Database, sql: str) -> None:
    limit = current()
    assert limit is not None
    with transaction.atomic(using=db.alias), db.connection.cursor() as cursor:
        cursor.execute(sql)
        limit.set(0)
        cursor.execute("SELECT 1")


@threaded
def test_what_is_no_statement_ends_with_its_deadline_too(site: Site) -> None:
    """A cursor that scrolls, a large object's steps, and who waits for notifications."""
    patiently(site)
    db = site.database(MAX_CONNS=1)

    def scrolls() -> None:
        with transaction.atomic(using=db.alias), db.connection.cursor():
            cursor = db.connection.connection.cursor("scrolls", scrollable=True)
            cursor.execute("SELECT pg_sleep(n) FROM generate_series(0, 40) AS n")
            cursor.scroll(40)

    def writes() -> None:
        with transaction.atomic(using=db.alias), db.connection.cursor():
            large = db.connection.connection.lobject(0, "wb")
            for _ in range(10_000):
                large.write(b"x")
                time.sleep(0.01)

    def listens() -> None:
        with db.connection.cursor():
            for _ in db.connection.connection.notifies(timeout=600):
                pass

    for work, step in ((scrolls, "pg_sleep"), (listens, "notifies") if is_psycopg3 else (writes, "lobject")):
        said, seconds = "", 0.25
        while step not in said:  # a busy machine may need more time to get there
            with pytest.raises(DeadlineExceeded) as caught, deadline(seconds):
                work()
            db.end_request()
            said, seconds = str(caught.value), 2 * seconds
        assert db.ask("SELECT 7") == 7
