"""Each promise, under gevent on real PostgreSQL, that django-db-geventpool breaks.

Every body runs twice: on our ENGINE, where it must pass, and on the stock library,
where it must fail in the way that `breaks` says; a scenario that the stock library passes proves nothing.
"""

import re
import select

import gevent
import pytest
from django.db import DataError, InterfaceError, OperationalError, transaction
from django.db.backends.postgresql.psycopg_any import IsolationLevel, is_psycopg3
from gevent.event import Event

from .conftest import Runner
from .elsewhere import STOCK, Job, promise
from .site import Site


@promise(breaks=r"'America/New_York' == 'UTC'|assert .*America")
def test_it_sets_the_time_zone_of_each_new_connection(site: Site) -> None:
    """What Django configures once on a connection: the time zone."""
    db = site.database(options="-c TimeZone=America/New_York")
    for _ in range(2):
        seen = db.ask("SELECT current_setting('TimeZone')")
        assert seen == "UTC", f"the session's time zone is {seen!r}: assert {seen!r} == 'UTC'"


@promise(breaks="AssertionError: the role is")
def test_it_assumes_the_role_on_each_new_connection(site: Site) -> None:
    """What Django configures once on a connection: the role."""
    db = site.database(assume_role="pg_monitor")
    for _ in range(2):
        role = db.ask("SELECT current_user")
        assert role == "pg_monitor", f"the role is {role!r}"
    assert len(db.pids()) == 1


@promise(breaks="AssertionError: opened (?!4 )")
def test_it_never_opens_more_than_max_conns_when_cold(site: Site) -> None:
    """The cap holds for the first requests, which all find an empty pool."""
    db = site.database(MAX_CONNS=4)
    most = 0

    def request() -> None:
        nonlocal most
        with db.request():
            most = max(most, len(db.pids()))

    gevent.joinall([gevent.spawn(request) for _ in range(20)], raise_error=True)
    assert most == 4, f"opened {most} of 4"


@promise(breaks="TimeLimit")
def test_it_serves_waiters_when_the_held_connections_die(site: Site) -> None:
    """Each death frees a slot, and each freed slot wakes a waiter."""
    db = site.database(MAX_CONNS=2)

    def dies() -> None:
        with pytest.raises(Exception, match=r"terminat|closed"), db.request() as cursor:
            cursor.execute("SELECT pg_sleep(60)")

    holders = [gevent.spawn(dies) for _ in range(2)]
    pids = site.wait_until(lambda: len(db.pids()) == 2 and db.pids())
    waiters = [gevent.spawn(db.ask) for _ in range(4)]
    gevent.sleep(0.02)
    site.terminate(*pids)
    gevent.joinall(holders + waiters, raise_error=True)


@promise(breaks="TimeLimit")
def test_it_waits_no_longer_than_pool_timeout(site: Site) -> None:
    """A request that cannot be served is told so."""
    db = site.database(MAX_CONNS=1, POOL_TIMEOUT=0.1).reach()
    with db.request():
        with pytest.raises(OperationalError, match=r"no connection within 0.1 s: 1/1 in use"):
            gevent.spawn(db.ask).get()


@promise(breaks="AssertionError: 20 round trips for 10 requests")
def test_a_checkout_costs_no_round_trip(site: Site) -> None:
    """Nor does the checkin of a request that changed nothing."""
    gate = site.gate()
    db = site.behind(gate)
    db.ask()
    before = gate.queries
    for _ in range(10):
        db.ask()
    assert gate.queries - before == 10, f"{gate.queries - before} round trips for 10 requests"


@promise(breaks="InterfaceError")
def test_it_replaces_a_connection_that_the_client_has_closed(site: Site) -> None:
    """InterfaceError is no DatabaseError, and must not reach a request that has done nothing wrong."""
    db = site.database(MAX_CONNS=1)
    with db.request():
        raw = db.connection.connection
    raw.close()
    try:
        assert db.ask("SELECT 1") == 1
    except InterfaceError as error:
        raise AssertionError(f"InterfaceError: {error}") from None


