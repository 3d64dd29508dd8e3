"""A cursor belongs to its checkout: after it, it reads and writes nothing, and closing it disturbs nobody.

A view that fails keeps its cursors in the traceback's cycle; the collector closes them whenever it likes, in the middle
of another request's transaction on the same connection.
"""

import contextlib
import gc
import io
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import gevent
from django.db import Error as DjangoError
from django.db import InterfaceError as DjangoInterfaceError
from django.db import transaction
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from .elsewhere import patched, threaded
from .site import Database, Site

REFUSED = (DjangoInterfaceError, DatabaseWrapper.Database.InterfaceError)
ERRORS = (DjangoError, DatabaseWrapper.Database.Error)
MANY = "SELECT generate_series(1, 1000)"

Maker = Callable[[Any], Any]
MAKERS: dict[str, Maker] = {
    "django": lambda wrapper: wrapper.cursor(),
    "django chunked": lambda wrapper: wrapper.chunked_cursor(),
    "raw": lambda wrapper: wrapper.connection.cursor(),
    "named": lambda wrapper: wrapper.connection.cursor("kept", withhold=True),
}
if is_psycopg3:
    import psycopg
    from psycopg.rows import dict_row

    MAKERS |= {
        "Cursor": lambda wrapper: psycopg.Cursor(wrapper.connection),
        "ClientCursor": lambda wrapper: psycopg.ClientCursor(wrapper.connection),
        "RawCursor": lambda wrapper: psycopg.RawCursor(wrapper.connection),
        "dict rows": lambda wrapper: wrapper.connection.cursor(row_factory=dict_row),
        "ServerCursor": lambda wrapper: psycopg.ServerCursor(wrapper.connection, "kept", withhold=True),
        "RawServerCursor": lambda wrapper: psycopg.RawServerCursor(wrapper.connection, "kept", withhold=True),
        "connection.execute": lambda wrapper: wrapper.connection.execute(MANY),
    }
else:
    import psycopg2.extras

    MAKERS |= {
        "RealDictCursor": lambda wrapper: wrapper.connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor),
        "named RealDictCursor": lambda wrapper: wrapper.connection.cursor(
            "kept", cursor_factory=psycopg2.extras.RealDictCursor, withhold=True
        ),
    }

Use = Callable[[Any, str], object]
USES: dict[str, Use] = {
    "execute": lambda cursor, write: cursor.execute(write),
    "executemany": lambda cursor, write: cursor.executemany(write, [()]),
    "fetchone": lambda cursor, write: cursor.fetchone(),
    "fetchmany": lambda cursor, write: cursor.fetchmany(2),
    "fetchall": lambda cursor, write: cursor.fetchall(),
    "iterate": lambda cursor, write: next(iter(cursor)),
    "scroll": lambda cursor, write: cursor.scroll(1),
}
if is_psycopg3:
    USES |= {
        "copy": lambda cursor, write: cursor.copy("COPY (SELECT 1) TO STDOUT").__enter__(),
        "stream": lambda cursor, write: next(cursor.stream(write)),
    }
else:
    USES |= {
        "copy_expert": lambda cursor, write: cursor.copy_expert("COPY (SELECT 1) TO STDOUT", io.StringIO()),
        "callproc": lambda cursor, write: cursor.callproc("pg_advisory_xact_lock", [4711]),
    }
# What a driver does not have for a cursor of this kind it refuses by itself, with other words.
LACKING: tuple[type[Exception], ...] = (AttributeError, TypeError, NotImplementedError)
LACKING_WORDS = ("on named cursors", "with an asynchronous callback", "not supported on server-side cursors")
if is_psycopg3:
    LACKING += (DatabaseWrapper.Database.NotSupportedError,)


def table_of(site: Site) -> str:
    table = site.name("old_cursors")
    other = site.database(pool=False)
    other.ask(f"CREATE TABLE {table} (id int)")
    site.finally_do(lambda: other.ask(f"DROP TABLE {table}"))
    return table


def rows(site: Site, table: str) -> int:
    return int(site.observe(f"SELECT count(*) FROM {table}")[0][0])


def kept(db: Database, make: Maker, execute: bool = True) -> Any:
    """A cursor of a request that has ended, in the middle of its rows."""
    wrapper: Any = db.connection
    wrapper.ensure_connection()
    cursor = make(wrapper)
    if execute:
        cursor.execute(MANY)
        cursor.fetchone()
    db.end_request()
    return cursor


def use(cursor: Any, what: Use, write: str) -> str:
    """How it was taken: nothing when it was refused as it should."""
    try:
        what(cursor, write)
    except REFUSED:
        return ""
    except LACKING:
        return ""
    except Exception as error:
        if any(words in str(error) for words in LACKING_WORDS):
            return ""
        return f"{type(error).__name__}: {str(error).strip()}"
    return "was done"


