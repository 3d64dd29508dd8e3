"""A cursor, and a driver's connection, belong to their checkout: afterwards they refuse to work and say nothing to the
server, for it is another's by then."""

import contextlib
import gc
import os
import select
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.event
import pytest
from django.db import OperationalError as DjangoOperationalError
from django.db import transaction
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from pooldemo.postgresql import green

from .elsewhere import patched, threaded
from .site import Database, Site

if is_psycopg3:
    from psycopg import InterfaceError
else:
    import psycopg2.extensions
    from psycopg2 import InterfaceError

    class Own(psycopg2.extensions.cursor):
        """A project's own."""

    def made_by_a_function(*given: Any) -> Own:
        return Own(*given)

    def connect_by_a_function(*given: Any) -> Any:
        return psycopg2.extensions.connection(*given)

    class OwnConnection(psycopg2.extensions.connection):
        """A project's own, which counts its cursors."""

        made = 0

        def cursor(self, *args: Any, **kwargs: Any) -> Any:
            self.made += 1
            return super().cursor(*args, **kwargs)


def kinds(db: Database) -> Iterator[Any]:
    """Cursors of every class that the driver has, on the checkout of now."""
    raw = db.connection.connection
    yield raw.cursor()
    yield raw.cursor("named", withhold=True)
    yield db.connection.chunked_cursor().cursor
    if is_psycopg3:
        import psycopg
        from psycopg.rows import dict_row

        yield raw.cursor(row_factory=dict_row)
        for direct in (psycopg.Cursor, psycopg.ClientCursor, psycopg.RawCursor):
            yield direct(raw)
        yield psycopg.ServerCursor(raw, "direct")
        yield raw.execute("SELECT 1")
    else:
        from psycopg2 import extras

        for factory in (extras.RealDictCursor, extras.DictCursor, extras.NamedTupleCursor, made_by_a_function):
            yield raw.cursor(cursor_factory=factory)
        yield raw.cursor("dicts", cursor_factory=extras.RealDictCursor, withhold=True)


def calls(cursor: Any) -> list[Callable[[], Any]]:
    """All that asks for something."""
    found = [
        lambda: cursor.execute("SELECT 1"),
        cursor.fetchone,
        cursor.fetchmany,
        cursor.fetchall,
        lambda: list(cursor),
        lambda: cursor.scroll(1),
    ]
    if getattr(cursor, "name", None) is None:
        found.append(lambda: cursor.executemany("SELECT %s", [(1,)]))
        if is_psycopg3:
            found += [
                lambda: list(cursor.stream("SELECT 1")),
                lambda: cursor.copy("COPY (SELECT 1) TO STDOUT").__enter__(),
            ]
        else:
            found += [lambda: cursor.callproc("now"), lambda: cursor.copy_expert("COPY (SELECT 1) TO STDOUT", None)]
    return found


@patched
def test_a_cursor_refuses_everything_after_its_checkout(site: Site) -> None:
    """Of whatever class, for the same greenlet and for others, whoever has the connection now."""
    db = site.database(MAX_CONNS=1)
    number = sum(1 for _ in held(db))
    for index in range(number):
        cursor = list(held(db))[index]
        with contextlib.suppress(Exception):
            cursor.execute("SELECT generate_series(1, 10)")
        db.end_request()
        with db.request() as other:
            other.execute("SELECT 4711")
            for call in calls(cursor):
                with pytest.raises(InterfaceError):
                    call()
            cursor.close()
            assert other.fetchone() == (4711,), cursor
        assert db.pool.get_stats()["requests_errors"] == 0


def held(db: Database) -> Iterator[Any]:
    db.connection.ensure_connection()
    yield from kinds(db)


@patched
def test_a_cursor_that_is_collected_late_breaks_nobodys_transaction(site: Site) -> None:
    """An iterator's, which an exception that somebody kept has kept: an ordinary cycle."""
    db = site.database(MAX_CONNS=1)

    def leaves_a_cycle() -> None:
        def rows() -> Iterator[Any]:
            with db.connection.chunked_cursor() as cursor:
                cursor.execute("SELECT generate_series(1, 1000)")
                yield from cursor

        iterator = rows()
        next(iterator)
        cycle: list[Any] = [iterator]
        cycle.append(cycle)

    gc.disable()
    try:
        leaves_a_cycle()
        db.end_request()
        with transaction.atomic(using=db.alias), db.connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            gc.collect()
            cursor.execute("SELECT 2")
            assert cursor.fetchone() == (2,)
    finally:
        gc.enable()


