"""A connection that is closed on our side, or was never finished, counts until PostgreSQL has let go of it."""

import contextlib
import ctypes
import importlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from itertools import chain
from typing import Any

import gevent
import pytest
from django.db import Error, OperationalError
from django.db.backends.postgresql.psycopg_any import is_psycopg3
from interrupted import Signal, raise_signal

from pooldemo.postgresql import PoolTimeout, attempt
from pooldemo.postgresql.leaving import Leaving, _has_left, duplicate

from .elsewhere import patched, threaded
from .site import Database, Site, address

CLIENTS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


def clients(cursor: Any) -> int:
    """How many client processes the server has, but for this one."""
    cursor.execute(CLIENTS)
    number: int = cursor.fetchone()[0]
    return number


def most_of(site: Site, admin: Database, work: Callable[[], None], number: int) -> int:
    """How many client processes the server had at most while as many greenlets did the work."""
    most = 0
    with admin.request() as cursor:
        while clients(cursor):  # of the test before
            gevent.sleep(0.01)
        greenlets = [gevent.spawn(work) for _ in range(number)]
        while any(not greenlet.ready() for greenlet in greenlets):
            most = max(most, clients(cursor))
            gevent.sleep(0.005)
    gevent.joinall(greenlets, raise_error=True)
    return most


