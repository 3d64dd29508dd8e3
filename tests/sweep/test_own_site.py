"""A project of somebody else's under a sweep: its refusals, a login. The whole way is in tests/package."""

import contextlib
import runpy
import sysconfig
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import OperationalError, ProgrammingError, connections
from django.test import Client, RequestFactory
from pages import Pages, served
from psycopg2.extensions import parse_dsn

from pooldemo import records
from pooldemo.monitor.views import has_pass
from pooldemo.site import admission, project
from pooldemo.site.errors import Unfit
from pooldemo.sweep.facts import Conditions, Plan, TrialResult
from pooldemo.sweep.measure import server, trial
from pooldemo.sweep.measure.process import Ledger
from pooldemo.sweep.measure.server import Server
from pooldemo.sweep.measure.target import Page, Site, Target, TrialError
from pooldemo.sweep.measure.trial import Bench, try_out
from pooldemo.sweep.stacks.stack import Stack


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--url", "orders"], "--url orders is no page of a site: give its path"),
        (["--url", "/x/#top"], "--url /x/#top: no browser sends what stands behind a #"),
        (["--url", "/", "--locustfile", "manage.py"], "both say what users ask for"),
        (["--url", "/", "--workload", "slow"], "--workload is for our own pages: leave it out beside --url"),
        (["--locustfile", "nowhere.py"], "--locustfile nowhere.py is no file"),
        (["--locustfile", "README.md"], "--locustfile README.md is no file, or none of Python"),
        (["--url", "/", "--wsgi", "./shop/wsgi.py"], "--wsgi ./shop/wsgi.py is no module: give one as"),
        (["--url", "/", "--wsgi", ":application"], "--wsgi :application is no module"),
        (["--url", "/", "--wsgi", r"shop\wsgi"], r"--wsgi shop\\wsgi is no module"),
        (["--url", "/", "--wsgi=-c"], "--wsgi -c is no module"),
        (["--url", "/", "--wsgi", ""], "--wsgi is empty: leave it out"),
        (["--url", "/", "--host", ""], "--host is empty: leave it out"),
        (["--locustfile", ""], "--locustfile is empty: leave it out"),
        (["--locustfile", "manage.py", "--login", "alice"], "a --locustfile logs in by itself"),
        (["--url", "/", "--login", "nobody"], "--login nobody: there is no user whose username is that"),
        (["--url", "/", "--header", "Bearer"], "--header 'Bearer' is no header: give one as"),
        (["--url", "/", "--header", "A b: c"], "--header 'A b: c' is no header: give one as"),
        (["--url", "/", "--header", "X: 5 €"], "--header 'X: 5 €': a header has characters of Latin-1 alone"),
        (["--url", "/", "--expect-workers", "0"], "--expect-workers 0 is out of range: 1 to 64"),
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
    with admission.admitted(options) as headers:
        name, _, value = headers["Cookie"].partition("=")
        client.cookies[name] = value
        assert client.get("/admin/password_change/").status_code == 200
    assert headers["X-Tenant"] == "one"
    assert not Session.objects.exists()


@pytest.mark.django_db
def test_it_asks_for_each_page_before_it_goes_on_with_a_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise TrialError("/secret/ answers 302 /login/")

    site = replace(project.site(Plan()), settings="shop.settings")
    monkeypatch.setattr(project, "site", lambda *_: site)
    monkeypatch.setattr("pooldemo.management.commands.sweep.try_out", refuse)
    monkeypatch.setattr("pooldemo.sweep.measure.run.Run.__init__", lambda *_: pytest.fail("it measures"))
    row = records.begin(Plan(sizes=(2, 4), repeats=1, workload="urls", urls=("/secret/",)), Conditions())
    records.save_trial(row, TrialResult("pooldemo", 2, 1, rps=40.0))
    records.end(row, "interrupted", ())
    with pytest.raises(CommandError, match="/secret/ answers 302 /login/"):
        call_command("sweep", "--resume", str(row.pk), "--quiet")
    assert len(records.result(row).trials) == 1


