"""A signal whose handler raises, as Celery's soft time limit does, costs the main thread its work and never a slot."""

import contextlib
import itertools
from typing import Any

import django
import gevent
from django.db import Error
from interrupted import Interrupted, Signal, raise_signal

import pooldemo

from .elsewhere import patched, threaded
from .site import Database, Site

WHERE = (*pooldemo.__path__, *django.__path__)


@threaded
def test_no_slot_is_lost_wherever_a_signal_comes_up(site: Site) -> None:
    """Not between the checkout and Django's taking note of it either, nor while Django gives back."""
    db = site.database(MAX_CONNS=2, MAX_IDLE=0, MAX_LIFETIME=0)
    assert interrupt_everywhere(db, warm=True) > 30


@threaded
def test_no_slot_is_lost_wherever_a_signal_comes_up_while_connecting(site: Site) -> None:
    db = site.database(MAX_CONNS=2, MAX_IDLE=0, MAX_LIFETIME=0)
    assert interrupt_everywhere(db, warm=False) > 30


@threaded
def test_no_slot_is_lost_of_who_asks_the_pool_itself(site: Site) -> None:
    db = site.database(MAX_CONNS=2, MAX_IDLE=0, MAX_LIFETIME=0)
    mine: list[Any] = []

    def ask() -> None:
        mine[:] = (None,)
        mine[0] = db.pool.getconn()
        db.pool.putconn(mine[0])
        mine[0] = None

    def give_back() -> None:
        """As a `finally` does."""
        if getattr(getattr(mine[0], "_pool", None), "slot", None) is not None:
            db.pool.putconn(mine[0])

    assert interrupt_everywhere(db, warm=True, request=ask, end=give_back) > 15


@threaded
def test_a_signal_in_a_statement_hangs_nobody_who_rolls_back_then(site: Site) -> None:
    """psycopg 3 takes a lock of its connection for each call."""
    db = site.database(MAX_CONNS=2, MAX_IDLE=0, MAX_LIFETIME=0)
    connection: Any = db.connection

    def ask() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.close()

    def end() -> None:
        with contextlib.suppress(Error):  # the statement may go on
            connection.rollback()
        connection.close()

    assert interrupt_everywhere(db, warm=True, request=ask, end=end) > 60


@patched
def test_a_signal_while_a_connection_is_closed_leaves_none_open_that_nobody_knows(site: Site) -> None:
    """What was still open of it was forgotten: its slot was free at once, and the server kept it for ever."""
    db = site.database(MAX_CONNS=1)
    connector = db.pool.connector
    for nth in itertools.count(1):
        session = connector.new()
        connector.open(session, 30)
        session.lend()
        with contextlib.suppress(gevent.Timeout), gevent.Timeout(0.05):
            session.run("SELECT pg_sleep(600)")
        run = Interrupted(session.close, nth, raise_signal, tuple(pooldemo.__path__))
        assert run.error is None or isinstance(run.error, Signal), f"at place {nth}: {run.error!r}"
        session.close()
        was_gone = session.is_gone()
        assert not (was_gone and db.pids()), f"at place {nth}"
        site.wait_until(session.is_gone)
        assert not db.pids(), f"at place {nth}"
        if not run.reached:
            break
    assert nth > 5


@threaded
def test_a_signal_in_the_close_of_a_connection_fails_no_later_request(site: Site) -> None:
    db = site.database(MAX_CONNS=2, MAX_IDLE=0, MAX_LIFETIME=0)
    connection: Any = db.connection

    def ask() -> None:
        connection.ensure_connection()
        connection.connection.close()
        connection.close()

    assert interrupt_everywhere(db, warm=True, request=ask) > 60


def interrupt_everywhere(db: Database, warm: bool, request: Any = None, end: Any = None) -> int:
    """Run a request again and again, interrupted at one place after the other; says how many places there were."""
    connection: Any = db.connection

    def ordinary() -> None:
        connection.ensure_connection()
        connection.close()

    request, end = request or ordinary, end or connection.close
    nth = 0
    while True:
        nth += 1
        if warm:
            request()
        else:
            db.pool.drain()
        run = Interrupted(request, nth, raise_signal, WHERE)
        assert run.error is None or isinstance(run.error, Signal), f"at place {nth}: {run.error!r}"
        end()
        assert not db.pool.holders(), f"at place {nth}"
        if not run.reached:
            return nth
