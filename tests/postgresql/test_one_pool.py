"""One pool for one database, whatever its password becomes; and a pool that is misused says so and loses nothing."""

import faulthandler
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gevent
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DjangoError
from django.db import OperationalError, connections
from gevent.threadpool import ThreadPool

from pooldemo.postgresql import PoolTimeout, pools

from .elsewhere import patched, threaded
from .gate import Gate
from .servers import Lookout, Server, own_folder, own_server
from .site import Database, Site


def secured(site: Site) -> Server:
    return own_server(site, hba="scram-sha-256")


def rotate(server: Server, password: str) -> None:
    server.psql(f"ALTER ROLE pooldemo PASSWORD '{password}'")


def pids(server: Server) -> set[int]:
    found = server.psql("SELECT pid FROM pg_stat_activity WHERE usename = 'pooldemo'").split()
    return set(map(int, found))


def pools_of(db: Database) -> list[Any]:
    return [pool for pool in pools() if pool.name == db.alias]


@patched
def test_a_changed_password_drains_the_one_pool(site: Site) -> None:
    """Five times, while somebody holds: never a second pool, never a connection above MAX_CONNS."""
    server = secured(site)
    db = site.database(server.config(PASSWORD="first"), MAX_CONNS=2)
    db.fill(2)
    with Lookout(server) as lookout:
        for number in range(5):
            holder = gevent.spawn(db.ask, "SELECT pg_backend_pid() FROM pg_sleep(0.3)")
            gevent.sleep(0.05)
            before = pids(server)
            rotate(server, f"number {number}")
            connections.settings[db.alias]["PASSWORD"] = f"number {number}"
            after = {db.ask() for _ in range(3)}
            assert not after & before, "the old password's connections still serve"
            assert holder.get() in before
            assert len(pools_of(db)) == 1
        assert len(db.fill(2)) == 2
    assert lookout.most == 2, lookout.most


@patched
def test_a_callable_password_is_asked_for_each_new_connection(site: Site) -> None:
    server = secured(site)
    password, asked = ["first"], []

    def token() -> str:
        asked.append(1)
        return password[0]

    db = site.database(server.config(PASSWORD=token), MAX_CONNS=2)
    db.ask()
    db.ask()
    assert len(asked) == 1
    password[0] = "second"
    rotate(server, "second")
    site.wait_until(lambda: server.psql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                                        "WHERE usename = 'pooldemo'") == "0")  # fmt: skip
    assert len(db.fill(2)) == 2
    assert len(asked) == 3
    assert len(pools_of(db)) == 1


@patched
def test_a_failover_costs_each_connection_one_error_at_most(site: Site) -> None:
    """The address leads to a standby, and then to the primary: what cannot write (25006) is not handed out again."""
    primary = own_server(site)
    # Before the standby is made: one that is behind would say that there is no such table, which is no failover.
    primary.psql("CREATE TABLE IF NOT EXISTS public.written (id int); GRANT ALL ON public.written TO pooldemo")
    standby = primary.standby(own_folder(site) / "data")
    gate = Gate("127.0.0.1", standby.port)
    site.finally_do(gate.close)
    size = 3
    db = site.database(primary.config() | gate.config() | {"NAME": "postgres"}, sslmode="disable", MAX_CONNS=size)
    db.fill(size)
    gate._target = ("127.0.0.1", primary.port)
    failed = []
    for _ in range(4 * size):
        try:
            db.ask("INSERT INTO written VALUES (1)")
        except DjangoError as error:
            failed.append(str(error))
    assert len(failed) <= size, f"{len(failed)} of {4 * size} writes failed: {failed}"

    # A connection that was opened on a standby ends when that has become a primary, though it could write now.
    where = standby.config() | {"NAME": "postgres"}
    moved = [site.database(where, MAX_CONNS=1, RESET=reset) for reset in ("dirty", "never")]
    before = [db.ask() for db in moved]
    assert [db.ask() for db in moved] == before
    standby.promote()
    for db, pid in zip(moved, before, strict=True):
        db.ask()  # the server tells with its next answer
        assert db.ask() != pid


# ---- misuse ----


@patched
def test_a_connection_given_to_another_pool_is_refused_and_nothing_is_lost(site: Site) -> None:
    one, other = site.database(MAX_CONNS=1), site.database(MAX_CONNS=1)
    connection = one.pool.getconn()
    with pytest.raises(ValueError, match="pool"):
        other.pool.putconn(connection)
    one.pool.putconn(connection)
    for db in (one, other):
        assert db.ask("SELECT 1") == 1
        assert "0/1 in use, 1 idle" in repr(db.pool)