@promise(breaks="AssertionError: of 4 good connections 0 are left")
def test_one_dead_connection_leaves_the_others_alone(site: Site) -> None:
    """No reconnect storm for each request that was stopped in mid-query."""
    db = site.database(MAX_CONNS=5)
    pids = db.fill(5)
    with gevent.Timeout(0.05, False), db.request() as cursor:
        cursor.execute("SELECT pg_sleep(60)")
    gevent.sleep(0.05)
    left = {db_pid for db_pid in db.pids() & pids if db_pid in _idle(site, db.alias)}
    assert len(left) == 4, f"of 4 good connections {len(left)} are left"


def _idle(site: Site, alias: str) -> set[int]:
    rows = site.observe("SELECT pid FROM pg_stat_activity WHERE application_name = %s AND state = 'idle'", alias)
    return {pid for (pid,) in rows}


@promise(breaks=r"AssertionError: left in the state 'idle in transaction \(aborted\)'")
def test_a_failed_transaction_is_rolled_back_at_checkin(site: Site) -> None:
    """Or its locks stay until somebody happens to use the connection."""
    db = site.database(MAX_CONNS=1)
    db.connection.ensure_connection()
    db.connection.set_autocommit(False)
    with pytest.raises(DataError, match="division by zero"), db.connection.cursor() as cursor:
        cursor.execute("SELECT 1/0")
    db.connection.close()
    [(state,)] = site.observe("SELECT state FROM pg_stat_activity WHERE application_name = %s", db.alias)
    assert state == "idle", f"left in the state {state!r}"


@promise(breaks="AssertionError: autocommit is off")
def test_autocommit_is_on_again_for_the_next_checkout(site: Site) -> None:
    """It is the next request that would suffer."""
    db = site.database(MAX_CONNS=1)
    db.connection.ensure_connection()
    db.connection.set_autocommit(False)
    db.connection.close()
    raw = db.pool.getconn() if hasattr(db.pool, "getconn") else db.pool.get()
    autocommit = raw.autocommit
    db.pool.putconn(raw) if hasattr(db.pool, "putconn") else db.pool.put(raw)
    assert autocommit, "autocommit is off"


@promise(breaks="AssertionError: the next request has search_path 'leaked'")
def test_session_state_does_not_reach_the_next_checkout(site: Site) -> None:
    """Each kind of it has a test in test_leaks.py."""
    db = site.database(MAX_CONNS=1)
    db.ask("SET search_path TO leaked")
    found = db.ask("SHOW search_path")
    assert found != "leaked", f"the next request has search_path {found!r}"


@promise(breaks="TimeLimit")
def test_waiters_are_served_when_fewer_are_reused_than_may_be_open(site: Site) -> None:
    """What others wait for is not closed as surplus."""
    db = site.database(MAX_CONNS=4, REUSE_CONNS=1)
    go = [Event(), Event()]
    holding = 0

    def hold(until: Event) -> None:
        nonlocal holding
        with db.request():
            holding += 1
            until.wait()

    holders = [gevent.spawn(hold, go[0]) for _ in range(4)]
    site.wait_until(lambda: holding == 4)
    waiters = [gevent.spawn(hold, go[1]) for _ in range(4)]
    gevent.sleep(0.02)
    go[0].set()
    site.wait_until(lambda: holding == 8)
    go[1].set()
    gevent.joinall(holders + waiters, raise_error=True)


