"""Connections die and servers refuse: what a request notices of it, on real PostgreSQL.

No request that had not begun its query fails. What passes by itself is waited out until the deadline, what does not is
told at once.
"""

import contextlib
import select

import gevent
import psycopg2
import pytest
from django.db import OperationalError, connections

from pooldemo.postgresql import PoolTimeout

from .elsewhere import patched
from .site import Database, Site, address

STARTING = ("57P03", "the database system is starting up")
CROWDED = ("53300", "sorry, too many clients already")
LIMITED = ("53300", 'too many connections for role "someone"')
WRONG_PASSWORD = ("28P01", 'password authentication failed for user "someone"')

PAM = ("28000", 'PAM authentication failed for user "someone"')  # of a token that has expired, in a cloud
PGBOUNCERS = ("08P01", "SASL authentication failed")
EXPIRED = ("XX000", "SSL error: certificate verify failed")  # libpq's own words


def requests(db: Database, number: int) -> list[int]:
    """The processes that as many requests at once were served by. Raises when one of them failed."""
    greenlets = [gevent.spawn(db.ask) for _ in range(number)]
    gevent.joinall(greenlets, raise_error=True)
    return [greenlet.value for greenlet in greenlets]


@patched
def test_no_request_fails_after_a_restart(site: Site) -> None:
    """With 1, 6 and 50 dead idle connections; and while the server is away, requests wait for it."""
    server = site.own_server()
    for dead in (1, 6, 50):
        db = site.database(address(server.url), MAX_CONNS=dead)
        old = db.fill(dead)
        server.stop(force=True)
        server.ensure()
        assert db.ask() not in old, f"{dead} dead"
        assert len(requests(db, 2 * dead)) == 2 * dead
        assert db.pool.get_stats()["requests_errors"] == 0
    db = site.database(address(server.url), MAX_CONNS=2)
    db.ask()
    server.stop(force=True)
    early = [gevent.spawn(db.ask) for _ in range(5)]
    gevent.sleep(0.1)
    server.ensure()
    gevent.joinall(early, raise_error=True)


@patched
def test_no_request_fails_when_idle_connections_are_terminated(site: Site) -> None:
    """And those that were not stay."""
    for dead, good in ((1, 0), (6, 2), (50, 1)):
        db = site.database(MAX_CONNS=dead + good)
        pids = sorted(db.fill(dead + good))
        site.terminate(*pids[:dead])
        used = set(requests(db, 3 * (dead + good)))
        assert not used & set(pids[:dead])
        assert set(pids[dead:]) <= db.pids()
        stats = db.pool.get_stats()
        assert (stats["connections_lost"] <= dead, stats["requests_errors"]) == (True, 0)


@patched
def test_a_health_check_is_a_look_unless_there_is_doubt(site: Site) -> None:
    """HEALTH_CHECK: "auto" sees the goodbye, "always" asks the server each time, "never" learns it the hard way."""
    gate = site.gate()
    cost = {}
    for mode in ("auto", "always", "never"):
        db = site.behind(gate, MAX_CONNS=1, HEALTH_CHECK=mode)
        with db.request():
            own = db.connection.connection.fileno()
        before = gate.queries
        db.ask()
        cost[mode] = gate.queries - before
        site.terminate(*db.pids())
        site.wait_until(lambda: select.select([own], [], [], 0)[0])  # noqa: B023  called at once: the goodbye has come
        if mode == "never":
            with pytest.raises(OperationalError):
                db.ask()
        db.ask()
    assert cost == {"auto": 1, "always": 2, "never": 1}


@patched
def test_a_health_check_that_asks_always_asks_all_that_are_idle(site: Site) -> None:
    """The first that answers is taken."""
    gate = site.gate()
    db = site.behind(gate, MAX_CONNS=3, HEALTH_CHECK="always")
    pids = db.fill(3)
    before = gate.queries
    assert db.ask() in pids
    site.wait_until(lambda: gate.queries - before == 3 + 1)


@patched
def test_what_passes_by_itself_is_waited_out(site: Site) -> None:
    """A server that starts up and one that is full, also for the first request of all."""
    gate = site.gate()
    for refusal in (STARTING, CROWDED, LIMITED):
        gate.refusals = [refusal, refusal]
        db = site.behind(gate, MAX_CONNS=1)
        assert db.ask("SELECT 1") == 1
        assert db.pool.get_stats()["connections_errors"] == 2