def go_on(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def own(site: Site, **options: Any) -> tuple[Database, Database]:
    """A pool on a server that nobody else uses, and somebody who looks at it."""
    config = address(site.own_server().url)
    return site.database(config, **options), site.database(config, pool=False)


@patched
def test_it_keeps_the_cap_when_queries_are_abandoned(site: Site) -> None:
    """As PostgreSQL counts: a process whose client has gone in mid-query is there until it notices."""
    db, admin = own(site, MAX_CONNS=3)

    def abandon() -> None:
        for _ in range(3):
            with contextlib.suppress(gevent.Timeout), gevent.Timeout(0.2):
                db.ask("SELECT pg_sleep(5)")

    assert 0 < most_of(site, admin, abandon, 6) <= 3
    assert db.ask("SELECT 1") == 1
    assert db.pool.get_stats()["pool_size"] <= 3


@patched
def test_it_keeps_the_cap_when_connecting_takes_too_long(site: Site) -> None:
    """A login that is slower than connect_timeout and POOL_TIMEOUT: who gives up leaves a process that counts."""
    db, admin = own(site, MAX_CONNS=2, POOL_TIMEOUT=0.3, connect_timeout=1, options="-c post_auth_delay=2")

    def storm() -> None:
        for _ in range(8):
            with contextlib.suppress(Error):
                db.ask()

    most = 0
    while not most:  # on a loaded machine nobody may get as far as a process before giving up
        most = most_of(site, admin, storm, 6)
    assert most <= 2, f"{most} processes"
    assert db.pool.get_stats()["connections_errors"]


@patched
def test_a_server_that_is_told_to_notice_late_notices_soon(site: Site) -> None:
    """Whatever role and database say of client_connection_check_interval; what OPTIONS say of it holds."""
    db, admin = own(site, MAX_CONNS=1)
    if not admin.ask("SELECT current_setting('client_connection_check_interval', true)"):
        return  # a server before PostgreSQL 14
    admin.ask("ALTER ROLE pooldemo SET client_connection_check_interval = '10s'")
    site.finally_do(lambda: admin.ask("ALTER ROLE pooldemo RESET client_connection_check_interval"))
    assert db.ask("SHOW client_connection_check_interval") == "100ms"
    given = site.database(address(site.own_server().url), options="-c client_connection_check_interval=7s")
    assert given.ask("SHOW client_connection_check_interval") == "7s"


@patched
def test_one_abandoned_query_delays_no_other_slot(site: Site) -> None:
    """Whoever connects in another slot waits for nobody to leave. And then its slot comes back."""
    db = site.database(MAX_CONNS=3, options="-c client_connection_check_interval=0")
    staying = db.ask()
    site.finally_do(lambda: site.terminate(staying))
    active = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND state = 'active'"
    victim = gevent.spawn(db.ask, "SELECT pg_sleep(600)")
    site.wait_until(lambda: site.observe(active, staying))
    victim.kill()
    assert staying not in db.fill(2)
    assert site.observe(active, staying)
    site.terminate(staying)
    assert len(db.fill(3)) == 3


@threaded
def test_it_keeps_the_cap_when_the_drivers_connection_is_closed_by_hand(site: Site) -> None:
    """The server's process is there until it has read the goodbye; this one cannot yet."""
    db, _ = own(site, MAX_CONNS=1, POOL_TIMEOUT=1)
    db.reach()
    with db.request() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
        raw: Any = db.connection.connection
        os.kill(pid, signal.SIGSTOP)
        site.finally_do(lambda: go_on(pid))
        raw.close()
        assert raw.closed
    with pytest.raises(PoolTimeout, match="1 closed here and not yet at the server"):
        db.ask()
    os.kill(pid, signal.SIGCONT)
    assert db.ask() != pid


@threaded
def test_it_keeps_the_cap_when_connecting_takes_too_long_under_threads(site: Site) -> None:
    """psycopg2 cannot be stopped there: what connect_timeout gives up goes on, and its slot waits for its end."""
    keeps_the_cap_under_threads(site, connect_timeout=2)


@threaded
def test_it_keeps_the_cap_when_libpqs_own_variable_says_how_long_connecting_may_take(site: Site) -> None:
    site.finally_do(lambda: os.environ.pop("PGCONNECT_TIMEOUT"))
    os.environ["PGCONNECT_TIMEOUT"] = "2"
    keeps_the_cap_under_threads(site)


@threaded
def test_it_connects_with_a_wait_callback_of_the_projects_own(site: Site) -> None:
    """psycopg2's recipe to be interrupted. With a connect_timeout it is called in the thread that connects."""
    if is_psycopg3:
        return
    extensions: Any = importlib.import_module("psycopg2.extensions")
    extras: Any = importlib.import_module("psycopg2.extras")
    site.finally_do(lambda: extensions.set_wait_callback(None))
    extensions.set_wait_callback(extras.wait_select)
    db = site.database(MAX_CONNS=1, RESET="always", connect_timeout=60)
    assert db.ask() == db.ask()


@patched
def test_a_connect_timeout_is_read_as_libpq_reads_it(site: Site) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for given in ("-1", "0", " 60"):
            patch.setenv("PGCONNECT_TIMEOUT", given)
            assert site.database().ask("SELECT 1") == 1
        patch.setenv("PGCONNECT_TIMEOUT", "soon")
        with pytest.raises(OperationalError, match="'soon' is not accepted"):
            site.database().ask()


def test_several_addresses_are_seen_where_libpqs_own_variable_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert attempt.is_one_address({"host": "127.0.0.1"})
    monkeypatch.setenv("PGHOSTADDR", "127.0.0.1,127.0.0.2")
    assert not attempt.is_one_address({"host": "127.0.0.1"})


def keeps_the_cap_under_threads(site: Site, **options: Any) -> None:
    db, admin = own(site, MAX_CONNS=1, POOL_TIMEOUT=0.5, options="-c post_auth_delay=5", **options)
    stop, served, most = threading.Event(), threading.Event(), 0

    def ask() -> None:
        while not stop.is_set():
            with contextlib.suppress(Error):
                db.ask()
                served.set()
            db.connection.close()

    with admin.request() as cursor:
        site.wait_until(lambda: not clients(cursor))  # of the test before
        thread = threading.Thread(target=ask)
        thread.start()
        while db.pool.get_stats()["connections_errors"] < 2 and not served.is_set():
            most = max(most, clients(cursor))
    stop.set()
    thread.join()
    assert not served.is_set(), "the login was to take longer than connect_timeout"
    assert most == 1


@patched
def test_it_lives_within_what_a_full_server_gives(site: Site) -> None:
    """Who waits for what comes back is not given up, though the server refuses another connection all the while."""
    db, _ = own(site, MAX_CONNS=3, POOL_TIMEOUT=60)
    name = db.ask("SELECT current_database()")
    db.ask(f'ALTER DATABASE "{name}" CONNECTION LIMIT 1')
    site.finally_do(lambda: db.ask(f'ALTER DATABASE "{name}" CONNECTION LIMIT -1'))
    with db.request() as cursor:
        cursor.execute("SELECT 1")
        waiters = [gevent.spawn(db.ask, "SELECT 1") for _ in range(3)]
        site.wait_until(lambda: db.pool.slots.server.failure)
        pool = db.pool
        pool.upkeep.clock = lambda: time.monotonic() + 60 / 4  # longer is no server waited for that is down
        refused = pool.get_stats()["connections_errors"]
        site.wait_until(lambda: pool.get_stats()["connections_errors"] > refused + 1)
    assert [waiter.get() for waiter in waiters] == [1, 1, 1]


def test_the_end_of_the_server_is_seen_on_our_duplicate() -> None:
    """Our own goodbye is not taken for it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        leaving = Leaving([duplicate(ours.fileno())])
        assert theirs.recv(1) == b"", "the server is told"
        assert not leaving.gone()
        theirs.sendall(b"last words")
        assert not leaving.gone()
        theirs.close()
        assert leaving.gone()


def test_a_project_that_limits_every_socket_has_no_slot_back_too_soon() -> None:
    """By `socket.setdefaulttimeout()`: the worker stood still for as long, and then took the server for gone."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        socket.setdefaulttimeout(0.001)
        try:
            leaving = Leaving([duplicate(ours.fileno())])
        finally:
            socket.setdefaulttimeout(None)
        assert not leaving.gone()
        theirs.close()
        assert leaving.gone()


def test_a_duplicate_that_nobody_has_is_closed_though_a_signal_comes() -> None:
    """Python swallows what a signal's handler raises in a finaliser, and did not go on with that."""
    ours, theirs = socket.socketpair()
    kept = [duplicate(ours.fileno())]
    ours.close()
    kill = ctypes.PyDLL(None).kill  # os.kill would have the handler called before it returns
    before = signal.signal(signal.SIGUSR1, lambda *_: raise_signal())
    try:
        with pytest.raises(Signal):
            list(chain(map(kill, (os.getpid(),), (signal.SIGUSR1,)), map(list.clear, (kept,))))
    finally:
        signal.signal(signal.SIGUSR1, before)
    theirs.setblocking(False)
    with theirs:
        assert theirs.recv(1) == b"", "it is closed"


def test_the_system_is_told_to_notice_a_server_that_nobody_hears_of_any_more() -> None:
    """A minute without an answer from its machine ends the wait; nothing else does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs = listener.accept()[0]
        with ours, theirs:
            leaving = Leaving([duplicate(ours.fileno())])
            assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            patience_s = ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) / 1000
            asked_s = ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            assert 0 < asked_s < patience_s <= 60
            assert not leaving.gone()


def test_what_the_settings_say_of_a_silent_server_is_not_made_longer() -> None:
    """tcp_user_timeout and keepalives of OPTIONS: the slot would wait a minute, whatever they say."""
    given = {"TCP_USER_TIMEOUT": 15_000, "TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 2}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs = listener.accept()[0]
        with ours, theirs:
            for name, value in given.items():
                ours.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            leaving = Leaving([duplicate(ours.fileno())])
            found = {name: ours.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in given}
            assert found == given
            assert not leaving.gone()


def test_two_threads_may_look_at_once_whether_the_server_has_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a filler and the keeper do: the system lets the other run while one looks."""
    ours, theirs = socket.socketpair()
    theirs.close()
    left = Leaving([duplicate(ours.fileno())])
    ours.close()
    others: list[threading.Thread] = []

    def look(each: Any) -> bool:
        if not others:
            others.append(threading.Thread(target=left.gone))
            others[0].start()
            others[0].join(0.2)  # until he has been there, or waits for his turn
        return _has_left(each)

    monkeypatch.setattr("pooldemo.postgresql.leaving._has_left", look)
    assert left.gone()
    others[0].join()
    assert left.gone()


@threaded
def test_a_connect_with_a_limit_needs_no_thread_of_its_own(site: Site) -> None:
    """At the interpreter's end none can be started."""
    db = site.database(MAX_CONNS=1, connect_timeout=20)
    module: Any = attempt
    original, asked = module.start_thread, []

    def none_left(work: Callable[[], None]) -> None:
        asked.append(work)
        raise RuntimeError("can't start new thread")

    module.start_thread = none_left
    try:
        assert db.ask("SELECT 1") == 1
    finally:
        module.start_thread = original
    assert is_psycopg3 or asked


@threaded
def test_a_connection_is_closed_though_no_descriptor_is_left(site: Site) -> None:
    """For the duplicate on which its end would be seen."""
    db = site.database(MAX_CONNS=1)
    with db.request():
        session = db.connection.connection._pool
    original, os.dup = os.dup, lambda descriptor: (_ for _ in ()).throw(OSError("too many open files"))
    try:
        db.pool.drain()
    finally:
        os.dup = original
    assert session.is_closed()
    site.wait_until(lambda: not db.pids())
    assert db.ask("SELECT 1") == 1
