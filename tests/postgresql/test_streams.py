"""psycopg 3's `stream()` has its connection's lock for as long as it goes on: nobody waits for one that is left."""

import contextlib
import threading
from queue import Empty, SimpleQueue
from typing import Any

import pytest
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from .elsewhere import threaded
from .site import Database, Site
from .test_old_cursors import ERRORS, REFUSED


def cursor_and_stream(db: Database) -> tuple[Any, Any]:
    """A server cursor, and ten rows that stream in, of which the first is taken."""
    raw: Any = db.connection.connection
    cursor, stream = raw.cursor("left"), raw.cursor().stream("SELECT generate_series(1, 10)")
    next(stream)
    return cursor, stream


@threaded
def test_a_stream_that_another_thread_collects_keeps_nobody_in_the_close_of_a_cursor(site: Site) -> None:
    """psycopg 3's generator holds its connection's lock, which no other thread can give back."""
    if not is_psycopg3:
        return
    db, closed = site.database(MAX_CONNS=1), threading.Event()
    errors: list[BaseException] = []
    with db.request():
        cursor, stream = cursor_and_stream(db)

        def collect() -> None:
            try:
                stream.close()
            except BaseException as error:  # of which the collector would write a line
                errors.append(error)

        other = threading.Thread(target=collect)
        other.start()
        other.join()
    assert not errors

    def close() -> None:
        cursor.close()
        closed.set()

    threading.Thread(target=close, daemon=True).start()
    assert closed.wait(30)
    assert db.ask("SELECT 2") == 2


@threaded
def test_a_stream_that_another_thread_ends_keeps_nobody_who_shares_its_connection_waiting(site: Site) -> None:
    """As where a live server's tests lend theirs to its threads: the lock stayed with who had begun the stream."""
    if not is_psycopg3:
        return
    db, answers = site.database(MAX_CONNS=1), SimpleQueue[Any]()
    with db.request() as cursor:
        cursor.execute("SELECT 1")
        wrapper, raw = db.connection, cursor.connection
        wrapper.inc_thread_sharing()
        streams: list[Any] = []

        def begin() -> None:
            streams.append(raw.cursor().stream("SELECT generate_series(1, 10)"))
            next(streams[0])

        beginning = threading.Thread(target=begin)
        beginning.start()
        beginning.join()
        threading.Thread(target=lambda: answers.put(streams.pop().close()), daemon=True).start()
        assert answers.get(timeout=30) is None
        threading.Thread(target=lambda: answers.put(raw.execute("SELECT 7").fetchone()), daemon=True).start()
        assert answers.get(timeout=30) == (7,)
        wrapper.dec_thread_sharing()
    assert db.ask("SELECT 2") == 2


@threaded
def test_threads_that_share_a_connection_wait_for_each_others_statements(site: Site) -> None:
    """And who is in the midst of one may ask again, as the collector does that closes a cursor."""
    if not is_psycopg3:
        return
    db, entered, answers = site.database(MAX_CONNS=1), threading.Event(), SimpleQueue[Any]()
    with db.request() as cursor:
        cursor.execute("SELECT 1")
        wrapper, raw = db.connection, cursor.connection
        wrapper.inc_thread_sharing()

        def waits() -> None:
            entered.set()
            answers.put(raw.execute("SELECT 7").fetchone())

        with raw.lock, raw.lock:
            threading.Thread(target=waits, daemon=True).start()
            assert entered.wait(30)
            with pytest.raises(Empty):
                answers.get(timeout=0.2)
        assert answers.get(timeout=30) == (7,)
        wrapper.dec_thread_sharing()


@threaded
def test_who_may_not_use_a_connection_does_not_wait_for_who_may(site: Site) -> None:
    """The collector closes a server cursor in whatever thread it is; psycopg 3 by itself waits there for the lock."""
    if not is_psycopg3:
        return
    db, closed = site.database(MAX_CONNS=1), threading.Event()
    with db.request():
        cursor, stream = cursor_and_stream(db)

        def close() -> None:
            with contextlib.suppress(*REFUSED):
                cursor.close()
            closed.set()

        threading.Thread(target=close, daemon=True).start()
        assert closed.wait(30)
        assert len(list(stream)) == 9
    assert db.ask("SELECT 2") == 2


@threaded
def test_a_stream_whose_connection_was_given_back_says_so(site: Site) -> None:
    """And not that a lock is not its own."""
    if not is_psycopg3:
        return
    db = site.database(MAX_CONNS=1)
    with db.request():
        _, stream = cursor_and_stream(db)
        db.connection.close()
        with pytest.raises(ERRORS):
            next(stream)
    assert db.ask("SELECT 2") == 2
