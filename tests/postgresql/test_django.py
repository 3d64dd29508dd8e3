"""What Django promises of a database, on our ENGINE: its settings, its transactions, its signals, its tests' tricks."""

import contextlib
import datetime as dt
import os
import subprocess
import sys
import threading
from typing import Any

import gevent
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.base import BaseHandler
from django.db import DatabaseError, DataError, OperationalError, connections, transaction
from django.db.backends.postgresql.psycopg_any import IsolationLevel
from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponse

from pooldemo.postgresql import PoolClosed, PoolFull, PoolTimeout, pools

from .elsewhere import patched, threaded
from .site import Database, Site


def rows(site: Site) -> Database:
    """A database with an empty table `rows` in a schema of its own, which goes when the test ends."""
    schema = site.name("rows")
    db = site.database(MAX_CONNS=2, options=f"-c search_path={schema}")
    db.ask(f"CREATE SCHEMA {schema}; CREATE TABLE rows (id int)")
    site.finally_do(lambda: site.database(pool=False).ask(f"DROP SCHEMA {schema} CASCADE"))
    return db


def count(db: Database) -> int:
    number: int = db.ask("SELECT count(*) FROM rows")
    return number


@patched
def test_a_databases_own_time_zone_is_set(site: Site) -> None:
    """TIME_ZONE in DATABASES beats the site's; a datetime comes back as it was put in."""
    db = site.database({"TIME_ZONE": "Asia/Tokyo"})
    assert db.ask("SHOW TimeZone") == "Asia/Tokyo"
    moment = dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC)
    assert db.ask("SELECT %s::timestamptz", moment) == moment


@patched
def test_atomic_commits_rolls_back_and_calls_on_commit(site: Site) -> None:
    db = rows(site)
    called = []
    with transaction.atomic(using=db.alias), db.connection.cursor() as cursor:
        cursor.execute("INSERT INTO rows VALUES (1)")
        transaction.on_commit(lambda: called.append("committed"), using=db.alias)
        with contextlib.suppress(DataError), transaction.atomic(using=db.alias):
            transaction.on_commit(lambda: called.append("rolled back"), using=db.alias)
            cursor.execute("INSERT INTO rows VALUES (2)")
            cursor.execute("SELECT 1/0")
        assert called == []
    db.end_request()
    assert (count(db), called) == (1, ["committed"])


@patched
def test_atomic_requests_wraps_each_view(site: Site) -> None:
    db = rows(site)
    connections.settings[db.alias]["ATOMIC_REQUESTS"] = True
    db.connection.settings_dict["ATOMIC_REQUESTS"] = True

    def view(request: HttpRequest, fails: bool) -> HttpResponse:
        with db.connection.cursor() as cursor:
            cursor.execute("INSERT INTO rows VALUES (1)")
        if fails:
            raise ValueError
        return HttpResponse()

    atomic_view = BaseHandler().make_view_atomic(view)
    atomic_view(HttpRequest(), fails=False)
    db.end_request()
    with pytest.raises(ValueError):
        atomic_view(HttpRequest(), fails=True)
    db.end_request()
    assert count(db) == 1


@patched
def test_connection_created_is_sent_with_a_connection_that_works(site: Site) -> None:
    """At each checkout, as with Django's own pool: what a receiver sets is set for the request that it was set for."""
    db = site.database(MAX_CONNS=1)
    seen = []

    def receiver(connection: Database, **kwargs: object) -> None:
        with connection.cursor() as cursor:  # type: ignore[attr-defined]
            cursor.execute("SET work_mem = '7MB'")
        seen.append(connection.alias)

    connection_created.connect(receiver)
    try:
        answers = [db.ask("SHOW work_mem") for _ in range(2)]
    finally:
        connection_created.disconnect(receiver)
    assert (answers, seen) == (["7MB", "7MB"], [db.alias, db.alias])
    assert db.ask("SHOW work_mem") != "7MB"


@patched
def test_each_alias_has_a_pool_of_its_own(site: Site) -> None:
    """Also when they lead to the same database."""
    one, other = site.database(MAX_CONNS=1), site.database(MAX_CONNS=2)
    with one.request() as cursor, other.request():
        cursor.execute("SELECT 1")
    assert {pool.name: pool.options.max_conns for pool in pools()} == {one.alias: 1, other.alias: 2}
    assert (len(one.pids()), len(other.pids())) == (1, 1)


