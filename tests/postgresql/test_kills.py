"""A request stopped at any switch point leaves the capacity whole, and sees its own exception.

Exhaustive: the same request runs again and again, stopped at its first switch, its second, its third ... until it
completes. What it does on the way covers connect, configure, ping, query, rollback, reset, checkin, and waiting.
"""

import gc
from collections.abc import Callable
from typing import Any

import gevent
import greenlet
import pytest
from django.db import DatabaseError, connections, transaction

from .elsewhere import patched
from .site import Database, Site

MOST_SWITCHES = 200


class Stopped(Exception):
    """What stops a request: no BaseException alone, so that whoever catches too much is found out."""


KINDS = (Stopped, gevent.GreenletExit, gevent.Timeout)


def stopped_at(switch: int, body: Callable[[], None], stop: BaseException) -> BaseException | None:
    """Run `body` in a greenlet that gets `stop` where it switches to the hub for the `switch`th time.

    Gives what came out of it: None when it completed.
    """
    hub = gevent.get_hub()
    came_out: list[BaseException | None] = []
    left = switch

    def run() -> None:
        try:
            body()
        except BaseException as error:
            came_out.append(error)
        else:
            came_out.append(None)

    victim = gevent.Greenlet(run)

    def trace(event: str, between: tuple[Any, Any]) -> None:
        nonlocal left
        if between == (victim, hub) and left:
            left -= 1
            if not left:
                hub.loop.run_callback(lambda: victim.dead or victim.throw(stop))

    before = greenlet.settrace(trace)
    try:
        victim.start()
        victim.join()
    finally:
        greenlet.settrace(before)
    return came_out[0]


def survives(site: Site, make: Callable[[], Database], request: Callable[[Database], None]) -> int:
    """Stop `request` at each of its switches, each time on a new database. Returns how many there were."""
    for switch in range(1, MOST_SWITCHES):
        db, stop = make(), KINDS[switch % len(KINDS)]()
        came_out = stopped_at(switch, lambda db=db: request(db), stop)  # type: ignore[misc]
        where = f"switch {switch}, {stop!r}"
        assert came_out is None or came_out is stop, f"{where}: {came_out!r} came out"
        whole(site, db, where)
        db.pool.close()
        if came_out is None:
            return switch - 1
    raise AssertionError(f"does not complete in {MOST_SWITCHES} switches")


def whole(site: Site, db: Database, where: str) -> None:
    """All slots can be had at once, nobody waits, and the server has no other connection of this pool."""
    site.wait_until(lambda: "0/2 in use" in repr(db.pool))
    pids = db.fill(2)
    state = repr(db.pool)
    assert state == f"<Pool {db.alias}: 0/2 in use, 2 idle, 0 waiting>", f"{where}: {state}"
    assert site.wait_until(lambda: db.pids() == pids), where


def busy(db: Database) -> None:
    """A request with everything in it."""
    try:
        with transaction.atomic(using=db.alias), db.connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(0.001)")
            with pytest.raises(DatabaseError, match="division"), transaction.atomic(using=db.alias):
                cursor.execute("SELECT 1/0")
            cursor.execute("SET search_path TO leaked")
        db.connection.set_autocommit(False)
        with db.connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        db.connection.close()


@patched
def test_a_cold_request_may_be_stopped_anywhere(site: Site) -> None:
    """Connect and configure, a transaction with a savepoint, rollback and reset at checkin."""
    assert survives(site, lambda: site.database(MAX_CONNS=2, assume_role="pg_monitor"), busy) > 12


@patched
def test_a_request_in_doubt_may_be_stopped_anywhere(site: Site) -> None:
    """The ping, and the connect that follows when its connections are dead."""

    def doubtful() -> Database:
        db = site.database(MAX_CONNS=2, HEALTH_CHECK="always")
        site.terminate(*db.fill(2))
        return db

    assert survives(site, doubtful, busy) > 12


