"""POOL_TIMEOUT bounds a checkout whatever hangs: a host that never answers, a stopped process, slow statements at its
beginning; in greenlets and in threads. While the server is down the others are told soon, and it is not stormed.
"""

import contextlib
import os
import re
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from django.db import Error as DjangoError
from django.db import connections

from pooldemo.postgresql import ClientGone, PoolTimeout
from pooldemo.postgresql.limits import Limit, limited

from .elsewhere import patched, threaded
from .gate import Gate
from .servers import Server, own_server
from .site import Database, Site, address

LIMIT_S = 1.0
SLEEP = "a sleep"  # of as long as the limit, beside the others: how late this machine is now
GRACE = 2.5  # times as long as that a checkout may take; without a limit it took four to six times as long


def silent(site: Site) -> int:
    """A port that takes connections and never says a word."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    site.finally_do(listener.close)
    port: int = listener.getsockname()[1]
    return port


def timed(ask: Callable[[], Any]) -> tuple[float, BaseException | None]:
    started_s = time.monotonic()
    try:
        ask()
    except DjangoError as error:
        return time.monotonic() - started_s, error
    finally:
        connections.close_all()
    return time.monotonic() - started_s, None


def hanging(site: Site, server: Server) -> dict[str, Callable[[], Any]]:
    """Checkouts that hang, each of a pool of its own."""
    port = silent(site)
    where = server.config()
    site.database(where).ask()  # what a process imports for its first query is not counted

    def stopped() -> Any:
        """Its idle connection's process is stopped, and pinged."""
        pid = db_stopped.ask()
        os.kill(pid, signal.SIGSTOP)
        stopped_pids.append(pid)
        began_s[0] = time.monotonic()
        return timed(db_stopped.ask)

    stopped_pids: list[int] = []
    began_s = [0.0]
    db_stopped = site.database(where, MAX_CONNS=1, POOL_TIMEOUT=LIMIT_S, HEALTH_CHECK="always")
    site.finally_do(lambda: go_on(stopped_pids))
    lone = site.database(where | {"PORT": str(port)}, MAX_CONNS=1, POOL_TIMEOUT=LIMIT_S)
    hosts = where | {"HOST": "127.0.0.1,127.0.0.1,127.0.0.1", "PORT": f"{port},{port},{server.port}"}
    several = site.database(hosts, MAX_CONNS=1, POOL_TIMEOUT=LIMIT_S)
    slow = site.database(where, MAX_CONNS=1, POOL_TIMEOUT=LIMIT_S, SETUP_SQL=["SELECT pg_sleep(6)"])
    login = site.database(where, MAX_CONNS=1, POOL_TIMEOUT=LIMIT_S, options="-c post_auth_delay=6")
    return {
        "a silent host": lambda: timed(lone.ask),
        "silent hosts before the right one": lambda: timed(several.ask),
        "a slow SETUP_SQL": lambda: timed(slow.ask),
        "a slow login": lambda: timed(login.ask),
        "a stopped process": stopped,
        SLEEP: lambda: timed(lambda: time.sleep(LIMIT_S)),
    }


