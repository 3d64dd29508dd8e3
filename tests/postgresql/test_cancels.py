"""What the server is asked to cancel ends nothing else, and no failure to ask costs the next deadline."""

import functools
import threading
from typing import Any

import gevent
import pytest
from django.db import Error, transaction
from interrupted import Interrupted, raise_signal

from pooldemo.postgresql import ClientGone, DeadlineExceeded, deadline, driver, green, limits
from pooldemo.postgresql.limits import Limit, limited

from .elsewhere import patched, threaded
from .site import Database, Site
from .test_limits import patiently, running

LONG = "SELECT pg_sleep(600)"


class LateServer:
    """A server that is told of a cancel and acts on it who knows when: here never."""

    def __init__(self, site: Site, mode: str) -> None:
        self.site, self.gate = site, site.gate()
        self.db = site.behind(self.gate, MAX_CONNS=1, POOL_MODE=mode)
        self.pid = self.db.ask()

    def end_late(self, limit: Limit, asking: Any) -> None:
        """Let the client go, and the query end by itself while the request to cancel it is on its way."""
        self.site.wait_until(lambda: running(self.site, self.db))
        self.gate.stalled, before = True, self.gate.accepted
        limit.give_up()
        self.site.wait_until(lambda: self.gate.accepted > before)
        self.site.observe("SELECT pg_cancel_backend(%s)", self.pid)
        self.site.wait_until(lambda: asking.ready() or not running(self.site, self.db))
        self.gate.stalled = False


@patched
def test_who_is_stopped_while_a_cancel_is_on_its_way_leaves_it_to_nobody(site: Site) -> None:
    server, limit = LateServer(site, "request"), Limit()

    def asks() -> None:
        with limited(limit):
            server.db.ask(LONG)

    asking = gevent.spawn(asks)
    server.end_late(limit, asking)
    asking.kill()
    assert server.db.ask() != server.pid


@patched
def test_a_projects_own_cancel_that_is_on_its_way_is_left_to_nobody(site: Site) -> None:
    """psycopg 3's lets others run while it asks; psycopg2's does not."""
    if not driver.is_psycopg3:
        return
    server = LateServer(site, "request")
    with server.db.request() as cursor:
        cursor.execute("SELECT 1")
        raw: Any = server.db.connection.connection
        server.gate.stalled, before = True, server.gate.accepted
        asking = gevent.spawn(raw.cancel_safe, timeout=0.5)
        site.wait_until(lambda: server.gate.accepted > before)
        server.gate.stalled = False
    assert server.db.ask() != server.pid
    asking.kill()


@patched
def test_a_server_that_is_asked_before_it_has_the_statement_is_asked_again(site: Site) -> None:
    """It drops a request to cancel where it executes nothing yet, as a busy machine's may."""
    patiently(site)
    gate, limit = site.gate(), Limit()
    db = site.behind(gate, MAX_CONNS=1)
    pid = db.ask()

    def asks() -> None:
        with limited(limit):
            db.ask(LONG)

    gate.hold()
    asking, before = gevent.spawn(asks), gate.accepted
    site.wait_until(lambda: limit._stops)
    limit.give_up()
    site.wait_until(lambda: gate.accepted > before and len(gate._pairs) == 1)  # that request is done
    gate.thaw()
    with pytest.raises(ClientGone, match="ended at the server"):
        asking.get()
    assert db.ask() == pid


@threaded
def test_a_finaliser_that_comes_up_while_a_cancel_is_begun_may_have_a_deadline_itself(site: Site) -> None:
    db = site.database(MAX_CONNS=1)

    class Session:
        is_parents = False
        cancel = None

        def ask_to_cancel(self, then: Any) -> None:
            with deadline(600):
                assert db.ask("SELECT 3") == 3
            then(True)

    cancel = limits._Cancel(Session())
    cancel.ask()
    assert cancel.is_settled()


@patched
def test_a_request_does_not_go_on_over_a_connection_to_which_a_cancel_may_come(site: Site) -> None:
    for mode in ("request", "transaction"):
        server, limit = LateServer(site, mode), Limit()
        seen: list[Any] = []

        def asks(server: LateServer = server, limit: Limit = limit, seen: list[Any] = seen) -> None:
            with server.db.request() as cursor:
                with pytest.raises(ClientGone), limited(limit):
                    cursor.execute(LONG)
                try:
                    cursor.execute("SELECT pg_backend_pid()")
                    seen.append(cursor.fetchone()[0])
                except Error:
                    seen.append(None)

        asking = gevent.spawn(asks)
        server.end_late(limit, asking)
        asking.get()
        assert seen != [server.pid], mode
        assert (seen == [None]) is (mode == "request")
        assert server.db.ask() != server.pid


