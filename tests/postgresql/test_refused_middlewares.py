"""503 where it is not a view that is refused: a middleware, or a project's own page for errors."""

import asyncio
import gc
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.urls import path
from django.utils.decorators import async_only_middleware

from .test_middleware import DEADLINE, ERRORS, NAME, failing
from .test_middleware import urlpatterns as others

ended: list[str] = []


def exporting(request: HttpRequest) -> StreamingHttpResponse:
    """In the midst of whatever its `with` holds, an `atomic()` for instance."""

    def parts() -> Iterator[str]:
        try:
            yield from "abc"
        finally:
            ended.append("export")

    return StreamingHttpResponse(parts())


urlpatterns = [path("export/", exporting), *others]


class Asking:
    """A middleware that asks the database before the view, as Django's LoginRequiredMiddleware does, or after it."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "before" in request.GET:
            failing(request, request.GET["before"])
        response: HttpResponse = self.get_response(request)
        if "after" in request.GET:
            failing(request, request.GET["after"])
        return response

    def process_view(self, request: HttpRequest, *_: Any) -> None:
        if "view" in request.GET:
            failing(request, request.GET["view"])


class Unlike(Asking):
    """Answers something else, as Django's ConditionalGetMiddleware where nothing was modified."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        super().__call__(request)
        return HttpResponse(status=304)


@pytest.mark.parametrize("order", [("Asking", NAME), (NAME, "Asking", DEADLINE), ("Unlike", DEADLINE)])
@pytest.mark.parametrize("query", ["", "?after=slot", "?after=late", "?after=bug"])
def test_a_stream_that_is_thrown_away_ends_at_once(order: Any, query: str) -> None:
    """In a cycle it waited for the collector: the next requests of its thread were inside its transaction."""
    ended.clear()
    names = [name if "." in name else f"{__name__}.{name}" for name in order]
    gc.collect()
    gc.disable()
    logging.disable()  # a record has the error, and that has the stream
    try:
        with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=names):
            handler, request = WSGIHandler(), RequestFactory().get(f"/export/{query}")
            handler.load_middleware()
            handler.get_response(request)
            assert ended == ["export"]
    finally:
        logging.disable(logging.NOTSET)
        gc.enable()


@pytest.mark.parametrize("order", [(NAME,), (NAME, DEADLINE), (DEADLINE, NAME)])
@pytest.mark.parametrize("when", ["before", "view", "after"])
def test_a_middleware_whose_query_is_refused_is_a_503(order: Any, when: str) -> None:
    """Django asks no `process_exception` about it. A bug stays one."""
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=(*order, f"{__name__}.Asking")):
        client = Client(raise_request_exception=False)
        for name in ("slot", "full", "down"):
            answer = client.get(f"/fine/?{when}={name}")
            assert (answer.status_code, answer.headers["Retry-After"].isdecimal()) == (503, True)
            assert "try again" in answer.text
        assert client.get(f"/fine/?{when}=late").status_code == 503
        assert client.get(f"/fine/?{when}=bug").status_code == 500
        assert client.get("/fine/").status_code == 200


def handler500(request: HttpRequest) -> HttpResponse:
    """A project's own page, whose template asks who is logged in."""
    failing(request, request.GET.get("page", "fine"))
    return HttpResponse(status=500)


@pytest.mark.parametrize("order", [(NAME,), (DEADLINE,), (NAME, DEADLINE), (DEADLINE, NAME)])
def test_a_page_of_errors_that_is_refused_is_a_503(order: Any) -> None:
    """It is asked for where a middleware is refused, or has a bug."""
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=(*order, f"{__name__}.Asking")):
        client = Client(raise_request_exception=False)
        for name in ("late", "slot") if NAME in order else ("late",):
            assert client.get(f"/fine/?after=bug&page={name}").status_code == 503
            assert client.get(f"/fine/?after={name}&page={name}").status_code == 503
        assert client.get("/fine/?after=bug").status_code == 500
        with pytest.raises(ValueError, match="a bug"):
            client.get("/fine/?after=bug&page=bug")


@async_only_middleware
def asking_too(get_response: Any) -> Any:
    async def middleware(request: HttpRequest) -> HttpResponse:
        return failing(request, request.GET["name"])

    return middleware


def test_the_same_under_asgi() -> None:
    async def ask(name: str, page: str) -> int:
        answer = await AsyncClient(raise_request_exception=False).get(f"/fine/?name={name}&page={page}")
        return answer.status_code

    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=(NAME, f"{__name__}.asking_too")):
        assert [asyncio.run(ask("bug", page)) for page in ("slot", "fine")] == [503, 500]


def test_a_deadline_between_both_middlewares_is_a_503() -> None:
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=(NAME, f"{__name__}.Asking", DEADLINE)):
        for when in ("before", "view", "after"):
            assert Client(raise_request_exception=False).get(f"/fine/?{when}=late").status_code == 503


class Again:
    """A middleware that tries once more, whose first attempt is refused."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        if not hasattr(request, "again"):
            request.again = True
            raise ERRORS["slot"]
        return self.get_response(request)


class Trying(Again):
    def __call__(self, request: Any) -> Any:
        answer = self.get_response(request)
        return self.get_response(request) if answer.status_code == 500 else answer


@pytest.mark.parametrize("order", [(NAME,), (NAME, DEADLINE), (DEADLINE, NAME)])
def test_a_bug_after_a_refusal_is_a_bug(order: Any) -> None:
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=(*order, f"{__name__}.Trying", f"{__name__}.Again")):
        client = Client(raise_request_exception=False)
        assert [client.get(f"/{name}/").status_code for name in ("fine", "slot", "bug")] == [200, 503, 500]
