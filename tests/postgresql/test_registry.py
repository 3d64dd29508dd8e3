"""One pool for one database: whatever happens to its settings, and whoever asks."""

import gc
import logging
import os
import signal
from typing import Any

import gevent
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connections

from pooldemo.postgresql import PoolTimeout, pools, registry

from .elsewhere import patched, threaded
from .site import Database, Site


def change(db: Database, **settings: Any) -> None:
    """The project's settings of a database, in place, as a rotation does it."""
    options = settings.pop("OPTIONS", {})
    connections.settings[db.alias].update(settings)
    connections.settings[db.alias]["OPTIONS"].update(options)


@patched
def test_a_changed_password_drains_the_one_pool(site: Site) -> None:
    """Idle connections end at once, the one that is held when it comes back; MAX_CONNS holds throughout."""
    db = site.database(MAX_CONNS=1)
    pid = db.ask()
    pool = db.pool
    for number in range(5):
        change(db, PASSWORD=f"rotated-{number}")
        assert db.ask() != pid
        pid = db.ask()
        assert db.pids() == {pid}
    with db.request():
        change(db, PASSWORD="rotated again")
        waiter = gevent.spawn(db.ask)
        gevent.sleep(0.01)
        assert db.pids() == {pid}
    assert waiter.get() != pid
    assert pools() == [pool]


@patched
def test_a_password_may_be_a_callable(site: Site) -> None:
    """Asked for each new connection, and for no checkout."""
    asked: list[int] = []

    def token() -> str:
        asked.append(1)
        return "a token that expires"

    db = site.database({"PASSWORD": token}, MAX_CONNS=1)
    for _ in range(3):
        db.ask()
    assert len(asked) == 1
    db.pool.drain()
    db.ask()
    assert len(asked) == 2
    assert db.connection.get_connection_params()["password"] == "a token that expires"
    plain = site.database({"PASSWORD": token}, pool=False)
    assert plain.ask("SELECT 1") == 1


@patched
def test_a_password_that_hangs_takes_no_slot_for_ever(site: Site) -> None:
    asked: list[int] = []

    def token() -> str:
        asked.append(1)
        if len(asked) == 1:
            gevent.sleep(600)  # the service that gives it is down
        return "a token"

    db = site.database({"PASSWORD": token}, connect_timeout="1", MAX_CONNS=1, POOL_TIMEOUT=30)
    with pytest.raises(OperationalError, match="took longer"):
        db.ask()
    assert db.ask("SELECT 1") == 1


@patched
def test_the_first_query_may_come_from_a_native_thread(site: Site) -> None:
    """The hub of gevent's threadpool runs no more afterwards: what the pool does in the background needs another."""
    db = site.database(MAX_CONNS=3, POOL_TIMEOUT=30)
    gevent.get_hub().threadpool.apply(db.ask)
    assert len(db.fill(3)) == 3


@patched
def test_a_changed_option_changes_the_one_pool(site: Site) -> None:
    """Under load: the cap holds, and who waits is served."""
    db = site.database(MAX_CONNS=2)
    pool, before = db.pool, db.fill(2)
    crowd = [gevent.spawn(db.ask, "SELECT pg_backend_pid() FROM pg_sleep(0.2)") for _ in range(4)]
    site.wait_until(lambda: pool.get_stats()["requests_waiting"] == 2)
    change(db, OPTIONS={"MAX_IDLE": 100})
    crowd += [gevent.spawn(db.ask, "SELECT pg_backend_pid() FROM pg_sleep(0.1)") for _ in range(4)]
    while not all(each.ready() for each in crowd):
        assert min(len(db.pids()), len(db.pids())) <= 2  # it may tell of one that ends and of the next
    served = [each.get() for each in crowd]
    assert set(served[:2]) == before
    assert not before & set(served[2:]), "connections of before still serve"
    assert pools() == [pool]
    assert pool.options.max_idle == 100


@patched
def test_a_size_changes_in_the_one_pool(site: Site) -> None:
    db = site.database(MAX_CONNS=1)
    pool = db.pool
    with db.request() as cursor:
        cursor.execute("SELECT 1")
        waiter = gevent.spawn(db.ask, "SELECT 1")
        site.wait_until(lambda: pool.get_stats()["requests_waiting"] == 1)
        change(db, OPTIONS={"MAX_CONNS": 2})
        assert gevent.spawn(lambda: db.pool).get() is pool
        assert waiter.get() == 1
        change(db, OPTIONS={"MAX_CONNS": "many"})
        with pytest.raises(ImproperlyConfigured, match="MAX_CONNS='many'"):
            gevent.spawn(db.ask).get()
    change(db, OPTIONS={"MAX_CONNS": 1})
    assert len({db.ask() for _ in range(3)}) == 1
    assert repr(pool) == f"<Pool {db.alias}: 0/1 in use, 1 idle, 0 waiting>"


