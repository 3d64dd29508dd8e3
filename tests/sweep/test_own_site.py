"""A project of somebody else's under a sweep: its settings resized, its refusals, a login. The whole way is in
tests/package."""

import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.test import Client, RequestFactory

from pooldemo.management import site as sites
from pooldemo.monitor.views import has_pass
from pooldemo.sweep.facts import Plan
from pooldemo.sweep.measure.process import Ledger
from pooldemo.sweep.measure.server import Server
from pooldemo.sweep.measure.target import Page, Site, Target, TrialError
from pooldemo.sweep.measure.trial import Bench, try_out
from pooldemo.sweep.stacks.stack import Stack

OURS, DJANGOS = "pooldemo.postgresql", "django.db.backends.postgresql"
GEVENTPOOL = "django_db_geventpool.backends.postgresql_psycopg2"


@pytest.mark.parametrize(
    ("engine", "options", "stack", "becomes"),
    [
        (OURS, {"MAX_CONNS": 9, "REUSE_CONNS": 9, "RESET": "always"}, "", (OURS, {"MAX_CONNS": 3, "RESET": "always"})),
        (OURS, {"application_name": "shop"}, "", (OURS, {"MAX_CONNS": 3})),
        (GEVENTPOOL, {"MAX_CONNS": 9, "MIN_CONNS": 2}, "", (GEVENTPOOL, {"MAX_CONNS": 3})),
        (DJANGOS, {"pool": True}, "", (DJANGOS, {"pool": {"min_size": 3, "max_size": 3}})),
        (
            DJANGOS,
            {"pool": {"max_size": 9, "min_size": 1, "timeout": 5}},
            "",
            (DJANGOS, {"pool": {"max_size": 3, "min_size": 1, "timeout": 5}}),
        ),
        (
            DJANGOS,
            {"sslmode": "disable", "pool": True},
            "pooldemo",
            (OURS, {"sslmode": "disable", "MAX_CONNS": 3}),
        ),
        ("django.contrib.gis.db.backends.postgis", {}, "pooldemo", (f"{OURS}.postgis", {"MAX_CONNS": 3})),
        (OURS, {"MAX_CONNS": 9, "POOL_TIMEOUT": 5}, "geventpool", (GEVENTPOOL, {"MAX_CONNS": 3})),
    ],
)
def test_it_resizes_the_pool_that_a_project_has_or_puts_another_in_its_place(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    engine: str,
    options: dict[str, Any],
    stack: str,
    becomes: tuple[str, dict[str, Any]],
) -> None:
    default = {"ENGINE": engine, "NAME": "shop", "CONN_MAX_AGE": 60, "OPTIONS": options}
    databases = {"default": default, "other": {"NAME": "other"}}
    (tmp_path / "shop_settings.py").write_text(f"SECRET = 'theirs'\nDATABASES = {databases!r}\n")
    given = {"POOLDEMO_SETTINGS": "shop_settings", "POOLDEMO_SETTINGS_READ": str(tmp_path / "read")}
    for name, value in (given | {"MAX_CONNS": "3", "POOL_STACK": stack}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("shop_settings", "pooldemo.sweep.stacks.settings"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    settings: Any = import_module("pooldemo.sweep.stacks.settings")
    assert settings.SECRET == "theirs"
    assert settings.with_errors({})["loggers"]["django.request"]["level"] == "ERROR"
    assert settings.DATABASES["other"] == {"NAME": "other"}
    assert (settings.DATABASES["default"]["ENGINE"], settings.DATABASES["default"]["OPTIONS"]) == becomes
    assert settings.DATABASES["default"]["CONN_MAX_AGE"] == (0 if stack else 60), "another pool asks for 0"
    assert (tmp_path / "read").exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--url", "orders"], "--url orders is no page of a site: give its path"),
        (["--url", "/", "--locustfile", "manage.py"], "both say what users ask for"),
        (["--url", "/", "--workload", "slow"], "--workload is for our own pages: leave it out beside --url"),
        (["--locustfile", "nowhere.py"], "--locustfile nowhere.py is no file"),
        (["--locustfile", "manage.py", "--login", "alice"], "a --locustfile logs in by itself"),
        (["--url", "/", "--login", "nobody"], "--login nobody: there is no user whose username is that"),
        (["--url", "/", "--header", "Bearer"], "--header 'Bearer' is none: give one as"),
    ],
)
def test_it_refuses_a_load_of_ones_own_that_makes_no_sense(arguments: list[str], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence) as refused:
        call_command("sweep", *arguments, "--quiet")
    assert refused.value.returncode == 2