@patched
def test_a_copy_with_other_options_has_a_pool_of_its_own(site: Site) -> None:
    """Django's tests copy a connection, change its options and keep the alias."""
    db = site.database(MAX_CONNS=1)
    db.ask()
    copy = db.connection.copy()
    copy.settings_dict["OPTIONS"]["isolation_level"] = IsolationLevel.SERIALIZABLE
    try:
        assert copy.pool is not db.pool  # type: ignore[attr-defined]
        with transaction.atomic(using=db.alias), copy.cursor() as cursor:
            copy.set_autocommit(False)
            cursor.execute("SHOW transaction_isolation")
            assert cursor.fetchone()[0] == "serializable"
            copy.rollback()
    finally:
        copy.close()
        copy.close_pool()  # type: ignore[attr-defined]
    assert db.connection.copy().pool is db.pool  # type: ignore[attr-defined]


@patched
def test_pool_false_is_a_plain_connection(site: Site) -> None:
    """It ends when it is closed, and no pool knows of it."""
    db = site.database(pool=False)
    assert db.connection.pool is None  # type: ignore[attr-defined]
    with db.request():
        assert len(db.pids()) == 1
    site.wait_until(lambda: not db.pids())
    assert pools() == []


@patched
def test_test_databases_are_made_cloned_and_dropped(site: Site) -> None:
    """No idle connection, not of another alias either, keeps PostgreSQL from dropping or copying one."""
    name = site.name("pooldemo_own_test")
    db = site.database({"TEST": {"NAME": name}})
    creation = db.connection.creation
    before = db.connection.settings_dict["NAME"]
    creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        assert db.ask("SELECT current_database()") == name
        mirror = site.database()
        mirror.connection.creation.set_as_test_mirror(db.connection.settings_dict)
        assert mirror.ask("SELECT current_database()") == name
        creation.clone_test_db(suffix="2", verbosity=0, autoclobber=True)
        assert db.ask("SELECT current_database()") == name
        creation.destroy_test_db(verbosity=0, suffix="2")
    finally:
        creation.destroy_test_db(before, verbosity=0)
    assert db.ask("SELECT current_database()") == before
    assert site.observe("SELECT datname FROM pg_database WHERE datname LIKE %s", f"{name}%") == []


@patched
def test_a_closed_pool_is_opened_again_by_the_next_request(site: Site) -> None:
    """`close_pool`, which Django calls when a time zone changes; who waited is told."""
    db = site.database(MAX_CONNS=1)
    with db.request():
        waiter = gevent.spawn(db.ask)
        gevent.sleep(0.01)
        db.connection.close_pool()  # type: ignore[attr-defined]
        with pytest.raises(PoolClosed):
            waiter.get()
    assert db.ask("SELECT 1") == 1


@patched
def test_its_errors_are_djangos_operational_errors(site: Site) -> None:
    """With the numbers and the holders in their text."""
    assert all(issubclass(error, OperationalError) for error in (PoolTimeout, PoolFull, PoolClosed))
    db = site.database(MAX_CONNS=1, POOL_TIMEOUT=1, MAX_WAITING=1).reach()
    with db.request() as cursor:
        cursor.execute("SELECT 'the last statement'")
        first, second = gevent.spawn(db.ask), gevent.spawn(db.ask)
        with pytest.raises(PoolFull, match=r"refused, MAX_WAITING=1 wait already: 1/1 in use, 1 waiting"):
            second.get()
        with pytest.raises(
            PoolTimeout, match=r"no connection within 1 s: 1/1 in use, .* \(SELECT 'the last statement'\)"
        ):
            first.get()


@patched
def test_options_that_make_no_sense_stop_the_program(site: Site) -> None:
    """With what was given and what is accepted."""
    for options, text in (
        ({"MAX_CONNS": 0}, "MAX_CONNS=0 is not accepted: give a whole number from 1"),
        ({"MAX_CONN": 4}, "unknown pool option 'MAX_CONN'; did you mean MAX_CONNS?"),
        ({"max_conns": 4}, "unknown pool option 'max_conns'; did you mean MAX_CONNS?"),
        ({"pool": {"max_size": 4}}, "'pool': {'max_size': 4} is not accepted .* MAX_CONNS"),
    ):
        with pytest.raises(ImproperlyConfigured, match=text):
            site.database(**options).ask()
    with pytest.raises(ImproperlyConfigured, match="set CONN_MAX_AGE to 0"):
        site.database({"CONN_MAX_AGE": None}).ask()


def test_django_imported_before_the_patch_is_told_clearly(postgresql: str) -> None:
    """Not with "DatabaseWrapper objects created in a thread ..." under load."""
    program = (
        "import django.db\n"
        "django.conf.settings.configure(DATABASES={'default': {'ENGINE': 'pooldemo.postgresql', 'NAME': 'any'}})\n"
        "from gevent import monkey; monkey.patch_all()\n"
        "django.db.connection.ensure_connection()"
    )
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert "ImproperlyConfigured: Django was imported before gevent's monkey patch" in done.stderr
    assert "without `preload_app`" in done.stderr