@patched
def test_a_second_connection_is_waited_for_while_others_hold_the_rest(site: Site) -> None:
    """It would wait for itself only when every slot is its own."""
    db = site.database(MAX_CONNS=2, POOL_TIMEOUT=60)
    other = gevent.spawn(db.ask, "SELECT pg_sleep(0.2)")
    gevent.sleep(0.05)
    with db.request() as cursor:
        cursor.execute("SELECT 1")
        second = connections.create_connection(db.alias)
        with second.cursor() as another:
            another.execute("SELECT 1")
            third = connections.create_connection(db.alias)
            with pytest.raises(OperationalError, match="itself"):
                third.ensure_connection()
        second.close()
    other.get()


@threaded
def test_threads_that_keep_their_connection_are_named_with_the_cure(site: Site) -> None:
    db = site.database(MAX_CONNS=4, POOL_TIMEOUT=0.3)

    def job(_: int) -> str:
        try:
            with db.connection.cursor() as cursor:  # and nothing closes the connection
                cursor.execute("SELECT pg_sleep(0.02)")
        except PoolTimeout as error:
            return str(error)
        return ""

    def close(_: int) -> None:
        time.sleep(0.02)
        connections.close_all()

    with ThreadPoolExecutor(10) as executor:
        told = [text for text in executor.map(job, range(24)) if text]
        assert told
        assert all("thread" in text and "close" in text for text in told), told[0]
        list(executor.map(close, range(40)))
    assert db.ask("SELECT 1") == 1


@patched
def test_a_native_thread_is_served_or_refused_in_words(site: Site) -> None:
    """gevent's threadpool runs threads that have no hub of the pool's; whatever they get, no slot is lost."""
    db = site.database(MAX_CONNS=2, POOL_TIMEOUT=60)

    def natively() -> Any:
        try:
            return db.ask("SELECT 1")
        except (DjangoError, ImproperlyConfigured) as error:
            return error
        finally:
            connections.close_all()

    pool = gevent.get_hub().threadpool
    answers = [pool.spawn(natively) for _ in range(6)]
    greenlets = [gevent.spawn(db.ask, "SELECT 1 FROM pg_sleep(0.02)") for _ in range(6)]
    gevent.joinall(greenlets, raise_error=True)
    for answer in [each.get() for each in answers]:
        assert answer == 1 or "thread" in str(answer), answer
    site.wait_until(lambda: "0/2 in use" in repr(db.pool))
    assert len(db.fill(2)) == 2


@patched
def test_a_connection_that_a_native_thread_waited_on_works_when_that_thread_has_ended(site: Site) -> None:
    db = site.database(MAX_CONNS=1)
    db.ask()

    def natively() -> None:
        db.ask("SELECT 1 FROM pg_sleep(0.01)")
        connections.close_all()

    threads = ThreadPool(1)
    threads.apply(natively)
    threads.kill()
    assert db.ask("SELECT 2 FROM pg_sleep(0.01)") == 2


@threaded
def test_a_child_forked_while_a_pool_is_made_works(site: Site) -> None:
    db = site.database(MAX_CONNS=1)
    db.ask()
    stop = threading.Event()

    def makes() -> None:
        while not stop.is_set():
            wrapper = connections.create_connection(db.alias)
            wrapper.settings_dict = {**wrapper.settings_dict, "OPTIONS": {**wrapper.settings_dict["OPTIONS"]}}
            wrapper.settings_dict["OPTIONS"]["MAX_USES"] = int(time.monotonic_ns() % 10**6)
            wrapper.pool.close()  # type: ignore[attr-defined]

    threads = [threading.Thread(target=makes) for _ in range(3)]
    for each in threads:
        each.start()
    try:
        for number in range(15):
            child = os.fork()
            if not child:
                faulthandler.dump_traceback_later(10, exit=True)
                try:
                    connections.settings[db.alias]["OPTIONS"]["MAX_USES"] = 77
                    code = 0 if db.ask("SELECT 1") == 1 else 1
                finally:
                    os._exit(code)
            _, status = os.waitpid(child, 0)
            assert status == 0, f"child {number} ended with {status}"
    finally:
        stop.set()
        for each in threads:
            each.join()
    assert db.ask("SELECT 1") == 1


@patched
def test_a_checkout_that_fails_is_logged_once_a_second(site: Site) -> None:
    db = site.database(MAX_CONNS=1, POOL_TIMEOUT=1).reach()
    lines: list[str] = []

    class Listens(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger, handler = logging.getLogger("pooldemo"), Listens(logging.WARNING)
    logger.addHandler(handler)
    try:
        with db.request() as cursor:
            cursor.execute("SELECT 1")
            started_s = time.monotonic()
            waiting = [gevent.spawn(db.ask) for _ in range(20)]
            gevent.joinall(waiting)
            took_s = time.monotonic() - started_s
    finally:
        logger.removeHandler(handler)
    assert all(isinstance(each.exception, PoolTimeout) for each in waiting)
    about = [line for line in lines if "no connection within" in line]
    assert 1 <= len(about) <= 1 + took_s, lines
