"""503 for what only came at a bad time, by one name in a project's settings."""

from typing import Any

import pytest
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path
from django.utils.module_loading import import_string

from pooldemo.postgresql import PoolFull, PoolTimeout

NAME = "pooldemo.postgresql.UnavailableMiddleware"
ERRORS = {
    "slot": PoolTimeout("no connection within 1 s; held longest by a secret statement"),
    "full": PoolFull("refused"),
    "down": OperationalError("Connection refused"),
}


def failing(request: HttpRequest, name: str) -> HttpResponse:
    raise ERRORS.get(name) or ValueError("a bug")


urlpatterns = [path("<name>/", failing)]


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


def test_it_leaves_bugs_alone(client: Client) -> None:
    assert client.get("/bug/").status_code == 500


def test_it_answers_with_the_projects_own_page(client: Client) -> None:
    loaders = [("django.template.loaders.locmem.Loader", {"503.html": "busy for {{ retry_after_s }} s"})]
    templates = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "OPTIONS": {"loaders": loaders}}]
    with override_settings(TEMPLATES=templates):
        assert client.get("/slot/").text == "busy for 1 s"


def test_its_name_is_the_packages() -> None:
    assert import_string(NAME).__name__ == "UnavailableMiddleware"
