"""Deadlines, and clients that have gone: what is over is not begun, and what runs is ended."""

import math
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
import pytest
from django.db import transaction

from pooldemo.postgresql import (
    ClientGone,
    DeadlineExceeded,
    deadline,
    limits,
)
from pooldemo.postgresql.limits import Limit, current, limited

from .elsewhere import patched, threaded
from .site import Database, Site


def running(site: Site, db: Database) -> Any:
    """How many queries of this database's the server works on."""
    return site.observe(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND state = 'active'", db.alias
    )[0][0]


def exceeded(stage: str, work: Callable[[], Any], seconds: float = 0.1) -> str:
    """What it says when a deadline passes at that stage of `work`. A busy machine may need more time to get there."""
    while True:
        with pytest.raises(DeadlineExceeded) as caught, deadline(seconds):
            work()
        if f"while {stage}" in str(caught.value):
            return str(caught.value)
        seconds *= 2


def patiently(site: Site) -> None:
    """Let the server take its time to cancel: a busy machine's is not the question."""
    site.finally_do(partial(setattr, limits, "_ANSWER_S", limits._ANSWER_S))
    limits._ANSWER_S = 60.0


def is_ended_by_its_deadline(site: Site) -> None:
    patiently(site)
    for mode in ("request", "transaction"):
        db = site.database(MAX_CONNS=1, POOL_MODE=mode)
        pid = db.ask()
        said = exceeded("executing", lambda db=db: db.ask("SELECT pg_sleep(600)"))  # type: ignore[misc]
        assert "executing SELECT pg_sleep(600); ended at the server" in said
        assert running(site, db) == 0
        assert db.pool.get_stats()["deadlines_exceeded"] >= 1
        assert db.ask() == pid  # the connection is as good as before
        with deadline(600):
            assert db.ask("SELECT 7") == 7


@patched
def test_a_query_ends_at_the_server_with_its_deadline(site: Site) -> None:
    is_ended_by_its_deadline(site)


@threaded
def test_a_query_ends_at_the_server_with_its_deadline_under_threads(site: Site) -> None:
    is_ended_by_its_deadline(site)


@patched
def test_a_wait_for_a_slot_ends_with_its_deadline(site: Site) -> None:
    db = site.database(MAX_CONNS=1, POOL_TIMEOUT=None)
    with db.request() as cursor:
        cursor.execute("BEGIN")

        said = gevent.spawn(exceeded, "waiting", db.ask).get()
        assert "1/1 in use, 1 waiting" in said
    assert db.pool.get_stats()["requests_waiting"] == 0
    assert db.ask("SELECT 1") == 1


@patched
def test_who_waits_for_no_slot_waits_for_no_connection_beyond_the_deadline(site: Site) -> None:
    """POOL_TIMEOUT=0 allows a connect five seconds, here ten minutes."""
    from pooldemo.pool import options, pool

    site.finally_do(partial(setattr, pool, "CONNECT_LIMIT_S", options.CONNECT_LIMIT_S))
    setattr(pool, "CONNECT_LIMIT_S", 600.0)  # noqa: B010
    gate = site.gate()
    gate.stalled = True
    db = site.behind(gate, MAX_CONNS=1, POOL_TIMEOUT=0)
    exceeded("waiting", db.ask)
    assert db.pool.get_stats()["deadlines_exceeded"] >= 1


@patched
def test_nothing_begins_after_a_deadline_but_a_rollback(site: Site) -> None:
    db, table = site.database(MAX_CONNS=1), site.name("late")
    site.finally_do(lambda: site.database(pool=False).ask(f"DROP TABLE {table}"))
    db.ask(f"CREATE TABLE {table} (id int)")

    @deadline(600)
    def works_too_long() -> None:
        limit = current()
        assert limit is not None
        with transaction.atomic(using=db.alias), db.connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO {table} VALUES (1)")
            limit.set(0)

    with pytest.raises(DeadlineExceeded, match="about to execute COMMIT"):
        works_too_long()
    db.end_request()
    assert db.ask(f"SELECT count(*) FROM {table}") == 0
    with limited(Limit(0)), pytest.raises(DeadlineExceeded, match="about to ask for a connection"):
        db.ask()