@promise(breaks="TimeLimit")
def test_a_failed_connect_gives_its_slot_to_the_next_waiter(site: Site) -> None:
    gate = site.gate()
    db = site.behind(gate, MAX_CONNS=1)
    outcomes: list[str] = []

    def waiter() -> None:
        try:
            db.ask()
            outcomes.append("served")
        except Exception as error:
            outcomes.append("refused" if "no entry for you" in str(error) else repr(error))

    with db.request():
        waiters = [gevent.spawn(waiter) for _ in range(2)]
        gevent.sleep(0.02)
        gate.refusals.append(("28000", "no entry for you"))
        ended = db.connection.connection.fileno()
        site.terminate(*db.pids())
        site.wait_until(lambda: select.select([ended], [], [], 0)[0])  # else its end comes to the one who has it next
    gevent.joinall(waiters)
    assert outcomes == ["refused", "served"]


@promise(breaks="AssertionError: the order was .*'first', 'first'")
def test_who_releases_and_asks_again_stands_at_the_end(site: Site) -> None:
    """First come, first served."""
    db = site.database(MAX_CONNS=1)
    db.ask()  # or the stock library opens one for each of them
    order: list[str] = []

    def request(name: str, times: int) -> None:
        for _ in range(times):
            with db.request():
                order.append(name)
                gevent.sleep(0.01)

    greenlets = [
        gevent.spawn(request, "first", 3),
        gevent.spawn(request, "second", 1),
        gevent.spawn(request, "third", 1),
    ]
    gevent.joinall(greenlets, raise_error=True)
    assert order == ["first", "second", "third", "first", "first"], f"the order was {order}"


@promise(breaks="AssertionError: the level is 'read committed'")
def test_isolation_level_is_kept(site: Site) -> None:
    """Also after the session was reset."""
    db = site.database(MAX_CONNS=1, isolation_level=IsolationLevel.SERIALIZABLE)
    for change in ("SELECT 1", "SET search_path TO elsewhere", "SELECT 1"):
        with transaction.atomic(using=db.alias):
            level = db.ask("SHOW transaction_isolation")
        db.end_request()
        assert level == "serializable", f"the level is {level!r}"
        assert db.connection.isolation_level is IsolationLevel.SERIALIZABLE  # type: ignore[attr-defined]
        db.ask(change)


@promise(breaks="TimeLimit")
def test_an_abandoned_query_ends_on_the_server(site: Site) -> None:
    """A second or so after its greenlet gave up, not after its own minute; its peers go on."""
    db = site.database(MAX_CONNS=2)
    pids = db.fill(2)
    peer = gevent.spawn(db.ask, "SELECT pg_sleep(60)")
    with gevent.Timeout(0.05, False), db.request() as cursor:
        cursor.execute("SELECT pg_sleep(60)")
    site.wait_until(lambda: len(db.pids() & pids) == 1)
    assert not peer.ready()
    site.observe("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = %s", db.alias)
    with pytest.raises(OperationalError, match="canceling statement due to user request"):
        peer.get()


@promise(breaks="TimeLimit")
def test_connect_timeout_holds_under_gevent(site: Site) -> None:
    """Under psycogreen alone it waits without a limit."""
    gate = site.gate()
    gate.stalled = True
    db = site.behind(gate, connect_timeout=1)
    with pytest.raises(OperationalError, match="connecting took longer than 1 s"):
        db.ask()


BREAKS = {name: test.elsewhere.breaks for name, test in list(globals().items()) if hasattr(test, "elsewhere")}
if is_psycopg3:
    # Where psycopg 3 can be imported Django prepares the parameters for it, and psycopg2 gets them. Nothing works,
    # and who waits for another's connection waits for ever.
    BREAKS = dict.fromkeys(BREAKS, "invalid dsn: invalid connection option|TimeLimit")


@pytest.mark.parametrize("name", BREAKS)
def test_the_stock_library_breaks_it(name: str, postgresql: str, run_once: Runner) -> None:
    failure = run_once(Job(__name__, tuple(BREAKS), True, STOCK, postgresql))[name]
    assert failure, "passes on the stock library too, and so proves nothing"
    assert re.search(BREAKS[name], failure), failure
