"""Deadlines, and clients that have gone: what is over is not begun, and what runs is ended."""

import math
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, transaction
from django.http import HttpRequest, HttpResponse
from django.views import View
from served import until

from pooldemo.postgresql import (
    ClientGone,
    DeadlineExceeded,
    deadline,
    ends_with_client,
    limits,
    priority,
    view_deadline,
)
from pooldemo.postgresql.limits import Limit, current, limited
from pooldemo.postgresql.limits_middleware import DeadlineMiddleware

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


# ---- the middleware ----


def answer(view: Any = None, method: str = "GET", **headers: str) -> tuple[HttpResponse, list[Limit]]:
    """What a view is answered with, and the limit that it had."""
    seen: list[Limit] = []

    def run(request: HttpRequest) -> HttpResponse:
        middleware.process_view(request, view or run, (), {})
        limit = current()
        assert limit is not None
        seen.append(limit)
        return HttpResponse("done")

    middleware = DeadlineMiddleware(run)
    request = HttpRequest()
    request.method = method
    request.META = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    return middleware(request), seen


def test_the_header_sets_the_deadline_up_to_a_limit(settings: Any) -> None:
    settings.POOLDEMO_DEADLINE, settings.POOLDEMO_DEADLINE_MAX = 10, 20
    assert answer()[1][0].seconds == 10
    assert answer(x_request_timeout="0.5")[1][0].seconds == 0.5
    assert answer(x_request_timeout="15")[1][0].seconds == 15
    assert answer(x_request_timeout="1e5")[1][0].seconds == 20


def test_a_view_has_a_deadline_of_its_own(settings: Any) -> None:
    settings.POOLDEMO_DEADLINE = 10
    long, never = view_deadline(30)(lambda: None), view_deadline(None)(lambda: None)
    assert answer(long)[1][0].seconds == 30
    assert answer(long, x_request_timeout="2")[1][0].seconds == 2
    assert answer(never)[1][0].seconds == math.inf
    with pytest.raises(ValueError, match="give seconds"):
        view_deadline(-1)


def test_a_class_of_views_says_it_above_itself(settings: Any) -> None:
    """as_view() copies nothing of a class: what stood there alone had no effect, without a word."""
    settings.POOLDEMO_DEADLINE = 10

    @ends_with_client(True)
    @view_deadline(30)
    class Report(View):
        def get(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse("reported")

    class Monthly(Report):
        pass

    for view in (Report.as_view(), Monthly.as_view()):
        assert answer(view)[1][0].seconds == 30
        assert getattr(view, "ends_with_client", None) is True
    request = HttpRequest()
    request.method = "GET"
    assert Report.as_view()(request).status_code == 200

    @ends_with_client(False)
    @view_deadline(20)
    @view_deadline(40)
    class Weekly(Report):  # its own word counts, and not its parent's
        pass

    assert answer(Weekly.as_view())[1][0].seconds == 20
    assert getattr(Weekly.as_view(), "ends_with_client", None) is False
    assert answer(Report.as_view())[1][0].seconds == 30

    @view_deadline(20)
    class Feed:  # its instances are the views
        def __call__(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse("news")

    assert answer(Feed())[1][0].seconds == 20


@pytest.mark.parametrize(
    ("decorator", "cure"),
    [(deadline, "seconds"), (view_deadline, "seconds"), (ends_with_client, "True or False"), (priority, "'low'")],
)
def test_a_decorator_without_its_parentheses_is_refused_where_it_stands(decorator: Any, cure: str) -> None:
    """Else each request is a 500 that names neither the decorator nor what it asks for."""
    with pytest.raises(ValueError, match=f"is not accepted: give {cure}"):

        @decorator
        def view(request: HttpRequest) -> None:
            pass


@pytest.mark.parametrize("name", ["POOLDEMO_DEADLINE", "POOLDEMO_DEADLINE_MAX"])
def test_a_setting_that_is_no_time_is_refused(settings: Any, name: str) -> None:
    setattr(settings, name, "10")
    with pytest.raises(ImproperlyConfigured, match=f"{name}='10' is not accepted: give seconds, a number above 0"):
        DeadlineMiddleware(HttpResponse)


@pytest.mark.parametrize("given", ["soon", "-1", "0", "nan", "inf", ""])
def test_a_header_that_is_no_time_is_a_400(given: str) -> None:
    response, seen = answer(x_request_timeout=given)
    assert (response.status_code, seen) == (400, [])
    assert b"give seconds, a number above 0" in response.content


def test_no_200_comes_after_the_deadline() -> None:
    def late(request: HttpRequest) -> HttpResponse:
        time.sleep(0.02)
        return HttpResponse("too late")

    request = HttpRequest()
    request.method, request.META = "GET", {"HTTP_X_REQUEST_TIMEOUT": "0.01"}
    response = DeadlineMiddleware(late)(request)
    assert (response.status_code, response["Retry-After"]) == (503, "1")
    assert b"deadline of 0.01 s" in response.content


def test_what_may_have_been_done_is_not_asked_for_again() -> None:
    """A POST may have committed before its view was late."""
    for method in ("GET", "POST"):
        request = HttpRequest()
        request.method, request.META = method, {"HTTP_X_REQUEST_TIMEOUT": "1e-9"}
        middleware = DeadlineMiddleware(lambda request: HttpResponse("done"))
        for response in (middleware(request), middleware.process_exception(request, DeadlineExceeded("late"))):
            assert response is not None
            assert (response.status_code, "Retry-After" in response) == (503, method == "GET")
            assert (b"look before you repeat it" in response.content) is (method == "POST")


def test_an_exceeded_deadline_is_a_503_that_says_what_was_done() -> None:
    """In general words: the statement, and who holds the slots, are no visitor's business."""
    middleware = DeadlineMiddleware(lambda request: HttpResponse())
    request = HttpRequest()
    request.method = "GET"
    for doing, told in (
        ("executing SELECT secret; ended at the server", "executing a statement"),
        ("about to execute SELECT secret", "about to ask the database"),
        ("waiting for a connection: held longest by SELECT secret", "waiting for a connection"),
    ):
        response = middleware.process_exception(request, Limit(1).refusal(doing))
        assert response is not None
        assert response.status_code == 503
        assert response.content.decode() == f"the deadline of 1 s has passed, while {told}\n"
    assert middleware.process_exception(HttpRequest(), OperationalError("other")) is None


class Socket:
    def __init__(self, descriptor: int) -> None:
        self.fileno = lambda: descriptor


def test_safe_methods_end_with_their_client_and_others_where_a_view_says_so() -> None:
    def is_told(method: str, view: Any = None) -> bool:
        """Whether the limit hears of a client that hangs up, behind bytes of a next request."""
        client, server = socket.socketpair()
        with client, server:
            client.sendall(b"GET /next HTTP/1.1\r\n")
            told: list[bool] = []

            def run(request: HttpRequest) -> HttpResponse:
                middleware.process_view(request, view or run, (), {})
                client.close()
                limit = current()
                assert limit is not None
                try:
                    until(lambda: limit.gone, 0.4 if told_never else 60)
                    told.append(True)
                except TimeoutError:
                    told.append(False)
                return HttpResponse()

            middleware = DeadlineMiddleware(run)
            request = HttpRequest()
            request.method, request.META = method, {"gunicorn.socket": Socket(server.fileno())}
            middleware(request)
            return told[0]

    told_never = False
    assert is_told("GET")
    assert is_told("POST", ends_with_client(True)(lambda: None))
    told_never = True
    assert not is_told("POST")
    assert not is_told("GET", ends_with_client(False)(lambda: None))