@patched
def test_a_greenlet_that_ends_without_checkin_loses_its_slot_to_the_next_waiter(site: Site) -> None:
    """What it had begun is rolled back, and a ResourceWarning names it."""
    db = rows(site)
    db.pool.resize(1)

    def forgets() -> None:
        db.connection.set_autocommit(False)
        with db.connection.cursor() as cursor:
            cursor.execute("INSERT INTO rows VALUES (1)")
            gevent.sleep(0.02)

    holder = gevent.spawn(forgets)
    gevent.sleep(0.01)
    waiter = gevent.spawn(count, db)
    holder.join()
    del holder
    with pytest.warns(ResourceWarning, match="INSERT INTO rows"):
        assert waiter.get() == 0


@threaded
def test_plain_threads_share_a_pool_like_greenlets(site: Site) -> None:
    """gthread and runserver: a thread a request. The cap holds, nobody starves, connections are used again."""
    db = site.database(MAX_CONNS=3)
    pids: list[int] = []

    def requests() -> None:
        for _ in range(5):
            pids.append(db.ask("SELECT pg_backend_pid() FROM pg_sleep(0.002)"))

    threads = [threading.Thread(target=requests) for _ in range(12)]
    for thread in threads:
        thread.start()
    most = 0
    while any(thread.is_alive() for thread in threads):
        most = max(most, len(db.pids()))
    assert (len(pids), len(set(pids))) == (60, 3)
    assert most <= 3
    assert repr(db.pool) == f"<Pool {db.alias}: 0/3 in use, 3 idle, 0 waiting>"


@threaded
def test_threads_wait_no_longer_than_pool_timeout(site: Site) -> None:
    db = site.database(MAX_CONNS=1, POOL_TIMEOUT=1).reach()
    told: list[Exception] = []

    def request() -> None:
        try:
            db.ask()
        except Exception as error:
            told.append(error)

    with db.request():
        thread = threading.Thread(target=request)
        thread.start()
        thread.join()
    assert [type(error) for error in told] == [PoolTimeout]


@threaded
def test_another_threads_connection_is_refused_in_djangos_words(site: Site) -> None:
    """A DatabaseError, as without a pool: applications catch that."""
    db = site.database(MAX_CONNS=1)
    wrapper, refusals = db.connection, []

    def ask() -> None:
        try:
            wrapper.cursor()
        except DatabaseError as error:
            refusals.append(str(error))

    with db.request():
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert "can only be used in that same thread" in refusals[0]


@threaded
def test_a_thread_that_ends_without_checkin_gives_its_slot_back(site: Site) -> None:
    db = site.database(MAX_CONNS=1)

    def forgets() -> None:
        db.connection.ensure_connection()

    def others() -> Any:
        thread = threading.Thread(target=forgets)
        thread.start()
        thread.join()
        del thread
        one = db.ask("SELECT 1")
        site.wait_until(lambda: len(told) > 0)  # the slot comes back first, the warning after
        return one

    with pytest.warns(ResourceWarning, match="ended without giving a connection") as told:
        assert others() == 1


@threaded
def test_what_leaks_under_gevent_does_not_under_threads(site: Site) -> None:
    """Reset, isolation and liveness need no gevent."""
    db = site.database(MAX_CONNS=1)
    pid = db.ask()
    db.ask("SET search_path TO leaked")
    assert (db.ask("SHOW search_path") != "leaked", db.ask()) == (True, pid)
    site.terminate(pid)
    assert db.ask() != pid


@threaded
def test_it_begins_a_connection_as_django_does(site: Site) -> None:
    """What it spells out to save time: each attribute that Django's own connect() leaves, it leaves as well."""
    connection: Any = site.database(MAX_CONNS=1).connection

    def attributes(plain: bool) -> dict[str, Any]:
        connection.ensure_connection()
        connection.close()
        type(connection)._is_plain = plain
        connection.needs_rollback = connection.errors_occurred = True
        connection.savepoint_ids = connection.run_on_commit = connection.atomic_blocks = ["left"]
        connection.ensure_connection()
        found = {**vars(connection), "close_at": connection.close_at is not None}
        connection.close()
        return {name: found[name] for name in found if name not in ("connection", "_checkout")}

    site.finally_do(lambda: setattr(type(connection), "_is_plain", True))
    for max_age in (0, None):
        connection.settings_dict["CONN_MAX_AGE"] = max_age
        assert attributes(plain=True) == attributes(plain=False)