@patched
def test_a_kept_connection_cannot_act_in_anothers_checkout(site: Site) -> None:
    """Django hands the driver's connection to anybody; after the checkout it neither executes, commits nor closes."""
    db = site.database(MAX_CONNS=1)
    table = site.name("kept")
    db.ask(f"CREATE TABLE {table} (id int)")
    site.finally_do(lambda: site.database(pool=False).ask(f"DROP TABLE {table}"))
    with db.request():
        raw = db.connection.connection
    for call in (raw.cursor, raw.commit, raw.rollback):
        with pytest.raises(InterfaceError):
            call()

    def another() -> None:
        with transaction.atomic(using=db.alias), db.connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO {table} VALUES (1)")
            gevent.sleep(0.05)
            cursor.execute(f"INSERT INTO {table} VALUES (2)")
        db.end_request()

    greenlet = gevent.spawn(another)
    gevent.sleep(0.02)
    for call in (raw.cursor, raw.commit, raw.rollback):
        with pytest.raises(InterfaceError):
            call()
    raw.close()
    greenlet.get()
    assert db.ask(f"SELECT count(*) FROM {table}") == 2


@patched
def test_a_kept_connection_changes_nothing_in_anothers_transaction(site: Site) -> None:
    """psycopg2 ends a transaction to change how the next begins."""
    db = site.database(MAX_CONNS=1)
    table = site.name("changed")
    db.ask(f"CREATE TABLE {table} (id int)")
    site.finally_do(lambda: site.database(pool=False).ask(f"DROP TABLE {table}"))
    with db.request():
        raw = db.connection.connection
    inside, go = gevent.event.Event(), gevent.event.Event()

    def another() -> None:
        with transaction.atomic(using=db.alias), db.connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO {table} VALUES (1)")
            inside.set()
            go.wait()
            cursor.execute(f"INSERT INTO {table} VALUES (2)")
        db.end_request()

    greenlet = gevent.spawn(another)
    inside.wait()
    calls: list[Callable[[], Any]] = [lambda: setattr(raw, "autocommit", True)]
    if not is_psycopg3:
        calls += [
            lambda: raw.set_isolation_level(0),
            lambda: raw.set_session(readonly=True),
            lambda: raw.set_client_encoding("LATIN1"),
            lambda: setattr(raw, "isolation_level", 3),
            raw.tpc_recover,
        ]
    for call in calls:
        with pytest.raises(InterfaceError):
            call()
    go.set()
    greenlet.get()
    assert db.ask(f"SELECT count(*) FROM {table}") == 2


@patched
def test_a_kept_connection_takes_no_answer_of_anothers(site: Site) -> None:
    """psycopg2's `poll()`, as who listens calls it: the other would wait for that answer without end."""
    if is_psycopg3:
        return
    db = site.database(MAX_CONNS=1)
    with db.request():
        raw: Any = db.connection.connection
    another = gevent.spawn(db.ask, "SELECT pg_sleep(0.1)::text || 'x'")
    gevent.sleep(0)
    look = green.native_poll()()
    look.register(raw.fileno(), select.POLLIN)
    assert look.poll(10_000)  # the answer is there, and nobody was let run
    with pytest.raises(InterfaceError):
        raw.poll()
    assert another.get() == "x"


@patched
def test_a_kept_connection_cancels_nothing_of_anothers(site: Site) -> None:
    """A watchdog that comes late, say. In time it may, where the wrapper is shared with it."""
    db = site.database(MAX_CONNS=1)
    with db.request():
        raw = db.connection.connection
    waits = "SELECT 1 FROM pg_stat_activity WHERE application_name = %s AND wait_event IN ('PgSleep', 'advisory')"
    with site.database(pool=False).request() as locked:
        locked.execute("SELECT pg_advisory_lock(%s)", [os.getpid()])
        another = gevent.spawn(db.ask, f"SELECT 1 FROM pg_advisory_xact_lock({os.getpid()})")
        site.wait_until(lambda: site.observe(waits, db.alias))
        with contextlib.suppress(InterfaceError):  # psycopg 3 says nothing, and does nothing
            raw.cancel()
        locked.execute("SELECT pg_advisory_unlock(%s)", [os.getpid()])
    assert another.get() == 1
    wrapper = db.connection
    wrapper.ensure_connection()
    wrapper.inc_thread_sharing()

    def watch() -> None:
        site.wait_until(lambda: site.observe(waits, db.alias))
        wrapper.connection.cancel()

    watchdog = gevent.spawn(watch)
    with pytest.raises(DjangoOperationalError, match="user request"), wrapper.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(20)")
    watchdog.get()
    wrapper.dec_thread_sharing()
    wrapper.close()


