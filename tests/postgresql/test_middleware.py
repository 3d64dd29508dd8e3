"""503 for what only came at a bad time, by one name in a project's settings."""

import io
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.signals import request_finished
from django.db import OperationalError
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import Client, override_settings
from django.urls import path
from django.utils.module_loading import import_string

from pooldemo.postgresql import (
    DeadlineExceeded,
    DeadlineMiddleware,
    PoolFull,
    PoolTimeout,
    deadline,
    priority,
    view_deadline,
)
from pooldemo.postgresql.lanes import is_low
from pooldemo.postgresql.limits import current

NAME = "pooldemo.postgresql.UnavailableMiddleware"
DEADLINE = "pooldemo.postgresql.DeadlineMiddleware"
LATE = DeadlineExceeded("the deadline of 1 s has passed, while executing SELECT a secret")
ERRORS = {
    "slot": PoolTimeout("no connection within 1 s; held longest by a secret statement"),
    "full": PoolFull("refused"),
    "down": OperationalError("Connection refused"),
    "late": LATE,
}


def failing(request: HttpRequest, name: str) -> HttpResponse:
    if name == "fine":
        return HttpResponse("done")
    if name == "wrapped":
        raise OperationalError("a report failed") from LATE
    error = ERRORS.get(name) or ValueError("a bug")
    raise type(error)(*error.args)  # a new one, which is gone with its traceback


def streaming(request: HttpRequest, name: str) -> StreamingHttpResponse:
    """Fails where its first query would be; `whole` and `empty` do not."""

    def parts() -> Iterator[str]:
        if name == "whole":
            yield from ("one ", "two ", "three")
        elif name != "empty":
            failing(request, name)

    return StreamingHttpResponse(parts())


@view_deadline(60)
def limited(request: Any) -> HttpResponse:
    return HttpResponse(request.limit)


def saying(request: HttpRequest) -> StreamingHttpResponse:
    """A stream whose generator says how long it may go on. Its parts are the deadlines that hold."""

    def holds() -> str:
        limit = current()
        return f"{limit and limit.seconds} "

    def parts() -> Iterator[str]:
        if "later" in request.GET:
            yield holds()
        with deadline(60), priority("low"):
            with deadline(50):
                yield from (holds() for _ in range(2))
                with deadline(9):
                    yield holds()
                yield holds()
            yield holds()
        yield holds()

    return StreamingHttpResponse(parts())


LEFT: list[Any] = []


def leaving(request: HttpRequest) -> HttpResponse:
    """A view that leaves a generator in its midst, which somebody keeps. It answers what holds at first."""
    limit, low = current(), is_low()

    def parts() -> Iterator[str]:
        with deadline(9), priority("low"):
            yield ""

    LEFT.append(parts())
    next(LEFT[-1])
    return HttpResponse(f"{limit and limit.seconds} {low}")


urlpatterns = [
    path("leaving/", leaving),
    path("limited/", limited),
    path("saying/", saying),
    path("stream/<name>/", streaming),
    path("<name>/", failing),
]


@pytest.fixture
def client() -> Any:
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[NAME]):
        yield Client(raise_request_exception=False)


@pytest.mark.parametrize("name", ERRORS)
def test_it_answers_503_and_says_when_to_ask_again(client: Client, name: str) -> None:
    answer = client.get(f"/{name}/")
    assert (answer.status_code, answer.headers["Retry-After"].isdecimal()) == (503, True)
    assert "try again" in answer.text
    assert "secret" not in answer.text, "what others execute is no visitor's business"


