"""What the one line `ENGINE = "pooldemo.postgresql"` brings without the app: checks, a 503, a line in the log.

Each test is a project of its own, one file, in a process of its own.
"""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from .elsewhere import TESTS
from .site import address

PROJECT = """
import json, sys, threading
from django.conf import settings
from django.http import HttpResponse
from django.urls import path

database, middleware, what = json.loads(sys.argv[1])

def view(request):
    from django.db import connection
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return HttpResponse("served")

urlpatterns = [path("", view)]
settings.configure(DATABASES={"default": database}, MIDDLEWARE=middleware,
                   INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
                   ROOT_URLCONF=__name__, SECRET_KEY="x",
                   ALLOWED_HOSTS=["*"], USE_TZ=True)
import django
django.setup()
if what == "check":
    from django.core.management import execute_from_command_line
    execute_from_command_line(["manage.py", "check", "--fail-level", "WARNING"])
else:
    from django.db import connection
    from django.test import Client
    def get():
        try:
            return Client(raise_request_exception=False).get("/")
        finally:
            connection.close()  # Django's test client does not
    print(get().status_code)
    held, go = threading.Event(), threading.Event()
    def hold():
        connection.ensure_connection()
        held.set()
        go.wait(120)
        connection.close()
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(120)
    for _ in range(2):
        response = get()
        print(response.status_code, response.headers.get("Retry-After"))
    go.set()
    holder.join()
    print(get().status_code)
"""


def run(url: str, what: str, middleware: list[str] | None = None, /, **more: Any) -> subprocess.CompletedProcess[str]:
    database = address(url) | {"ENGINE": "pooldemo.postgresql"}
    database |= {name: value for name, value in more.items() if name in ("CONN_MAX_AGE", "ATOMIC_REQUESTS")}
    database["OPTIONS"] = {**database["OPTIONS"], **{name: more[name] for name in more if name not in database}}
    command = [sys.executable, "-c", PROJECT, json.dumps([database, middleware or [], what], default=str)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "DJANGO_"))}
    environment["PYTHONPATH"] = str(TESTS.parent)
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, cwd=TESTS)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"MAX_CONNS": "abc"}, ("pooldemo.E001", "'abc'")),
        ({"MAX_CONS": 4}, ("pooldemo.E001", "MAX_CONNS")),
        ({"CONN_MAX_AGE": 60}, ("pooldemo.E002", "CONN_MAX_AGE")),
        ({"MAX_CONNS": 4, "pool": False}, ("pool", "MAX_CONNS")),
    ],
)
def test_it_checks_its_options_without_the_app(postgresql: str, options: dict[str, Any], told: tuple[str, ...]) -> None:
    done = run(postgresql, "check", **options)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert all(word in done.stderr for word in told), done.stderr


def test_it_passes_its_checks_without_options(postgresql: str) -> None:
    done = run(postgresql, "check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_answers_503_and_leaves_a_line_in_the_log(postgresql: str) -> None:
    middleware = ["pooldemo.postgresql.UnavailableMiddleware"]
    done = run(postgresql, "serve", middleware, MAX_CONNS=1, POOL_TIMEOUT=2)
    assert done.stdout.split("\n")[:4] == ["200", *["503 1"] * 2, "200"], done.stdout + done.stderr
    assert "no connection within 2 s" in done.stderr, done.stderr