@threaded
def test_a_named_cursor_that_another_thread_closes_says_nothing_to_the_server(site: Site) -> None:
    """Its checkout may end meanwhile: CLOSE would fail, and end the next holder's transaction. Nor does it complain: an
    async view that leaves `async for` early has its iterator collected in the thread of the event loop."""
    db, complaints = site.database(MAX_CONNS=1), []
    with transaction.atomic(using=db.alias):
        cursor: Any = db.connection.chunked_cursor()
        cursor.execute(MANY)

        def close() -> None:
            try:
                cursor.close()
            except Exception as error:
                complaints.append(error)

        other = threading.Thread(target=close)
        other.start()
        other.join()
        assert complaints == []
        with db.connection.cursor() as same:
            same.execute("SELECT count(*) FROM pg_cursors WHERE name <> ''")
            assert same.fetchone() == (1,)
    db.end_request()
    assert db.ask("SELECT count(*) FROM pg_cursors WHERE name <> ''") == 0


@patched
def test_rows_that_end_their_request_end_their_executemany(site: Site) -> None:
    """The driver would go on with the next holder's transaction."""
    table = table_of(site)
    db = site.database(MAX_CONNS=1)
    wrapper = db.connection

    def rows_of_a_request() -> Any:
        yield (1,)
        wrapper.close()
        yield (2,)

    with contextlib.suppress(*ERRORS), wrapper.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {table} VALUES (%s)", rows_of_a_request())
        raise AssertionError("it went on")
    wrapper.close()
    assert rows(site, table) <= 1
    assert db.ask("SELECT 1") == 1


@patched
def test_an_old_cursor_of_whatever_class_does_nothing(site: Site) -> None:
    """In the middle of the next holder's transaction, which goes on as if nothing had been."""
    table = table_of(site)
    wrong, count = [], 0
    for name, make in MAKERS.items():
        db = site.database(MAX_CONNS=1)
        cursor = kept(db, make)
        with contextlib.suppress(*ERRORS), transaction.atomic(using=db.alias), db.connection.cursor() as own:
            own.execute(f"INSERT INTO {table} VALUES (1)")
            for how, what in USES.items():
                taken = use(cursor, what, f"UPDATE {table} SET id = 2")
                wrong += [f"{name}, {how}: {taken}"] if taken else []
            for _ in range(2):
                cursor.close()
            own.execute(f"INSERT INTO {table} VALUES (1)")
        db.end_request()
        count += 2
        found = site.observe(f"SELECT count(*) FILTER (WHERE id = 1), count(*) FROM {table}")
        if found != [(count, count)]:
            wrong.append(f"{name}: the next holder's rows: {found}, expected {count} of 1")
            site.database(pool=False).ask(f"DELETE FROM {table}")
            count = 0
    assert not wrong, "\n".join(wrong)


@patched
def test_a_cursor_made_before_the_checkin_cannot_begin_after_it(site: Site) -> None:
    """Made and never used, or made by the same wrapper for its next request."""
    table = table_of(site)
    wrong = []
    for name, make in MAKERS.items():
        if name == "connection.execute":
            continue
        db = site.database(MAX_CONNS=1)
        cursor = kept(db, make, execute=False)
        db.connection.ensure_connection()
        taken = use(cursor, USES["execute"], f"INSERT INTO {table} VALUES (1)")
        wrong += [f"{name}: {taken}"] if taken else []
        db.end_request()
        assert db.ask("SELECT 1") == 1
    assert not wrong, "\n".join(wrong)
    assert rows(site, table) == 0


def iterate(wrapper: Any) -> Iterator[Any]:
    """As a queryset's iterator() does."""
    cursor = wrapper.chunked_cursor()
    try:
        cursor.execute(MANY)
        yield from cursor
    finally:
        cursor.close()


def fails_and_is_kept(db: Database, begin: Callable[[Any], Any]) -> None:
    """A request that raises while it iterates; its exception, in a cycle with its frame, keeps everything alive."""
    try:
        iterator = begin(db.connection)
        next(iterator)
        try:
            raise ValueError("a view")
        except ValueError as error:
            caught = error  # noqa: F841  the cycle: the frame has the error, its traceback the frame
            raise
    except ValueError:
        pass
    finally:
        db.end_request()


def block_left(wrapper: Any) -> Iterator[Any]:
    """A transaction block of the driver's own, psycopg 3's."""
    wrapper.ensure_connection()
    with wrapper.connection.transaction():
        yield from wrapper.connection.execute(MANY)


def streamed(wrapper: Any) -> Iterator[Any]:
    wrapper.ensure_connection()
    yield from wrapper.connection.cursor().stream(MANY)