@patched
def test_what_a_checkout_keeps_of_its_cursors_does_not_grow(site: Site) -> None:
    db = site.database(MAX_CONNS=1)
    with db.request():
        session = db.connection.connection._pool
        for _ in range(300):
            with db.connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            with db.connection.chunked_cursor() as named:
                named.execute("SELECT 1")
        assert len(session._cursors) < 200
        assert not session.held


@patched
def test_a_shared_wrapper_keeps_nothing_of_ended_checkouts(site: Site) -> None:
    """It lives as long as its threads or greenlets share it, through any number of checkouts."""
    db = site.database(MAX_CONNS=1)

    def objects_after(checkouts: int) -> int:
        for _ in range(checkouts):
            db.ask()
        gc.collect()
        return len(gc.get_objects())

    db.connection.inc_thread_sharing()
    try:
        objects_after(50)
        before = objects_after(50)
        assert objects_after(500) - before < 250
    finally:
        db.connection.dec_thread_sharing()


@patched
def test_an_idle_connection_keeps_little_of_its_last_statement(site: Site) -> None:
    db = site.database(MAX_CONNS=1)
    with db.request() as cursor:
        cursor.execute(f"SELECT '{'x' * 100_000}'")
        session = db.connection.connection._pool
        assert len(session.statement) < 1000
        assert len(session.first_words()) <= 60


@patched
def test_a_holder_who_has_asked_nothing_is_not_shown_with_what_the_one_before_asked(site: Site) -> None:
    """As while a view calls another service in its transaction, or under ATOMIC_REQUESTS, before its first query."""
    db = site.database(MAX_CONNS=1, POOL_TIMEOUT=0.01).reach()
    db.ask("SELECT 'of the one before'")
    with transaction.atomic(using=db.alias):
        refused = gevent.spawn(db.ask)
        gevent.joinall([refused])
    db.end_request()
    assert "held longest by" in str(refused.exception)
    assert "of the one before" not in str(refused.exception)


@threaded
def test_a_thread_refuses_a_cursor_of_an_ended_checkout(site: Site) -> None:
    """It needs no gevent."""
    db = site.database(MAX_CONNS=1)
    with db.request():
        cursor = db.connection.connection.cursor()
    with db.request(), pytest.raises(InterfaceError):
        cursor.execute("SELECT 1")


@patched
def test_a_shared_wrapper_may_be_used_by_whoever_it_is_shared_with(site: Site) -> None:
    """Also when it was shared after it had connected."""
    db = site.database(MAX_CONNS=1)
    wrapper = db.connection
    wrapper.ensure_connection()
    wrapper.inc_thread_sharing()

    def ask() -> Any:
        with wrapper.cursor() as cursor:
            cursor.execute("SELECT 1")
            return cursor.fetchone()

    assert gevent.spawn(ask).get() == (1,)
    wrapper.dec_thread_sharing()
    wrapper.close()
    assert db.ask("SELECT 1") == 1


@patched
def test_a_projects_own_factories_work(site: Site) -> None:
    """In OPTIONS, and set on the connection; what is set on one ends with its checkout."""
    if is_psycopg3:
        from psycopg.rows import dict_row

        db = site.database(MAX_CONNS=1)
        with db.request():
            raw = db.connection.connection
            raw.row_factory = dict_row
            assert raw.execute("SELECT 1 AS one").fetchone() == {"one": 1}
        assert db.ask("SELECT 1") == 1
        return
    from psycopg2 import extras

    db = site.database(MAX_CONNS=1, connection_factory=OwnConnection)
    for change in ("SELECT 1", "SET statement_timeout = 12345"):
        assert db.ask("SHOW statement_timeout") == "0"
        db.ask(change)
    with db.request():
        assert isinstance(db.connection.connection, OwnConnection)
        assert db.connection.connection.made > 4
    db = site.database(MAX_CONNS=1, connection_factory=psycopg2.extensions.connection)
    assert db.ask("SELECT 1") == 1
    db = site.database(MAX_CONNS=1, connection_factory=connect_by_a_function)
    with pytest.raises(Exception, match=r"connection_factory=.* is not accepted: give a class"):
        db.ask()
    db = site.database(MAX_CONNS=1, cursor_factory=extras.DictCursor)
    with db.connection.cursor() as cursor:
        cursor.execute("SELECT 1 AS one")
        assert cursor.fetchone()["one"] == 1
    db.connection.connection.cursor_factory = extras.RealDictCursor
    db.end_request()
    with db.connection.cursor() as cursor:
        cursor.execute("SELECT 1 AS one")
        assert cursor.fetchone()[0] == 1
