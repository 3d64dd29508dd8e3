"""`manage.py pool`: the live pool in the terminal."""

import http.client
import re
import signal
import subprocess
import sys
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import psycopg2
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import OperationalError, connections
from django.http import HttpResponse
from django.test import Client
from django.urls import include, path, re_path
from served import PATIENCE_S, ROOT, Site, free_port, until

from pooldemo.monitor import server_holders
from pooldemo.postgresql.room import Limits
from pooldemo.site import project
from pooldemo.sweep.facts import Plan


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("pool", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_it_shows_each_worker_their_sum_and_postgresqls_own_count(site: Site) -> None:
    workers = until(lambda: [each["pid"] for each in site.get("/pool/").json["workers"]])
    text = run("--url", site.url)
    for word in ("Active", "Idle", "Pending", "Max", "sum", "p50", "wait", "hold", *map(str, workers)):
        assert word in text
    assert "PostgreSQL counts" in text


@pytest.mark.django_db
def test_it_shows_which_view_held_slots_without_work(site: Site) -> None:
    """The worst first; of this site's other tests one may be worse than this one."""
    site.get("/think/?query_ms=1&think_ms=100")
    row = re.compile(r"^/\S*/ +([\d.]+) +([\d.]+) s, +(\d+)%", re.MULTILINE)

    def thought() -> tuple[str, ...] | None:  # what a worker tells is a second old: this request may not be in it yet
        found = row.search(run("--url", site.url))
        return found.groups() if found and float(found[2]) >= 0.1 else None

    held_s, idle_s, share = until(thought)
    assert float(held_s) >= float(idle_s)
    assert 0 < int(share) <= 100


@pytest.mark.django_db
def test_it_shows_who_holds_a_connection_and_the_statement_while_the_pool_is_exhausted(tiny_site: Site) -> None:
    def agreed() -> str:  # what PostgreSQL counted is shared for a second: it may be of before
        shown = run("--url", tiny_site.url)
        return shown if "PostgreSQL counts 1 of these connections, the pools 1\n" in shown else ""

    with tiny_site.holding():
        text = until(agreed)
    assert "UPDATE pooldemo_row" in text


@pytest.mark.django_db
def test_it_shows_who_holds_the_servers_connections_of_whatever_site(site: Site) -> None:
    (own,) = {each["application_name"] for each in site.get("/pool/").json["workers"]}

    def waits_for_the_lock() -> tuple[str, dict[str, list[str]]] | None:  # its slot may have no connection yet
        text = run("--server", "--url", "http://127.0.0.1:9")  # it does not ask the site
        rows = {line.split("  ")[0]: line.split() for line in text.splitlines()}
        return (text, rows) if own in rows and int(rows[own][-2]) + int(rows[own][-4]) >= 1 else None

    with site.holding(), closing(psycopg2.connect(site.database_url, application_name="a stranger")):
        text, rows = until(waits_for_the_lock)
    assert rows["a stranger"][-4:] == ["0", "1", "0", "1"]
    assert re.search(r"\d+ of max_connections - reserved = \d+ - \d+: \d+ are left", text)


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["worker[/x]", "worker[red]", "worker:heart:"])
def test_it_shows_names_and_statements_as_they_are(name: str, database_url: str) -> None:
    """What looks like markup was left out, or ended it with a traceback."""
    with closing(psycopg2.connect(database_url, application_name=name)):
        assert f"\n{name} " in run("--server")