@patched
def test_it_is_waited_out_no_longer_than_the_deadline(site: Site) -> None:
    """The error says what the server said, and has it as its cause."""
    gate = site.gate()
    gate.refuse_all = CROWDED
    db = site.behind(gate, MAX_CONNS=2, POOL_TIMEOUT=0.3)
    with pytest.raises(
        PoolTimeout, match=r"(?s)no connection within \d+\.\d s; connecting failed .*too many clients"
    ) as told:
        db.ask()
    assert "too many clients" in str(told.value.__cause__)
    gate.refuse_all = None
    connections.settings[db.alias]["OPTIONS"]["POOL_TIMEOUT"] = 60
    assert requests(db, 4)


@patched
def test_what_comes_back_meanwhile_is_used(site: Site) -> None:
    """A request that was refused a new connection takes one that another gives back: also while the password is
    another one at the server already, and not here, or a certificate has expired."""
    for why in (CROWDED, WRONG_PASSWORD, PAM, PGBOUNCERS, EXPIRED):
        gate = site.gate()
        db = site.behind(gate, MAX_CONNS=3)
        with db.request():
            [pid] = db.pids()
            gate.refuse_all = why
            refused = [gevent.spawn(db.ask) for _ in range(5)]
            site.wait_until(lambda: gate.accepted >= 3)  # noqa: B023  called at once
        gevent.joinall(refused, raise_error=True)
        assert {greenlet.value for greenlet in refused} == {pid}, why


@patched
def test_a_roles_connection_limit_is_lived_with(site: Site) -> None:
    """MAX_CONNS is 4, the role may have 2: all are served, by two."""
    server = site.own_server()
    admin = site.database(address(server.place.url("postgres")), pool=False)
    admin.ask("ALTER ROLE pooldemo CONNECTION LIMIT 2")
    site.finally_do(lambda: admin.ask("ALTER ROLE pooldemo CONNECTION LIMIT -1"))
    db = site.database(address(server.url), MAX_CONNS=4)
    greenlets = [gevent.spawn(db.ask, "SELECT pg_backend_pid() FROM pg_sleep(0.05)") for _ in range(12)]
    gevent.joinall(greenlets, raise_error=True)
    assert len({greenlet.value for greenlet in greenlets}) == 2


@patched
def test_a_wrong_password_is_told_at_once(site: Site) -> None:
    """Also with no deadline at all, and to each who waits."""
    gate = site.gate()
    gate.refuse_all = WRONG_PASSWORD
    db = site.behind(gate, MAX_CONNS=1, POOL_TIMEOUT=None)
    for greenlet in [gevent.spawn(db.ask) for _ in range(3)]:
        with pytest.raises(OperationalError, match="password authentication failed"):
            greenlet.get()
    assert gate.accepted == 3


@patched
def test_a_password_that_has_changed_is_told_where_no_connection_is_left(site: Site) -> None:
    """Until then it may still come here. It is asked for again at each connect."""
    gate = site.gate()
    db = site.behind(gate, MAX_CONNS=1, POOL_TIMEOUT=0.3).reach()
    gate.refuse_all = WRONG_PASSWORD
    gate.cut()
    with pytest.raises(PoolTimeout, match=r"(?s)connecting failed .*password authentication failed"):
        db.ask()
    gate.refuse_all = None
    connections.settings[db.alias]["OPTIONS"]["POOL_TIMEOUT"] = 60
    assert requests(db, 4)


@patched
def test_a_server_that_was_never_reached_is_told_at_once(site: Site) -> None:
    """It is taken for a wrong address."""
    gate = site.gate()
    db = site.behind(gate, MAX_CONNS=1, POOL_TIMEOUT=None)
    gate.close()
    with pytest.raises(OperationalError, match="refused"):
        db.ask()


@patched
def test_a_server_that_was_reached_before_is_waited_for(site: Site) -> None:
    """Until the deadline."""
    gate = site.gate()
    db = site.behind(gate, MAX_CONNS=1, POOL_TIMEOUT=0.3).reach()
    gate.close()
    with pytest.raises(PoolTimeout, match="refused"):
        db.ask()


