"""A forked child touches no connection of its parent, though it has the same sockets and, with gevent, greenlets."""

import os
from collections.abc import Callable

import gevent
from django.db import DatabaseError, transaction
from gevent import monkey

from pooldemo.postgresql.limits import Limit, limited

from .elsewhere import patched, threaded
from .site import Site
from .test_limits import running


def fork(work: Callable[[], object]) -> int:
    """The child that does `work`. It ends with 0 where that went well."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def ended_well(child: int) -> bool:
    return os.waitpid(child, 0)[1] == 0


@patched
def test_greenlets_that_go_on_in_a_child_take_no_answer_and_cancel_nothing(site: Site) -> None:
    db = site.database(MAX_CONNS=2)
    table = site.name("locked")
    db.ask(f"CREATE TABLE {table} (id int)")
    limit = Limit()

    def within_limit() -> None:
        with limited(limit):
            db.ask(f"SELECT count(*) FROM {table}")

    def go_on() -> None:
        limit.give_up()
        gevent.sleep(0.5)

    with transaction.atomic(using=db.alias):
        with db.connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {table}")
        waits = gevent.spawn(within_limit)
        site.wait_until(lambda: running(site, db))
        for _ in range(5):
            fork(go_on)  # gevent reaps them
        gevent.sleep(0.2)  # they are at it
    waits.get()
    assert db.ask("SELECT 1") == 1


@patched
def test_a_child_that_a_native_thread_has_forked_is_served(site: Site) -> None:
    """The hub on which the parent's pools do their work is another thread's, which is not in the child."""
    db = site.database(MAX_CONNS=1, POOL_TIMEOUT=20)
    assert db.ask("SELECT 1") == 1
    forks = monkey.get_original("os", "fork")
    answer, answers = os.pipe()  # no exit status, which gevent may take before the thread that waits for it

    def in_native_thread() -> bytes:
        if not forks():
            try:
                os.write(answers, b"%d" % db.ask("SELECT 1"))
            finally:
                os._exit(0)
        os.close(answers)
        return os.read(answer, 1)

    assert gevent.get_hub().threadpool.apply(in_native_thread) == b"1"
    os.close(answer)
    assert db.ask("SELECT 1") == 1


@threaded
def test_a_child_neither_uses_nor_ends_its_parents_transaction(site: Site) -> None:
    db = site.database(MAX_CONNS=1)
    table, parent = site.name("forked"), os.getpid()
    db.ask(f"CREATE TABLE {table} (id int)")
    try:
        with transaction.atomic(using=db.alias), db.connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO {table} VALUES (1)")
            if not (child := os.fork()):
                cursor.execute(f"INSERT INTO {table} VALUES (2)")
            assert ended_well(child)
            cursor.execute(f"INSERT INTO {table} VALUES (3)")
    except DatabaseError:
        if os.getpid() == parent:
            raise
        os._exit(0 if db.ask("SELECT 1") == 1 else 1)  # over a connection of its own
    assert site.observe(f"SELECT id FROM {table}") == [(1,), (3,)]


@threaded
def test_a_child_of_a_request_has_a_connection_of_its_own(site: Site) -> None:
    db = site.database(MAX_CONNS=1)
    with db.connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]

        def ask() -> None:
            with db.connection.cursor() as other:
                other.execute("SELECT pg_backend_pid()")
                assert other.fetchone()[0] != pid

        assert ended_well(fork(ask))
        cursor.execute("SELECT pg_backend_pid()")
        assert cursor.fetchone()[0] == pid
    db.end_request()