def does_what_is_cancelled(site: Site) -> None:
    """As a COMMIT does that waits for a standby: PostgreSQL gives up the wait, and the row is there."""
    db, table = site.database(MAX_CONNS=1), site.name("cancelled")
    site.finally_do(lambda: site.database(pool=False).ask(f"DROP TABLE {table}; DROP FUNCTION {table}()"))
    db.ask(f"""CREATE TABLE {table} (id int); CREATE FUNCTION {table}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_sleep(600); RETURN NULL; EXCEPTION WHEN query_canceled THEN RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER t AFTER INSERT ON {table} INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {table}()
    """)

    def insert() -> None:
        db.ask(f"INSERT INTO {table} VALUES (1)")

    def insert_in_a_block() -> None:
        with transaction.atomic(using=db.alias), db.connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO {table} VALUES (2)")

    sleeping = "SELECT 1 FROM pg_stat_activity WHERE application_name = %s AND wait_event = 'PgSleep'"
    for work in (insert, insert_in_a_block):
        limit = Limit()

        def leaves(limit: Limit = limit) -> None:
            site.wait_until(lambda: site.observe(sleeping, db.alias))
            limit.give_up()

        client = threading.Thread(target=leaves)
        client.start()
        with pytest.raises(ClientGone, match="may have been done"), limited(limit):
            work()
        client.join()
        db.end_request()
    assert db.ask(f"SELECT count(*) FROM {table}") == 2


@patched
def test_nothing_is_answered_as_done_that_was_cancelled_and_done(site: Site) -> None:
    does_what_is_cancelled(site)


@threaded
def test_nothing_is_answered_as_done_that_was_cancelled_and_done_under_threads(site: Site) -> None:
    does_what_is_cancelled(site)


def fails_once(site: Site, holder: Any, name: str) -> Any:
    """A function that cannot start a thread the first time, in the place of `holder`'s."""
    plain = getattr(holder, name)
    failed: list[bool] = []

    def fails(*args: Any) -> Any:
        if failed:
            return plain(*args)
        failed.append(True)
        raise RuntimeError("can't start new thread")

    setattr(holder, name, fails)
    site.finally_do(lambda: setattr(holder, name, plain))
    return failed


def ends(db: Database) -> None:
    """Or does not even begin, where the machine is slow."""
    patiently(db.site)
    db.ask()
    with pytest.raises(DeadlineExceeded, match=r"ended at the server|about to|while waiting"), deadline(0.1):
        db.ask("SELECT pg_sleep(30)")


@threaded
def test_an_alarm_that_cannot_be_set_costs_no_other(site: Site) -> None:
    db = site.database(MAX_CONNS=1)
    db.ask()
    failed = fails_once(site, green, "starter")
    limits._alarms = limits._Alarms()
    with pytest.raises(RuntimeError), deadline(600):
        db.ask()
    assert failed
    ends(db)


@patched
def test_a_cancel_that_cannot_be_asked_for_costs_no_other(site: Site) -> None:
    db = site.database(MAX_CONNS=1)
    db.ask()
    failed = fails_once(site, driver.PostgresSession, "ask_to_cancel")
    with pytest.raises(DeadlineExceeded), deadline(0.1):
        db.ask(LONG)
    assert failed
    ends(db)


@threaded
def test_a_signal_leaves_nothing_that_cancels(site: Site) -> None:
    """Wherever it raises in the main thread: neither an alarm nor a client that goes ends what is executed next."""
    asked: list[Any] = []

    class Session:
        """As much of one as is needed: the real one would be closed for it."""

        cancel, pool, errors, is_parents = None, None, (), False
        ask_to_cancel, close, is_idle, first_words = asked.append, int, int, str

    nth, reached = 0, True
    while reached:
        nth += 1
        limit, session = Limit(600), Session()
        work = functools.partial(limit.run, session, "", int)
        reached = Interrupted(work, nth, raise_signal, (limits.__file__,)).reached
        for _, _, alarm in limits._alarms._waiting:
            if alarm.do is not None:
                alarm.do()
        limit.give_up()
        assert not asked, f"at place {nth}"
    assert nth > 10
    ends(site.database(MAX_CONNS=1))


def test_alarms_that_are_put_off_do_not_pile_up() -> None:
    alarms = limits._Alarms()
    alarms._running = True
    for _ in range(5000):
        alarms.set(float("inf"), lambda: None).put_off()
    assert len(alarms._waiting) < 500


@patched
def test_a_late_cancel_ends_nothing_of_the_next_holders(site: Site) -> None:
    """Queries that end at about the moment at which they are cancelled, and one after each that must not be."""
    patiently(site)
    db = site.database(MAX_CONNS=1)
    for number in range(40):
        try:
            with deadline(0.02), db.request() as cursor:
                cursor.execute("SELECT pg_sleep(%s)", [0.016 + number % 8 / 1000])
        except DeadlineExceeded:
            pass
        assert db.ask("SELECT 5 FROM pg_sleep(0.002)") == 5