def copied(wrapper: Any) -> Iterator[Any]:
    wrapper.ensure_connection()
    with wrapper.connection.cursor() as cursor, cursor.copy(f"COPY ({MANY}) TO STDOUT") as lines:
        yield from lines


BEGINNINGS: tuple[Callable[[Any], Any], ...] = (iterate,)
if is_psycopg3:
    BEGINNINGS += (block_left, streamed, copied)


def collected_in_anothers_transaction(site: Site, begin: Callable[[Any], Any], collect: Callable[[], Any]) -> None:
    table = table_of(site) if not rows_exist(site) else site.name("old_cursors")
    db = site.database(MAX_CONNS=1)
    db.ask()
    gc.disable()
    try:
        fails_and_is_kept(db, begin)
        before = rows(site, table)
        with transaction.atomic(using=db.alias), db.connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO {table} VALUES (1)")
            collect()
            cursor.execute(f"INSERT INTO {table} VALUES (1)")
        db.end_request()
        assert rows(site, table) == before + 2, begin.__name__
    finally:
        gc.enable()


def rows_exist(site: Site) -> bool:
    return bool(site.observe("SELECT to_regclass(%s) IS NOT NULL", site.name("old_cursors"))[0][0])


@patched
def test_an_iterator_collected_in_anothers_transaction_does_nothing_to_it(site: Site) -> None:
    """By the same greenlet, and by another that runs while it waits."""
    for begin in BEGINNINGS:
        collected_in_anothers_transaction(site, begin, gc.collect)
        collected_in_anothers_transaction(site, begin, lambda: gevent.spawn(gc.collect).join())


@threaded
def test_an_iterator_collected_in_another_threads_transaction_does_nothing_to_it(site: Site) -> None:
    def by_another() -> None:
        thread = threading.Thread(target=gc.collect)
        thread.start()
        thread.join(120)
        assert not thread.is_alive(), "the collector hangs"

    for begin in BEGINNINGS:
        collected_in_anothers_transaction(site, begin, gc.collect)
        collected_in_anothers_transaction(site, begin, by_another)


@patched
def test_an_iterator_collected_in_mid_query_does_nothing_to_it(site: Site) -> None:
    """The connection's next holder waits for an answer when the collector runs in another greenlet."""
    table = table_of(site)
    for begin in BEGINNINGS:
        db = site.database(MAX_CONNS=1)
        db.ask()
        gc.disable()
        try:
            fails_and_is_kept(db, begin)
            collector = gevent.spawn_later(0.02, gc.collect)
            with transaction.atomic(using=db.alias), db.connection.cursor() as cursor:
                cursor.execute(f"INSERT INTO {table} SELECT 1 FROM pg_sleep(0.05)")
            collector.get()
            db.end_request()
        finally:
            gc.enable()
    assert rows(site, table) == len(BEGINNINGS)


class Collecting(dict[str, Any]):
    """Parameters that let the collector run while they are put into their statement, which is in the driver's call."""

    def __getitem__(self, name: str) -> Any:
        gc.collect()
        return super().__getitem__(name)


def leave_a_server_cursor(db: Database) -> None:
    """In a cycle, with rows at the server."""

    def rows() -> Iterator[Any]:
        with db.connection.chunked_cursor() as cursor:
            cursor.execute(MANY)
            yield from cursor

    left: list[Any] = [rows()]
    next(left[0])
    left.append(left)


@threaded
def test_a_server_cursor_that_is_collected_in_a_call_of_its_own_thread_hangs_nobody(site: Site) -> None:
    """psycopg 3 by itself waits for ever for the lock that its own thread has."""
    db = site.database(MAX_CONNS=1)
    gc.disable()
    site.finally_do(gc.enable)
    with transaction.atomic(using=db.alias):
        leave_a_server_cursor(db)
        with db.connection.cursor() as cursor:
            cursor.execute("SELECT %(number)s", Collecting(number=1))
            assert cursor.fetchone() == (1,)
            cursor.execute("SELECT count(*) FROM pg_cursors")
            assert cursor.fetchone() == (0,)
    assert db.ask("SELECT 2") == 2


@patched
def test_a_statement_keeps_nothing_of_who_asked_for_it(site: Site) -> None:
    """Not even until the next collection: a server cursor of rows that nobody reads on would stay open until then."""
    db = site.database(MAX_CONNS=1)

    class Request:
        pass

    def ask() -> weakref.ref[Request]:
        request = Request()
        with transaction.atomic(using=db.alias), db.connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.executemany("SELECT %s", [[1], [2]])
            with db.connection.chunked_cursor() as named:
                named.execute("SELECT 1")
                named.fetchall()
        return weakref.ref(request)

    with db.request():
        gc.disable()
        try:
            assert ask()() is None
        finally:
            gc.enable()