@patched
def test_a_waiting_request_may_be_stopped_anywhere(site: Site) -> None:
    """While another holds every slot, and gives them back at about the same moment."""

    def taken() -> Database:
        db = site.database(MAX_CONNS=2)

        def hold() -> None:
            with db.request() as cursor:
                cursor.execute("SELECT pg_sleep(0.002)")

        db.fill(2)
        for _ in range(3):
            gevent.spawn(hold)
        gevent.sleep(0)
        return db

    assert survives(site, taken, busy) > 5


@patched
def test_who_is_killed_in_mid_query_never_gives_its_connection_to_another(site: Site) -> None:
    """Its peers keep theirs."""
    db = site.database(MAX_CONNS=4)
    pids = db.fill(4)
    peers = [gevent.spawn(db.ask, "SELECT pg_backend_pid() FROM pg_sleep(0.3)") for _ in range(3)]
    victim = gevent.spawn(db.ask, "SELECT pg_sleep(60)")
    gevent.sleep(0.05)
    victim.kill()
    gevent.joinall(peers, raise_error=True)
    served = {peer.value for peer in peers}
    assert served < pids
    assert db.fill(4) & pids == served


@patched
def test_closing_a_connection_that_is_in_its_commit_blocks_nobody(site: Site) -> None:
    """As when its holder has ended and another has its wrapper: psycopg2 keeps it locked while it waits there."""
    gate = site.gate()
    db = site.behind(gate, MAX_CONNS=1)
    raws: list[Any] = []

    def commits() -> None:
        with transaction.atomic(using=db.alias), db.connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            raws.append(db.connection.connection)
            gate.freeze()

    greenlet_in_commit = gevent.spawn(commits)
    site.wait_until(lambda: raws)
    gevent.sleep(0.02)
    assert not greenlet_in_commit.ready()
    db.pool.connector.close(raws[0]._pool)
    gate.thaw()
    greenlet_in_commit.get()  # the server's answer came before its goodbye


@patched
def test_a_connection_that_was_taken_back_is_not_given_back_again(site: Site) -> None:
    """Its greenlet ended and somebody kept it: giving it back must not touch the slot's next holder."""
    db = site.database(MAX_CONNS=1)
    kept: list[Any] = []

    def leaves() -> None:
        db.connection.ensure_connection()
        kept.append(db.connection.connection)

    with pytest.warns(ResourceWarning, match="ended without giving a connection"):
        gevent.joinall([gevent.spawn(leaves), gevent.spawn(db.ask)])
    with db.request() as cursor:
        db.pool.putconn(kept.pop())
        cursor.execute("SELECT 1")
    assert repr(db.pool) == f"<Pool {db.alias}: 0/1 in use, 1 idle, 0 waiting>"


@patched
def test_a_shared_wrapper_outlives_the_greenlet_that_connected_it(site: Site) -> None:
    """Django's `inc_thread_sharing` lets others use and close it; when nobody has it any more the slot comes back."""
    db = site.database(MAX_CONNS=1)
    wrapper = connections.create_connection(db.alias)
    wrapper.inc_thread_sharing()
    gevent.spawn(wrapper.ensure_connection).join()
    gevent.sleep(0.01)
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT 1")
    wrapper.close()
    gevent.spawn(wrapper.ensure_connection).join()
    gevent.sleep(0.01)
    del wrapper, cursor
    gevent.get_hub().loop.run_callback(gc.collect)
    assert db.ask("SELECT 1") == 1


@patched
def test_a_wrapper_of_another_greenlet_takes_no_slot(site: Site) -> None:
    """Django refuses its use a moment later anyway."""
    db = site.database(MAX_CONNS=1)
    wrapper = db.connection
    with pytest.raises(DatabaseError, match="created in a thread"):
        gevent.spawn(wrapper.ensure_connection).get()
    assert db.pool.get_stats()["requests_num"] == 0