@patched
def test_a_standby_that_is_to_be_promoted_is_waited_for(site: Site) -> None:
    """With target_session_attrs, as where primary and standby change roles: for a moment both take no writes."""
    server = site.own_server()
    admin = site.database(address(server.place.url("postgres")), pool=False)
    site.finally_do(lambda: admin.ask("ALTER ROLE pooldemo RESET default_transaction_read_only"))
    db = site.database(address(server.url), MAX_CONNS=1, target_session_attrs="read-write").reach()
    admin.ask("ALTER ROLE pooldemo SET default_transaction_read_only = on")
    ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'pooldemo'"
    site.wait_until(lambda: admin.ask(ended) == 0)
    waiting = gevent.spawn(db.ask, "SELECT 1")
    site.wait_until(lambda: waiting.ready() or db.pool.get_stats()["connections_errors"] > 1)
    admin.ask("ALTER ROLE pooldemo RESET default_transaction_read_only")
    assert waiting.get() == 1


@patched
def test_pool_timeout_holds_over_a_connect_that_hangs(site: Site) -> None:
    """And the slot is free again after `connect_timeout`."""
    gate = site.gate()
    gate.stalled = True
    db = site.behind(gate, MAX_CONNS=1, POOL_TIMEOUT=0.3, connect_timeout=1)
    with pytest.raises(PoolTimeout, match=r"no connection within 0.3 s: 1/1 in use \(1 connecting\)"):
        db.ask()
    gate.stalled = False
    site.wait_until(lambda: db.pool.get_stats()["connections_errors"] == 1)
    assert db.ask("SELECT 1") == 1


@patched
def test_a_network_that_was_reset_costs_only_the_queries_that_ran(site: Site) -> None:
    gate = site.gate()
    db = site.behind(gate, MAX_CONNS=3)
    db.fill(3)
    running = gevent.spawn(db.ask, "SELECT pg_sleep(60)")
    gevent.sleep(0.05)
    gate.cut()
    with pytest.raises(OperationalError):
        running.get()
    assert len(requests(db, 6)) == 6


@patched
def test_the_ready_probe_goes_on_to_a_server_that_answers(site: Site) -> None:
    """One that accepts and never answers, a machine that stands still, would else keep it for ever."""
    from pooldemo.monitor import readiness

    gate = site.gate()
    gate.stalled = True
    db = site.behind(gate)
    readiness.LASTS_S, readiness.PATIENCE_S = 0.3, 0.1
    probe = readiness.Readiness(db.alias)
    assert probe.trouble() == "PostgreSQL did not answer within 0.1 s"
    gate.stalled = False
    site.wait_until(lambda: not probe.trouble())


@patched
def test_the_ready_probe_takes_a_full_server_for_one_that_answers_where_the_pool_has_a_connection(site: Site) -> None:
    from pooldemo.monitor import readiness

    gate = site.gate()
    readiness.FRESH_S, readiness.PATIENCE_S, readiness.LASTS_S = 0.0, 100.0, 100.0
    db = site.behind(gate)
    gate.refuse_all = CROWDED
    probe = readiness.Readiness(db.alias)
    assert "too many clients" in probe.trouble(), "it has none to serve with"
    gate.refuse_all = None
    db.ask()
    gate.refuse_all = CROWDED
    assert probe.trouble() == ""


@patched
def test_the_budget_is_that_of_who_logs_in_and_not_of_who_it_is_then(site: Site) -> None:
    """On a server of its own: a role's limit is everybody's who has that role."""
    from pooldemo.postgresql.budget import read_budget

    server = site.own_server()
    db = site.database(address(server.url), assume_role="pg_signal_backend")
    with contextlib.closing(psycopg2.connect(server.place.url("postgres", "pooldemo"))) as superuser:
        superuser.autocommit = True
        superuser.cursor().execute("ALTER ROLE pooldemo CONNECTION LIMIT 70")
        try:
            assert read_budget(1, db.alias).limits.role_limit == 70
        finally:
            superuser.cursor().execute("ALTER ROLE pooldemo CONNECTION LIMIT -1")
