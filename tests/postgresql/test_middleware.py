"""503 for what only came at a bad time, by one name in a project's settings."""

import io
import time
from typing import Any

import pytest
from django.db import OperationalError
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import Client, override_settings
from django.urls import path
from django.utils.module_loading import import_string

from pooldemo.postgresql import DeadlineExceeded, DeadlineMiddleware, PoolFull, PoolTimeout, view_deadline

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
    if name == "wrapped":
        raise OperationalError("a report failed") from LATE
    raise ERRORS.get(name) or ValueError("a bug")


@view_deadline(60)
def limited(request: Any) -> HttpResponse:
    return HttpResponse(request.limit)


urlpatterns = [path("limited/", limited), path("<name>/", failing)]


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


def test_its_name_is_the_packages() -> None:
    assert import_string(NAME).__name__ == "UnavailableMiddleware"


@pytest.mark.parametrize("make", [StreamingHttpResponse, FileResponse])
def test_no_stream_and_no_file_comes_after_the_deadline(make: Any) -> None:
    """Nothing of it has been sent yet. It is closed with the answer."""
    file = io.BytesIO(b"too late")

    def late(request: HttpRequest) -> Any:
        time.sleep(0.02)
        return make(file)

    request = HttpRequest()
    request.method, request.META = "GET", {"HTTP_X_REQUEST_TIMEOUT": "0.01"}
    response = DeadlineMiddleware(late)(request)
    assert (response.status_code, response.streaming) == (503, False)
    response.close()
    assert file.closed