@pytest.mark.parametrize("order", [(NAME, DEADLINE), (DEADLINE, NAME)])
@pytest.mark.parametrize("name", ["late", "wrapped"])
@pytest.mark.parametrize(("debug", "said"), [(False, "executing a statement"), (True, "executing SELECT a secret")])
def test_beside_deadlines_the_503_says_what_was_being_done_whichever_is_outer(
    order: Any, name: str, debug: bool, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever sends X-Request-Timeout would read the statements of any page, and who holds the connections."""
    caplog.set_level("INFO", "pooldemo.postgresql")
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=order, DEBUG=debug):
        answer = Client(raise_request_exception=False).get(f"/{name}/")
    assert (answer.status_code, answer.text) == (503, f"the deadline of 1 s has passed, while {said}\n")
    assert str(LATE) in caplog.messages


@pytest.mark.parametrize("order", [(NAME, DEADLINE), (DEADLINE, NAME)])
def test_a_stream_whose_first_query_is_refused_is_a_503(order: Any) -> None:
    """gunicorn would answer a bare 500: it sends nothing before the first part."""
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=order):
        client = Client(raise_request_exception=False)
        for name in ("slot", "full", "down", "late"):
            answer: Any = client.get(f"/stream/{name}/")
            assert (answer.status_code, answer.streaming) == (503, False)
            assert answer.headers["Retry-After"].isdecimal()
            assert ("executing a statement" if name == "late" else "try again") in answer.text
        for name, sent in (("whole", b"one two three"), ("empty", b"")):
            answer = client.get(f"/stream/{name}/")
            assert (answer.status_code, b"".join(answer.streaming_content)) == (200, sent)
        with pytest.raises(ValueError, match="a bug"):  # where the server asks for it, as without a middleware
            list(client.get("/stream/bug/").streaming_content)  # type: ignore[attr-defined]


@pytest.mark.django_db  # whatever connection is there is looked at where a response is closed
@pytest.mark.parametrize("order", [(), (NAME,), (DEADLINE,), (NAME, DEADLINE), (DEADLINE, NAME)])
def test_a_deadline_in_a_generator_holds_beyond_the_first_part(order: Any) -> None:
    """The request's own ends with that, whether it is the earlier one or the later, and nothing of either is left."""
    own, ours = "50 9 50 60 None".split(), DEADLINE in order
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=order):
        for query, asked, first in (
            ("", "600", ["50"]),
            ("", "55", ["50"]),
            ("", "30", ["30.0" if ours else "50"]),
            ("?later", "30", ["30.0" if ours else "None", "50"]),
        ):
            answer: Any = Client().get(f"/saying/{query}", headers={"X-Request-Timeout": asked})
            assert b"".join(answer.streaming_content).decode().split() == [*first, *own]
            assert current() is None
            answer = Client().get(f"/saying/{query}", headers={"X-Request-Timeout": asked})
            next(answer.streaming_content)
            answer.close()  # as a server does whose client has gone
            assert current() is None


@pytest.mark.parametrize("default", [None, 10])
@pytest.mark.parametrize(("own", "ends"), [(None, 20), (30, 20), (5, 5)])
def test_of_a_views_deadline_and_a_middlewares_own_the_earlier_counts(
    settings: Any, default: float | None, own: float | None, ends: float
) -> None:
    """The view is known when the middleware's has begun already."""
    settings.POOLDEMO_DEADLINE = default
    seen: list[tuple[float, bool]] = []

    def run(request: HttpRequest) -> HttpResponse:
        with deadline(20):
            middleware.process_view(request, view_deadline(own)(lambda: None), (), {})
            with deadline(25):
                limit = current()
                assert limit is not None
                seen.append((limit.seconds, limit.left_s() <= ends))
        return HttpResponse("done")

    middleware = DeadlineMiddleware(run)
    request = HttpRequest()
    request.method = "GET"
    middleware(request)
    assert seen == [(ends, True)]


class Hurrying:
    """A project's own middleware, which gives each view its time."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        with deadline(5):
            return self.get_response(request)


@pytest.mark.django_db  # whatever connection is there is looked at where a response is closed
@pytest.mark.parametrize("outer", [(), (DEADLINE,)])
def test_a_middlewares_own_deadline_ends_with_it_and_not_a_streams(outer: Any) -> None:
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=(*outer, f"{__name__}.Hurrying", NAME)):
        for query, first in (("", ["5"]), ("?later", ["5", "50"])):
            answer: Any = Client().get(f"/saying/{query}")
            assert b"".join(answer.streaming_content).decode().split() == [*first, *"50 9 50 60 None".split()]
            assert current() is None


def test_a_deadline_around_the_middleware_holds_as_well(settings: Any) -> None:
    """A middleware's own that stands before, a test's, a server's: the earlier counts, and nobody need wait for it."""
    settings.MIDDLEWARE, settings.ROOT_URLCONF = (DEADLINE,), __name__
    for asked, outer, holds in ((None, 5, "5"), ("3", 5, "3.0"), ("8", 5, "5")):
        with deadline(outer) as limit:
            headers = {} if asked is None else {"X-Request-Timeout": asked}
            assert Client().get("/leaving/", headers=headers).text.split()[0] == holds
            limit.give_up()
            assert Client().get("/fine/").status_code == 503


@pytest.mark.parametrize(("order", "holds"), [((DEADLINE,), "inf"), ((NAME,), "None"), ((DEADLINE, NAME), "inf")])
def test_a_generator_that_a_view_leaves_in_its_midst_says_nothing_to_the_next_request(
    settings: Any, order: Any, holds: str
) -> None:
    settings.MIDDLEWARE, settings.ROOT_URLCONF = order, __name__
    try:
        assert [Client().get("/leaving/").text for _ in range(2)] == [f"{holds} False"] * 2
        assert (current(), is_low()) == (None, False)
    finally:
        LEFT.clear()