@patched
def test_what_else_changes_counts_at_the_next_checkout(site: Site) -> None:
    db = site.database(MAX_CONNS=1)
    assert db.ask("SHOW statement_timeout") == "0"
    change(db, OPTIONS={"SETUP_SQL": ["SET statement_timeout = 12345"], "RESET": "never"})
    assert db.ask("SHOW statement_timeout") == "12345ms"
    db.ask("SET statement_timeout = 1234")
    assert db.ask("SHOW statement_timeout") == "1234ms"
    change(db, OPTIONS={"RESET": "dirty"}, TIME_ZONE="Asia/Tokyo")
    db.ask("SET statement_timeout = 1234")
    assert db.ask("SHOW statement_timeout") == "12345ms"
    assert db.ask("SHOW timezone") == "Asia/Tokyo"


@patched
def test_another_database_is_another_pool(site: Site) -> None:
    db = site.database(MAX_CONNS=1)
    old, pid = db.pool, db.ask()
    change(db, NAME="postgres")
    assert db.ask("SELECT current_database()") == "postgres"
    assert old.closed
    assert pools() == [db.pool]
    site.wait_until(lambda: pid not in db.pids())


@patched
def test_the_pool_of_a_copy_closes_when_nobody_has_the_copy_any_more(site: Site) -> None:
    db = site.database(MAX_CONNS=1)
    db.ask()
    copy = db.connection.copy()
    copy.settings_dict["OPTIONS"]["MAX_CONNS"] = 3
    with copy.cursor() as cursor:
        cursor.execute("SELECT 1")
    copy.close()
    assert len(pools()) == 2
    del copy, cursor
    gc.collect()
    site.wait_until(lambda: pools() == [db.pool])


@patched
def test_a_copy_with_an_old_password_does_not_bring_it_back(site: Site) -> None:
    db = site.database(MAX_CONNS=1)
    old = db.connection.copy()
    db.ask()
    change(db, PASSWORD="rotated")
    pid = db.ask()
    with old.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        assert cursor.fetchone()[0] == pid
    old.close()
    assert db.ask() == pid


@patched
def test_a_connection_is_given_back_to_its_own_pool_only(site: Site) -> None:
    one, other = site.database(MAX_CONNS=1), site.database(MAX_CONNS=1)
    with one.request() as cursor:
        raw = one.connection.connection
        with pytest.raises(ValueError, match=f"is not checked out of <Pool {other.alias}: .*<Pool {one.alias}: 1/1 in"):
            other.pool.putconn(raw)
        cursor.execute("SELECT 1")
    with pytest.raises(ValueError, match="given back already"):
        one.pool.putconn(raw)
    assert (one.ask("SELECT 1"), other.ask("SELECT 1")) == (1, 1)
    asks = gevent.spawn(one.ask, "SELECT 1 FROM pg_sleep(0.3)")
    site.wait_until(lambda: one.pool.slots.in_use)
    with pytest.raises(ValueError, match="checked out"):  # psycopg2 has one object for all
        one.pool.putconn(raw)
    assert asks.get() == 1


@patched
def test_a_failed_checkout_is_logged_once_a_second_at_most(site: Site) -> None:
    """With how many were not told; the first at once."""
    db = site.database(MAX_CONNS=1, POOL_TIMEOUT=0)
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("pooldemo.postgresql")
    logger.addHandler(handler)
    try:
        with db.request():
            for _ in range(20):
                with pytest.raises(PoolTimeout):
                    gevent.spawn(db.ask).get()
            assert len(told) in (1, 2)
            site.wait_until(lambda: fails(db) and len(told) > 1)
    finally:
        logger.removeHandler(handler)
    assert told[0].startswith(f"database '{db.alias}': no free connection")
    assert "more failed since the last such line" in told[1]


def fails(db: Database) -> bool:
    try:
        gevent.spawn(db.ask).get()
    except OperationalError:
        return True
    return False


@patched
def test_pool_true_is_the_pool(site: Site) -> None:
    """With psycopg2 as well, where Django's own backend refuses it."""
    db = site.database(MAX_CONNS=1, pool=True)
    assert db.ask() == db.ask()
    assert db.connection.get_connection_params()["dbname"]


@threaded
def test_a_child_forked_while_another_thread_makes_a_pool_works(site: Site) -> None:
    """The thread that had the registry's lock does not exist in the child."""
    db = site.database(MAX_CONNS=1)
    db.ask()
    with registry._lock:
        child = os.fork()
        if not child:
            signal.alarm(100)
            change(db, OPTIONS={"MAX_CONNS": 2})
            os._exit(0 if db.ask("SELECT 1") == 1 else 1)
        assert os.waitpid(child, 0)[1] == 0