@threaded
def test_a_reset_at_checkin_is_not_ended_by_the_deadline_of_who_gives_back(site: Site) -> None:
    """In transaction mode that is a statement, which was done: it is not said to have been too late."""
    db = site.database({"TIME_ZONE": "Asia/Kathmandu"}, MAX_CONNS=1)  # not the server's own: a reset sets it anew
    pid = db.ask()
    with deadline(60) as limit, db.connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 12345")
        limit.set(0.000001)
        db.connection.close()
    assert db.ask() == pid
    assert db.ask("SHOW statement_timeout") == "0"


@patched
def test_the_earlier_of_two_deadlines_holds(site: Site) -> None:
    db = site.database(MAX_CONNS=1)
    for outer, inner in ((0.1, 600), (600, 0.1)):
        with pytest.raises(DeadlineExceeded, match=r"deadline of 0.1 s"):
            with deadline(outer), deadline(inner), db.request() as cursor:
                cursor.execute("SELECT pg_sleep(600)")
    assert current() is None


@patched
def test_a_server_that_does_not_answer_is_left_at_the_deadline(site: Site) -> None:
    """Nor does it answer the request to cancel."""
    gate = site.gate()
    db = site.behind(gate, MAX_CONNS=1)
    db.ask()
    gate.freeze()
    assert "did not answer" in exceeded("executing", lambda: db.ask("SELECT 1"))
    gate.thaw()
    assert db.ask("SELECT 1") == 1


@patched
def test_who_waits_for_a_client_that_has_gone_leaves_the_line_at_once(site: Site) -> None:
    db, limit = site.database(MAX_CONNS=1, POOL_TIMEOUT=600), Limit()

    def waits() -> None:
        with limited(limit):
            db.ask()

    with db.request() as cursor:
        cursor.execute("BEGIN")
        waiting = gevent.spawn(waits)
        site.wait_until(lambda: db.pool.get_stats()["requests_waiting"])
        limit.give_up()
        with pytest.raises(ClientGone, match="while waiting"):
            waiting.get()
        assert db.pool.get_stats()["requests_waiting"] == 0
    with limited(limit), pytest.raises(ClientGone):
        db.ask()
    assert db.pool.get_stats()["clients_gone"] == 2


@patched
def test_a_query_ends_at_the_server_when_its_client_has_gone(site: Site) -> None:
    patiently(site)
    db, limit = site.database(MAX_CONNS=1), Limit()
    db.ask()  # or the first query to be seen would be one of connecting

    def asks() -> None:
        with limited(limit), deadline(600):  # one inside the other
            db.ask("SELECT pg_sleep(600)")

    asking = gevent.spawn(asks)
    site.wait_until(lambda: running(site, db))
    limit.give_up()
    with pytest.raises(ClientGone, match="ended at the server"):
        asking.get()
    assert running(site, db) == 0


@patched
def test_a_wait_that_the_deadline_ends_says_so(site: Site) -> None:
    """And not that POOL_TIMEOUT has passed, whatever a deadline's fraction of a millisecond."""
    db = site.database(MAX_CONNS=1, POOL_TIMEOUT=600)
    with db.request() as cursor:
        cursor.execute("SELECT 1")

        def waits(seconds: float) -> None:
            with deadline(seconds), pytest.raises(DeadlineExceeded) as exceeded:
                db.ask()
            if "about to ask" in str(exceeded.value):  # so slow a machine that it did not get to the wait
                waits(seconds * 2)
            else:
                assert "while waiting" in str(exceeded.value)

        waiting = [gevent.spawn(waits, 0.05 + number / 10_000) for number in range(40)]
        gevent.joinall(waiting, raise_error=True)


@pytest.mark.parametrize("given", [0, -1, math.inf, math.nan, "2", None, True])
def test_a_deadline_that_is_none_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="give seconds, a number above 0"), deadline(given):
        pass


@pytest.mark.parametrize("given", [1e9, sys.maxsize, 1e308, 10**400], ids=["1e9", "maxsize", "1e308", "10**400"])
def test_a_deadline_that_no_clock_reaches_is_as_good_as_none(given: Any) -> None:
    with deadline(5), deadline(given) as limit:
        assert limit.seconds == 5
    with deadline(given) as limit:
        assert limit.left_s() == math.inf