@pytest.mark.django_db
def test_it_asks_as_a_user_by_a_session_that_ends_with_the_sweep(client: Client) -> None:
    User.objects.create_superuser("alice")
    options: dict[str, Any] = {"login": "alice", "header": ["X-Tenant: one"], "locustfile": None}
    with sites.admitted(options) as headers:
        name, _, value = headers["Cookie"].partition("=")
        client.cookies[name] = value
        assert client.get("/admin/password_change/").status_code == 200
    assert headers["X-Tenant"] == "one"
    assert not Session.objects.exists()


class Fake:
    """A target that answers /ok/ with 200, /secret/ with the way to a login, and says that its pool has 7 slots."""

    application_name = probe_path = None
    pool = Page("/pool/")

    def __init__(self, url: str) -> None:
        self.url = url

    said = "KeyError: 'shop'"

    def wait_ready(self) -> None: ...
    def check(self) -> None: ...
    def cpu_s(self) -> Mapping[int, float]:
        return {}

    def __enter__(self) -> "Fake":
        return self

    def __exit__(self, *_: object) -> None: ...


class Pages(BaseHTTPRequestHandler):
    """What it answers."""

    def do_GET(self) -> None:
        login = self.path == "/secret/" and self.headers["Cookie"] != "known"
        self.send_response(302 if login else 500 if self.path == "/broken/" else 200)
        if login:
            self.send_header("Location", "/login/")
        self.end_headers()
        self.wfile.write(json.dumps({"workers": [{"pools": {"default": {"stats": {"pool_max": 7}}}}]}).encode())

    def log_message(self, *_: object) -> None: ...


class FakeBench(Bench):
    """Leads to it."""

    url = ""

    def target(self, stack: Stack, size: int, plan: Plan, told: bool = False) -> Target:
        assert told
        return Fake(self.url)


@contextmanager
def trying(folder: Path, headers: Mapping[str, str]) -> Iterator[Bench]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with Ledger(folder) as ledger:
        FakeBench.url = f"http://127.0.0.1:{server.server_port}"
        yield FakeBench(Site("shop.wsgi", "postgres://nowhere/shop", "shop.settings"), ledger, headers)
    server.shutdown()
    thread.join()
    server.server_close()


def test_it_tries_each_page_once_before_the_first_trial(tmp_path: Path) -> None:
    plan = Plan(sizes=(7, 8), urls=("/ok/", "/secret/"))
    with trying(tmp_path, {}) as bench, pytest.raises(TrialError, match="/secret/ answers 302 /login/.*--login USER"):
        try_out(plan, bench)
    with trying(tmp_path, {"Cookie": "known"}) as bench:
        try_out(plan, bench)
        with pytest.raises(TrialError, match="/broken/ answers 500(.|\n)*KeyError: 'shop'"):
            try_out(Plan(sizes=(7,), urls=("/broken/",)), bench)


def test_it_says_which_line_lets_a_project_read_its_size(tmp_path: Path) -> None:
    with trying(tmp_path, {}) as bench, pytest.raises(TrialError, match=r"with MAX_CONNS=2, and its pool has 7 slots"):
        try_out(Plan(sizes=(2,), urls=("/ok/",)), bench)


def test_it_says_that_a_wsgi_module_names_its_settings_itself(tmp_path: Path) -> None:
    """Then none of ours would stand before them, and each size would be the project's own."""
    site = Site("shop.wsgi", "postgres://nowhere/shop", "shop.settings", "pooldemo", ready_path=None)
    stack = Stack("pooldemo", "", ("{python}", "-m", "http.server", "--bind", "127.0.0.1", "{port}"))
    with (
        Ledger(tmp_path) as ledger,
        Server(stack, 2, 1, 1, site, ledger) as server,
        pytest.raises(TrialError, match=r'write os.environ.setdefault\("DJANGO_SETTINGS_MODULE", "shop.settings"\)'),
    ):
        server.wait_ready()


def test_it_may_resize_this_site_where_it_runs_already() -> None:
    page = sites.site(Plan()).pool
    assert page is not None
    assert page.path == "/pool/"
    assert has_pass(RequestFactory().post(page.path, headers=dict(page.headers)))