def test_it_asks_for_a_page_as_a_browser_would() -> None:
    plan = project.planned(Plan(urls=("/sück/?q=ä%25",)), {"urls", "stacks"}, remote=False)
    assert plan.urls == ("/s%C3%BCck/?q=%C3%A4%25",)


class Permissions:
    """A backend as django-guardian's or rules': it knows what somebody may, and not who that is."""


@pytest.mark.django_db
def test_it_logs_in_by_the_backend_that_lets_that_user_in(client: Client, settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.Permissions", *settings.AUTHENTICATION_BACKENDS]
    user = User.objects.create_superuser("alice")
    with admission.logged_in("alice") as headers:
        name, _, value = headers["Cookie"].partition("=")
        client.cookies[name] = value
        assert client.get("/admin/password_change/").status_code == 200
    user.is_active = False
    user.save()
    with pytest.raises(Unfit, match=r"none of AUTHENTICATION_BACKENDS lets that user in \(is_active=False\)"):
        with admission.logged_in("alice"):
            pass


@pytest.mark.django_db
def test_it_logs_in_where_a_session_reaches_the_servers(settings: Any) -> None:
    User.objects.create_superuser("alice")
    sessions = "django.contrib.sessions"
    apps = [f"{sessions}.apps.SessionsConfig" if each == sessions else each for each in settings.INSTALLED_APPS]
    settings.INSTALLED_APPS = apps
    with admission.logged_in("alice") as headers:
        assert headers
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    with pytest.raises(Unfit, match=r"CACHES\['default'\] keeps it in this process's own memory"):
        with admission.logged_in("alice"):
            pass
    settings.MIDDLEWARE = []
    with pytest.raises(Unfit, match="MIDDLEWARE has no SessionMiddleware"):
        with admission.logged_in("alice"):
            pass


def test_it_looks_on_at_the_server_that_the_site_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several: at the first it counted nothing."""
    options = {"target_session_attrs": "read-write", "hostaddr": "127.0.0.1,127.0.0.2", "MAX_CONNS": 3}
    config = connections.settings["default"] | {"HOST": "one,two", "PORT": "5432,5433", "OPTIONS": options}
    monkeypatch.setitem(connections.settings, "default", config)
    seen = parse_dsn(project.database_url())
    assert (seen["host"], seen["port"]) == ("one,two", "5432,5433")
    assert (seen["hostaddr"], seen["target_session_attrs"]) == ("127.0.0.1,127.0.0.2", "read-write")
    of_url = {"host": "/cloudsql/shop", "user": "me", "port": 6432}  # of `?host=/cloudsql/shop&...`
    monkeypatch.setitem(
        connections.settings, "default", config | {"HOST": "", "PORT": "", "USER": "", "OPTIONS": of_url}
    )
    seen = parse_dsn(project.database_url())
    assert (seen["host"], seen["port"], seen["user"]) == ("/cloudsql/shop", "6432", "me")


def test_it_says_how_a_project_without_a_wsgi_module_is_served() -> None:
    with pytest.raises(Unfit, match=r"--wsgi 'django.core.wsgi:get_wsgi_application\(\)'"):
        project.application_of(None)


def test_it_says_that_settings_stand_in_no_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """A project of one file calls settings.configure(); it was a KeyError."""
    monkeypatch.setattr(project, "is_own", lambda: False)
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE")
    with pytest.raises(Unfit, match=r"settings.configure\(\), .* or sweep the site as it runs, with --host"):
        project.site(Plan(urls=("/",), wsgi="shop:application"))
    assert project.site(Plan(urls=("/",), host="http://127.0.0.1:8000")).settings


def test_it_says_what_it_does_not_size(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """A verdict of "not your bottleneck" is about the default database's pool, whatever a router does."""
    own = connections["default"]
    others = [
        own.copy(alias="replica"),
        SimpleNamespace(alias="archive", settings_dict={"OPTIONS": {"pool": {"max_size": 2}}}),
        SimpleNamespace(alias="plain", settings_dict={"OPTIONS": {}}),
    ]
    monkeypatch.setattr(type(connections), "all", lambda *_, **__: [own, *others])
    replica, archive = project.doubts(Plan())
    assert replica.startswith("DATABASES['replica'] has a pool of its own")
    assert replica.endswith("a trial sets that of 'default' alone")
    assert "'archive'" in archive


class Fake:
    """A target that answers /ok/ with 200, /secret/ with the way to a login, and says that its pool has 7 slots."""

    names, probe_path = (), None
    pool = Page("/pool/")

    def __init__(self, url: str) -> None:
        self.url = url

    said = "KeyError: 'shop'"

    def wait_ready(self) -> None: ...
    def check(self) -> None: ...
    def workers(self) -> set[int]:
        return set()

    def cpu_s(self) -> Mapping[int, float]:
        return {}

    def __enter__(self) -> "Fake":
        return self

    def __exit__(self, *_: object) -> None: ...


class FakeBench(Bench):
    """Leads to it."""

    url = ""

    def target(self, stack: Stack, size: int, plan: Plan, told: bool = False) -> Target:
        assert told
        return Fake(self.url)


@contextmanager
def trying(folder: Path, headers: Mapping[str, str], pages: type[Pages] = Pages) -> Iterator[Bench]:
    with served(pages) as FakeBench.url, Ledger(folder) as ledger:
        yield FakeBench(Site("shop.wsgi", "postgres://nowhere/shop", "shop.settings"), ledger, headers)


def test_it_tries_each_page_once_before_the_first_trial(tmp_path: Path) -> None:
    plan = Plan(sizes=(7, 8), urls=("/ok/", "/secret/"))
    with trying(tmp_path, {}) as bench, pytest.raises(TrialError, match="/secret/ answers 302 /login/.*--login USER"):
        try_out(plan, bench)
    with trying(tmp_path, {"Cookie": "too little"}) as bench, pytest.raises(TrialError, match="a second factor"):
        try_out(plan, bench)
    with trying(tmp_path, {"Cookie": "known"}) as bench:
        try_out(plan, bench)
        with pytest.raises(TrialError, match="/broken/ answers 500(.|\n)*KeyError: 'shop'"):
            try_out(Plan(sizes=(7,), urls=("/broken/",)), bench)


class Endless(Pages):
    """A stream of events."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(b"data: x\n\n")
                time.sleep(0.02)


def test_it_says_of_a_page_that_its_answer_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "TRIED_S", 0.3)
    with (
        trying(tmp_path, {}, Endless) as bench,
        pytest.raises(TrialError, match=r"answer of / has not ended within 0.3 s"),
    ):
        try_out(Plan(sizes=(7,), urls=("/",)), bench)


def test_its_servers_find_what_manage_py_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `src` that it adds, say, or that an editable install does; of a commit that one's, or it would be this one."""
    monkeypatch.setattr(server, "ROOT", tmp_path)
    commit = tmp_path / ".local" / "against" / "1" / "1a2b3c4d5e6f"
    for folder in (tmp_path, commit):
        (folder / "src").mkdir(parents=True)
    (tmp_path / "libraries").mkdir()  # which the commit does not have
    own = [str(tmp_path / each) for each in ("", "src", "libraries")]
    path = ["", *own, str(tmp_path / "nowhere"), *map(sysconfig.get_path, ("stdlib", "purelib"))]  # it has its own
    assert server.search_path(path, tmp_path) == own
    assert server.search_path(path, commit) == [str(commit), str(commit / "src"), own[2]]


def test_their_gunicorn_conf_keeps_no_server_from_being_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says besides holds."""
    wrong = {"daemon": True, "preload_app": True, "pidfile": "run.pid", "certfile": "c.pem", "keyfile": "k.pem"}
    wrong["max_requests"] = 1000
    lines = [f"{name} = {value!r}" for name, value in (wrong | {"errorlog": "error.log", "backlog": 7}).items()]
    elsewhere = {"chdir": "/srv/shop", "user": "www-data", "group": "www-data"}
    lines += [f"{name} = {value!r}" for name, value in elsewhere.items()]
    lines.append('raw_env = ["DJANGO_SETTINGS_MODULE=shop.prod", "SECRET_KEY=a=b"]')
    lines.append("def post_fork(server, worker): return backlog")
    (tmp_path / "gunicorn.conf.py").write_text("\n".join(lines))
    assert not any(runpy.run_path(str(server.CONFIGURATION)).get(name) for name in wrong), "without one of theirs"
    monkeypatch.chdir(tmp_path)
    found = runpy.run_path(str(server.CONFIGURATION))
    assert not any(found[name] for name in wrong)
    assert (found["errorlog"], found["backlog"], found["raw_env"]) == ("-", 7, ["SECRET_KEY=a=b"])
    assert found["post_fork"](None, None) == 7
    assert not found.keys() & elsewhere, "another folder's code would be measured, and another user may not write here"
    (tmp_path / "gunicorn.conf.py").write_text('raw_env = "SECRET_KEY=a=b"')
    assert runpy.run_path(str(server.CONFIGURATION))["raw_env"] == ["SECRET_KEY=a=b"]


def test_it_says_which_line_lets_a_project_read_its_size(tmp_path: Path) -> None:
    with trying(tmp_path, {}) as bench, pytest.raises(TrialError, match=r"with MAX_CONNS=2, and its pool has 7 slots"):
        try_out(Plan(sizes=(2,), urls=("/ok/",)), bench)


def test_it_says_that_a_wsgi_module_names_its_settings_itself(tmp_path: Path) -> None:
    """Then none of ours would stand before them, and each size would be the project's own."""
    site = Site("shop.wsgi", "postgres://nowhere/shop", "shop.settings", "pooldemo", ready_path=None)
    stack = Stack("pooldemo", "", ("{python}", "-m", "http.server", "--bind", "127.0.0.1", "{port}"))
    with (
        Ledger(tmp_path) as ledger,
        Server(stack, 2, 1, 1, site, ledger) as silent,
        pytest.raises(TrialError, match=r'write os.environ.setdefault\("DJANGO_SETTINGS_MODULE", "shop.settings"\)'),
    ):
        silent.wait_ready()


def test_it_may_resize_this_site_where_it_runs_already() -> None:
    page = project.site(Plan()).pool
    assert page is not None
    assert page.path == "/pool/"
    assert has_pass(RequestFactory().post(page.path, headers=dict(page.headers)))


@pytest.mark.django_db
def test_it_says_that_these_settings_are_not_those_of_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of manage.py's SQLite, which may have no tables, it said that the database failed."""

    def listing() -> None:
        raise OperationalError("no such table: pooldemo_sweep")

    monkeypatch.setattr(records, "listing", listing)
    monkeypatch.setattr(type(connections["default"]), "vendor", "sqlite")
    with pytest.raises(CommandError, match=r"is no PostgreSQL: ENGINE is .*name those: --settings mysite.production$"):
        call_command("sweep", "--list")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("says", "cure"),
    [
        ('relation "pooldemo_sweep" does not exist', "python manage.py migrate"),
        ("permission denied for table pooldemo_sweep", "give its role the right"),
    ],
)
def test_it_says_what_its_table_lacks(monkeypatch: pytest.MonkeyPatch, says: str, cure: str) -> None:
    def listing() -> None:
        raise ProgrammingError(f"{says}\nLINE 1: ...")

    monkeypatch.setattr(records, "listing", listing)
    with pytest.raises(CommandError, match=f"^{says}: {cure}$"):
        call_command("sweep", "--list")
