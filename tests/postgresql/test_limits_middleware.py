"""Deadlines of requests and views, by the header, the settings and what stands above a view; and their clients."""

import math
import socket
import time
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.views import View
from served import until

from pooldemo.postgresql import DeadlineExceeded, deadline, ends_with_client, priority, view_deadline
from pooldemo.postgresql.limits import Limit, current
from pooldemo.postgresql.limits_middleware import DeadlineMiddleware, said_of


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
    assert answer(view_deadline(10**400)(lambda: None))[1][0].seconds == math.inf
    with pytest.raises(ValueError, match="give seconds"):
        view_deadline(-1)
    settings.POOLDEMO_DEADLINE = settings.POOLDEMO_DEADLINE_MAX = 10**400
    assert answer()[1][0].seconds == math.inf
    assert answer(x_request_timeout="1e300")[1][0].seconds == math.inf


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
        assert said_of(view, "ends_with_client", None) is True
    request = HttpRequest()
    request.method = "GET"
    assert Report.as_view()(request).status_code == 200

    @ends_with_client(False)
    @view_deadline(20)
    @view_deadline(40)
    class Weekly(Report):  # its own word counts, and not its parent's
        pass

    assert answer(Weekly.as_view())[1][0].seconds == 20
    assert said_of(Weekly.as_view(), "ends_with_client", None) is False
    assert answer(Report.as_view())[1][0].seconds == 30

    @view_deadline(20)
    class Feed:  # its instances are the views
        def __call__(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse("news")

    assert answer(Feed())[1][0].seconds == 20


def test_what_stands_above_a_class_leaves_its_dispatch_to_its_parents(settings: Any) -> None:
    """It pinned View's, past the one of the next parent: a page for the staff was everybody's."""
    settings.POOLDEMO_DEADLINE = 10

    class StaffView(View):
        def dispatch(self, request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
            return HttpResponse(status=403)

    @view_deadline(30)
    class Export(View):
        def get(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse("everything")

    class ForStaff(Export, StaffView):
        pass

    class Own(StaffView, Export):
        def dispatch(self, request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
            return HttpResponse(status=403)

    request = HttpRequest()
    request.method = "GET"
    for view in (ForStaff.as_view(), Own.as_view()):
        assert view(request).status_code == 403
        assert answer(view)[1][0].seconds == 30


def test_a_view_that_may_finish_begins_also_where_its_client_has_left_before() -> None:
    """While a middleware worked, for instance."""

    def run(request: HttpRequest) -> HttpResponse:
        limit = current()
        assert limit is not None
        with deadline(600) as own:  # another middleware's
            limit.give_up()
            middleware.process_view(request, view, (), {})
            return HttpResponse(str(own.is_over()))

    middleware, request = DeadlineMiddleware(run), HttpRequest()
    request.method = "GET"
    view = ends_with_client(False)(run)
    assert middleware(request).text == "False"
    with deadline(600) as around:
        assert middleware(request).text == "False"
        around.give_up()
        assert middleware(request).status_code == 503
    view = ends_with_client(True)(run)
    assert middleware(request).status_code == 503


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