@pytest.mark.django_db
def test_it_counts_also_those_of_whom_postgresql_hides_what_they_do(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From whoever is no superuser and no member of pg_read_all_stats; they were left out, and more seemed left."""
    options = connections.settings["default"]["OPTIONS"]
    monkeypatch.setitem(connections.settings["default"], "OPTIONS", {**options, "assume_role": "pg_signal_backend"})
    with closing(psycopg2.connect(database_url, application_name="a stranger")):
        text = run("--server")
        assert all(each.database for each in server_holders.look().holders), "one of the server's own processes"
    (row,) = (line.split() for line in text.splitlines() if line.startswith("a stranger"))
    assert row[-4:] == ["?", "?", "?", "1"]
    assert re.search(r"Of \d+ of them PostgreSQL hides what they do: GRANT pg_read_all_stats", text)


def test_it_says_that_the_site_is_not_running() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(CommandError, match=r"does not answer at .* Start it with `gunicorn") as error:
        run("--url", url)
    assert url in str(error.value)
    assert error.value.returncode == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("FATAL:  sorry, too many clients already", "takes no more connections, .* ask as such a role: FATAL"),
        ("FATAL:  no more connections allowed (max_client_conn)", "^PgBouncer takes no more clients, .*: FATAL"),
    ],
)
def test_it_says_how_to_look_at_a_server_that_is_full(monkeypatch: pytest.MonkeyPatch, text: str, said: str) -> None:
    monkeypatch.setattr(server_holders, "look", MagicMock(side_effect=OperationalError(text)))
    with pytest.raises(CommandError, match=said):
        run("--server")


def test_it_hands_a_terminal_nothing_that_it_obeys(monkeypatch: pytest.MonkeyPatch) -> None:
    named = server_holders.Holder("a\x1b[2J", "socket", "b\x07", "c\n", 1, 0, 0, 1)
    monkeypatch.setattr(server_holders, "look", lambda: server_holders.Server((named,), Limits(10, 3)))
    text = run("--server")
    assert not {"\x1b", "\x07"} & set(text)
    assert "a?[2J" in text


@pytest.mark.parametrize("running", [False, True])
def test_it_says_that_the_sites_postgresql_is_stopped_too(running: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "EMBEDDED", SimpleNamespace(status=lambda: SimpleNamespace(running=running)))
    with pytest.raises(CommandError) as error:
        run("--url", f"http://127.0.0.1:{free_port()}")
    assert (", and its PostgreSQL is stopped. Start it with" in str(error.value)) is not running


def test_it_says_that_another_site_is_running(site: Site) -> None:
    with pytest.raises(CommandError, match="answers 404, but not like this site"):
        run("--url", f"{site.url}/elsewhere")


@pytest.mark.parametrize("pools", ["[1]", '{"a": {"stats": {"pool_size": 1e999}}}', "[" * 100_000])
def test_it_says_that_an_answer_is_no_sites_of_ours(pools: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f'{{"workers": [{{"pid": 1, "age_s": 0, "pools": {pools}}}], "sum": {{}}}}'.encode()
    response = SimpleNamespace(status=200, read=lambda: text)
    monkeypatch.setattr(http.client.HTTPConnection, "request", lambda *_, **__: None)
    monkeypatch.setattr(http.client.HTTPConnection, "getresponse", lambda _: response)
    with pytest.raises(CommandError, match="answers 200, but not like this site"):
        run()


def test_it_never_shows_another_projects_pool_as_its_own(site: Site, settings: Any) -> None:
    settings.SECRET_KEY = "of another project, whose site is elsewhere"
    with pytest.raises(CommandError, match="is not the site of this project: its SECRET_KEY, ROOT_URLCONF or database"):
        run("--url", site.url)


@pytest.mark.django_db
def test_it_asks_a_site_as_its_proxy_does(settings: Any) -> None:
    """By its own name, for a visitor who came by https: on its machine it would else answer 400, or lead elsewhere."""
    settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT = ["shop.example"], True
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers["Authorization"] != "Basic YWxpY2U6c2VjcmV0":
                self.send_error(401)
                return
            headers = {"host": self.headers["Host"], "x-forwarded-proto": self.headers.get("X-Forwarded-Proto", "")}
            answer = Client().get(self.path, headers=headers)
            self.send_response(answer.status_code)
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            with pytest.raises(CommandError, match="answers 401: send what it asks for, with --header"):
                run("--url", url)
            assert "PostgreSQL counts" in run("--url", url, "--header", "Authorization: Basic YWxpY2U6c2VjcmV0")
        finally:
            server.shutdown()
            thread.join()


def test_it_says_what_a_project_lacks_that_does_not_tell_of_its_pools(settings: Any) -> None:
    del settings.POOL_STACK
    settings.ROOT_URLCONF = "django.contrib.auth.urls"
    with pytest.raises(CommandError, match=r"add path\('', include\('pooldemo.urls'\)\) .* django.contrib.auth.urls"):
        run("--url", f"http://127.0.0.1:{free_port()}")


def test_it_says_that_another_pattern_takes_the_address(
    site: Site, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Wagtail's and django CMS's last one does where ours stands below it: the site answers 404."""
    every = [re_path(".*", lambda request: HttpResponse()), path("", include("pooldemo.urls"))]
    monkeypatch.setitem(sys.modules, "hiding", SimpleNamespace(urlpatterns=every))
    assert project.doubts(Plan()) == []
    del settings.POOL_STACK
    settings.ROOT_URLCONF = "hiding"
    with pytest.raises(CommandError, match=r"hiding has pooldemo.urls below a pattern that takes /pool/ too"):
        run("--url", f"{site.url}/elsewhere")
    assert "so nobody sees the pool: include it above that" in project.doubts(Plan(urls=("/",)))[-1]


def test_it_names_what_gunicorn_serves_of_this_project(settings: Any) -> None:
    settings.WSGI_APPLICATION = "shop.wsgi.application"
    with pytest.raises(CommandError, match="gunicorn -k gevent shop.wsgi`"):
        run("--url", f"http://127.0.0.1:{free_port()}")
    settings.WSGI_APPLICATION = None
    with pytest.raises(CommandError, match="Start it, or name another address"):
        run("--url", f"http://127.0.0.1:{free_port()}")


@pytest.mark.parametrize("arguments", [("--url", "ftp://x"), ("--url", "127.0.0.1"), ("--interval", "0")])
def test_it_says_what_it_accepts(arguments: tuple[str, str]) -> None:
    with pytest.raises(CommandError, match=r"give one as http://127.0.0.1:8000|0.1 to 3600 s are accepted"):
        run(*arguments)


def test_it_watches_a_line_at_a_time_when_piped_and_ends_quietly(site: Site) -> None:
    command = [sys.executable, "manage.py", "pool", "--watch", "--interval", "0.1", "--url", site.url]
    process = subprocess.Popen(
        command, cwd=ROOT, env=site.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    lines = [process.stdout.readline() for _ in range(3)]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE_S)
    for line in lines:
        assert " active " in line
        assert " postgresql " in line
        assert "\x1b" not in line
    assert (process.returncode, errors) == (0, "")