class Answering:
    """A middleware that answers in place of a stream, as Django's ConditionalGetMiddleware does, and closes none."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        self.get_response(request)
        return HttpResponse(f"{current()} {is_low()}")


@pytest.mark.parametrize("order", [(NAME,), (DEADLINE,), (NAME, DEADLINE)])
def test_a_stream_that_nobody_goes_on_with_leaves_nothing_behind(order: Any) -> None:
    """The next requests of its thread would have its deadline, which has passed, and its priority."""
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=(f"{__name__}.Answering", *order)):
        answer = Client().get("/saying/")
    assert (answer.text, current(), is_low()) == ("None False", None, False)


def test_deadlines_said_twice_are_no_error() -> None:
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=(DEADLINE, DEADLINE)):
        client = Client(raise_request_exception=False)
        assert [client.get(f"/{name}/").status_code for name in ("fine", "late", "bug")] == [200, 503, 500]


class WithLimit:
    """A project's own middleware, which has another use for a word of ours."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        request.limit = 50
        return self.get_response(request)


@pytest.mark.parametrize("order", [(NAME,), (DEADLINE,), (DEADLINE, NAME)])
@pytest.mark.parametrize("name", ["late", "limited"])
def test_a_projects_own_attribute_of_the_request_is_not_ours(order: Any, name: str) -> None:
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=(*order, f"{__name__}.WithLimit")):
        answer = Client(raise_request_exception=False).get(f"/{name}/")
    assert (answer.status_code, answer.text == "50") == ((503, False) if name == "late" else (200, True))


def test_it_leaves_bugs_alone(client: Client) -> None:
    assert client.get("/bug/").status_code == 500


def test_it_answers_with_the_projects_own_page(client: Client) -> None:
    loaders = [("django.template.loaders.locmem.Loader", {"503.html": "busy for {{ retry_after_s }} s"})]
    templates = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "OPTIONS": {"loaders": loaders}}]
    with override_settings(TEMPLATES=templates):
        assert client.get("/slot/").text == "busy for 1 s"


def asking(request: HttpRequest) -> dict[str, Any]:
    return {"name": lambda: failing(request, request.GET["page"])}


def test_it_has_a_page_also_where_the_projects_own_one_is_refused(client: Client) -> None:
    """Its base says who is logged in, say: then each refused request was a 500."""
    loaders = [("django.template.loaders.locmem.Loader", {"503.html": "busy, {{ name }}"})]
    options = {"loaders": loaders, "context_processors": [f"{__name__}.asking"]}
    templates = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "OPTIONS": options}]
    with override_settings(TEMPLATES=templates):
        for name in ("slot", "full", "down"):
            assert "try again" in client.get(f"/slot/?page={name}").text
        assert client.get("/slot/?page=bug").status_code == 500


def test_its_name_is_the_packages() -> None:
    assert import_string(NAME).__name__ == "UnavailableMiddleware"


class Stream(StreamingHttpResponse):
    own_closed = 0

    def close(self) -> None:
        self.own_closed += 1
        super().close()


class File(Stream, FileResponse):
    pass


@pytest.mark.django_db  # whatever connection is there is looked at where a response is closed
@pytest.mark.parametrize("make", [Stream, File])
def test_no_stream_and_no_file_comes_after_the_deadline(make: Any) -> None:
    """Nothing of it has been sent yet. It is closed with the answer, as its class does, and the request ends once."""
    file, made, ended = io.BytesIO(b"too late"), [], []

    def late(request: HttpRequest) -> Any:
        time.sleep(0.02)
        made.append(make(file))
        return made[0]

    def finished(sender: Any, **_: Any) -> None:
        ended.append(sender)

    request = HttpRequest()
    request.method, request.META = "GET", {"HTTP_X_REQUEST_TIMEOUT": "0.01"}
    response = DeadlineMiddleware(late)(request)
    assert (response.status_code, response.streaming) == (503, False)
    response._handler_class = Client  # type: ignore[attr-defined]  # as Django's handlers set theirs
    request_finished.connect(finished)
    try:
        response.close()
    finally:
        request_finished.disconnect(finished)
    assert (file.closed, made[0].own_closed, ended) == (True, 1, [Client])


def test_a_stream_that_begins_after_the_deadline_does_not_begin() -> None:
    """Its view was in time, and its first part is not."""

    def parts() -> Iterator[str]:
        time.sleep(0.02)
        yield "too late"

    request = HttpRequest()
    request.method, request.META = "GET", {"HTTP_X_REQUEST_TIMEOUT": "0.01"}
    response = DeadlineMiddleware(lambda request: StreamingHttpResponse(parts()))(request)  # type: ignore[arg-type, return-value]
    assert (response.status_code, response.streaming) == (503, False)