def go_on(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def kept(found: dict[str, tuple[float, BaseException | None]]) -> None:
    wrong = []
    slept_s = found[SLEEP][0]
    for name, (took_s, error) in found.items():
        if took_s > GRACE * slept_s:
            wrong.append(f"{name}: took {took_s:.2f} s of {LIMIT_S}, for which a sleep took {slept_s:.2f}")
        if error is not None and not isinstance(error, PoolTimeout):
            wrong.append(f"{name}: {error!r}")
    assert not wrong, "\n".join(wrong)


@patched
def test_a_checkout_takes_no_longer_than_its_limit(site: Site) -> None:
    running = {name: gevent.spawn(ask) for name, ask in hanging(site, own_server(site)).items()}
    gevent.joinall(list(running.values()), raise_error=True)
    kept({name: greenlet.value for name, greenlet in running.items()})


@threaded
def test_a_checkout_takes_no_longer_than_its_limit_under_threads(site: Site) -> None:
    found: dict[str, Any] = {}
    cases = hanging(site, own_server(site))
    threads = [
        threading.Thread(target=lambda name=name, ask=ask: found.update({name: ask()}), daemon=True)
        for name, ask in cases.items()
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join(120)
    assert set(found) == set(cases), f"never came back: {set(cases) - set(found)}"
    kept(found)


def no_wait(site: Site) -> BaseException | None:
    where = {**address(site.url), "HOST": "127.0.0.1", "PORT": str(silent(site))}
    return timed(site.database(where, MAX_CONNS=1, POOL_TIMEOUT=0, connect_timeout=2).ask)[1]


@patched
def test_a_checkout_that_does_not_wait_ends_too(site: Site) -> None:
    """POOL_TIMEOUT=0 with a server that never answers: connect_timeout is its limit."""
    assert re.search("took longer than|timeout expired", str(no_wait(site)))


@threaded
def test_a_checkout_that_does_not_wait_ends_too_under_threads(site: Site) -> None:
    assert re.search("took longer than|timeout expired", str(no_wait(site)))


# ---- an outage ----


class Tally(Gate):
    """A gate that takes a moment for each login, and knows how many are in it."""

    LOGIN_S = 0.05
    READY = b"Z\0\0\0\5I"

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.connecting = self.done = 0
        self.seen: list[tuple[int, int]] = []  # at each arrival: how many connect now, how many have succeeded

    def _serve(self, client: Any, address: Any) -> None:
        if self.refuse_all is None:
            self.connecting += 1
            self.seen.append((self.connecting, self.done))
            gevent.sleep(self.LOGIN_S)
        super()._serve(client, address)

    def _pump(self, source: Any, sink: Any, counter: Any) -> None:
        if counter is None:
            sink = _Watched(sink, self)
        super()._pump(source, sink, counter)


class _Watched:
    """The client's end; the first READY ends its login."""

    def __init__(self, sink: Any, tally: Tally) -> None:
        self._sink, self._tally, self._ready = sink, tally, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)

    def sendall(self, data: bytes) -> None:
        if not self._ready and Tally.READY in data:
            self._ready = True
            self._tally.connecting -= 1
            self._tally.done += 1
        self._sink.sendall(data)


def tallied(site: Site) -> Tally:
    config = address(site.url)
    gate = Tally(config["HOST"] or "127.0.0.1", int(config["PORT"] or 5432))
    site.finally_do(gate.close)
    return gate


def requests(db: Database, number: int) -> list[Any]:
    return [gevent.spawn(lambda: timed(db.ask)) for _ in range(number)]


@patched
def test_an_outage_is_told_soon_and_with_its_reason(site: Site) -> None:
    """Who comes when the server has been down for a while does not wait out a limit of 8 s, and one asks for all."""
    gate = tallied(site)
    db = site.behind(gate, MAX_CONNS=8, POOL_TIMEOUT=8)
    db.fill(4)
    gate.refuse_all = ("57P03", "the database system is starting up")
    gate.cut()
    first = requests(db, 10)
    gevent.sleep(3)
    asked = gate.accepted
    later = requests(db, 10)
    gevent.joinall(later)
    attempts = gate.accepted - asked
    for _, error in [each.value for each in later]:
        assert isinstance(error, PoolTimeout), error
        assert "starting up) for" in str(error), error
        assert "longer than a quarter of the 8 s allowed" in str(error), error
    gevent.joinall(first)
    most_s = max(took_s for took_s, _ in [each.value for each in later])
    assert attempts <= 2 + 2 * most_s, f"{attempts} attempts to connect while ten waited for {most_s:.1f} s"
    gate.refuse_all = None
    site.wait_until(lambda: timed(db.ask)[1] is None)


@threaded
def test_a_server_too_busy_to_take_connects_is_left_alone_meanwhile(site: Site) -> None:
    """A unix socket's line of connects is full: who asked was refused at once, and each asked anew."""
    with contextlib.ExitStack() as sockets:
        folder = sockets.enter_context(tempfile.TemporaryDirectory(prefix="pd-"))
        path = f"{folder}/.s.PGSQL.5432"
        listener = sockets.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                line = sockets.enter_context(socket.socket(socket.AF_UNIX))
                line.setblocking(False)
                line.connect(path)
        db = site.database({"HOST": folder, "PORT": "5432"}, MAX_CONNS=4, POOL_TIMEOUT=LIMIT_S)
        for _ in range(2):
            error = timed(db.ask)[1]
            assert isinstance(error, PoolTimeout), error
            assert "Resource temporarily unavailable" in str(error)
        tried = db.pool.get_stats()["connections_num"]
        assert tried < 20, f"asked {tried} times"


@patched
def test_a_server_that_is_back_is_not_stormed(site: Site) -> None:
    """At no arrival do more connect than have succeeded, and one: 1, 2, 4 ..."""
    gate = tallied(site)
    db = site.behind(gate, MAX_CONNS=16, POOL_TIMEOUT=None)
    db.fill(16)
    gate.refuse_all = ("57P03", "the database system is starting up")
    gate.cut()
    waiting = [gevent.spawn(db.ask, "SELECT 1 FROM pg_sleep(0.2)") for _ in range(48)]
    gevent.sleep(1)
    gate.seen.clear()
    gate.connecting = gate.done = 0
    gate.refuse_all = None
    gevent.joinall(waiting, raise_error=True)
    assert gate.seen
    assert all(now <= done + 1 for now, done in gate.seen), gate.seen


@patched
def test_a_connection_that_comes_back_serves_during_an_outage(site: Site) -> None:
    gate = tallied(site)
    db = site.behind(gate, MAX_CONNS=2, POOL_TIMEOUT=240)  # after a quarter of it they would be told
    with db.request() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        own = cursor.fetchone()[0]
        gate.refuse_all = ("57P03", "the database system is starting up")
        others = [gevent.spawn(db.ask) for _ in range(3)]
        gevent.sleep(0.3)
    with contextlib.suppress(DjangoError):
        gevent.joinall(others)
    assert own in [each.value for each in others]


@threaded
def test_who_joins_the_line_just_when_the_client_goes_does_not_wait(site: Site) -> None:
    """After the look whether it has gone, and before it stands where the one who says so looks for it."""
    db, limit = site.database(MAX_CONNS=1, POOL_TIMEOUT=5), Limit()
    pool, plain = db.pool, db.pool.checkout

    def goes_first(*args: Any, **kwargs: Any) -> Any:
        limit.give_up()
        return plain(*args, **kwargs)

    with db.request() as cursor:
        cursor.execute("BEGIN")
        waiting = threading.Thread(target=lambda: said.append(refused()))
        said: list[str] = []

        def refused() -> str:
            with limited(limit), pytest.raises(ClientGone) as caught:
                pool.getconn()
            return str(caught.value)

        pool.checkout = goes_first
        waiting.start()
        waiting.join()
        del pool.checkout
    assert "no connection within" not in said[0]
    assert pool.get_stats()["requests_waiting"] == 0
