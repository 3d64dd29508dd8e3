"""A site that runs already under a sweep: it is found, asked and resized, or said why not."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.urls import clear_script_prefix, get_script_prefix, set_script_prefix
from pages import Pages, served

from pooldemo import records
from pooldemo.monitor import snapshots
from pooldemo.site import project
from pooldemo.site.address import as_its_proxy
from pooldemo.site.admission import admitted, headers_of
from pooldemo.site.errors import Unfit
from pooldemo.sweep.facts import Conditions, Plan
from pooldemo.sweep.measure import running
from pooldemo.sweep.measure.database import OBSERVER
from pooldemo.sweep.measure.target import Page


class Workers(BaseHTTPRequestHandler):
    """Three workers of a site that has just begun: one has a pool, the others will have one with their first query."""

    size = 8

    def do_GET(self) -> None:
        self.answer(
            200, {"workers": [self.worker({"default": {"stats": {"pool_max": self.size}}}), *[self.worker({})] * 2]}
        )

    def worker(self, pools: dict[str, Any]) -> dict[str, Any]:
        return {"application_name": "shop", "size": self.size, "pools": pools}

    def do_POST(self) -> None:
        type(self).size = int(self.path.partition("size=")[2])
        self.answer(202, {})

    def answer(self, status: int, document: dict[str, Any]) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(document).encode())

    def log_message(self, *_: object) -> None: ...


def test_it_counts_the_workers_of_a_running_site_that_have_no_pool_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(Workers) as url:
        plan = as_it_runs(monkeypatch, url, sizes=(4,))
        assert (plan.workers, plan.sizes) == (3, (4,))
        with running.restored(url, Page("/pool/")):
            running.Running(url, Page("/pool/"), 4).wait_ready()
            assert Workers.size == 4
        assert Workers.size == 8


@pytest.mark.parametrize("told", [{"pid": (7, 8)}, {"pid": (7, 7), "host": ("web1", "web2")}])
def test_it_refuses_a_site_whose_workers_do_not_know_of_each_other(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of uvicorn, or of two hosts behind a balancer, whose workers have the same numbers if they are containers: one
    was resized, and the other had its own size."""

    class Strangers(Workers):
        answered = 0

        def do_GET(self) -> None:
            type(self).answered += 1
            its = {name: each[self.answered % 2] for name, each in told.items()}
            self.answer(200, {"workers": [self.worker({}) | its]})

    with served(Strangers) as url, pytest.raises(Unfit, match="do not know of each other, .* --behind, .* one process"):
        as_it_runs(monkeypatch, url)


def test_it_says_that_nobody_answers_there_also_where_the_project_tells_of_no_pools(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It asked for the size of a site that did not run."""
    with served(Pages) as url:
        pass
    with pytest.raises(Unfit, match=f"--host {url}, or a host --behind it, does not answer: .*refused"):
        as_it_runs(monkeypatch, url, address=None)


def test_it_counts_the_workers_that_it_was_the_first_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pooldemo.urls alone is included, a worker tells of itself from its first request on."""

    class Waking(Workers):
        asked = 0

        def do_GET(self) -> None:
            type(self).asked += 1
            told = [{**self.worker({}), "pid": pid} for pid in range(min(self.asked, 3))]
            self.answer(200, {"workers": told})

    with served(Waking) as url:
        assert as_it_runs(monkeypatch, url).workers == 3


def test_it_takes_several_hosts_behind_a_balancer_for_one_site(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its workers are those of all of them, each is resized, and each may have a name of its own at the server."""

    class Other(Workers):
        size = 8

        def worker(self, pools: dict[str, Any]) -> dict[str, Any]:
            return {**super().worker(pools), "application_name": "shop-2"}

    class Balancer(Pages):
        def do_GET(self) -> None:  # which hides it
            self.send_error(404)

    Workers.size = 8
    monkeypatch.setattr(project, "is_own", lambda: False)
    monkeypatch.setattr(project, "pool_address", lambda: "/pool/")
    monkeypatch.setattr(project, "database_url", lambda: "postgres://nowhere/shop")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "shop.settings")
    with served(Balancer) as url, served(Workers) as one, served(Other) as two:
        given = Plan(urls=("/",), host=url, sizes=(4,), stacks=("pooldemo",))
        names = {"urls", "host", "stacks", "sizes"}
        with pytest.raises(Unfit, match="name the hosts with --behind"):
            project.planned(replace(given, sizes=(2, 4)), names, remote=False)
        behind = [f"{one}/", two]
        plan = project.planned(given, names, remote=False, behind=behind)
        assert (plan.host, plan.workers, plan.sizes) == (url, 6, (4,))
        project.same(plan, behind)
        with pytest.raises(Unfit, match="had 6 workers in that sweep, and tells of 3"):
            project.same(plan, [one])
        page = project.site(plan, behind).pool
        with running.restored(url, page):
            target = running.Running(url, page, 4)
            target.wait_ready()
            assert target.names == ("shop", "shop-2")
            assert (Workers.size, Other.size) == (4, 4)
        assert (Workers.size, Other.size) == (8, 8)
        with pytest.raises(Unfit, match="say where their balancer is, with --host"):
            project.planned(replace(given, host=""), {"urls"}, remote=False, behind=behind)
        with pytest.raises(Unfit, match="--behind http://10.0.0.7:8000 is not this machine"):
            project.planned(given, names, remote=False, behind=["http://10.0.0.7:8000"])


def as_it_runs(
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    headers: Mapping[str, str] | None = None,
    address: str | None = "pool/",
    **more: Any,
) -> Plan:
    """The plan for another project's site at `host`, whose pool's page is where `include("pooldemo.urls")` has it, with
    `more` that was typed."""
    monkeypatch.setattr(project, "is_own", lambda: False)
    monkeypatch.setattr(project, "pool_address", lambda: address and f"{get_script_prefix()}{address}")
    monkeypatch.setattr(project, "database_url", lambda: "postgres://nowhere/shop")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "shop.settings")
    given = Plan(urls=("/orders/",), host=host, stacks=("pooldemo",), **more)
    return project.planned(given, {"urls", "host", "stacks", *more}, remote=False, headers=headers or {})


def test_it_names_a_running_site_by_the_stack_on_which_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it tells, or, where it is silent, as these settings say: what is typed makes no record of another."""

    class Telling(Workers):
        stacks: tuple[str, ...] = ("geventpool", "geventpool")

        def do_GET(self) -> None:
            self.answer(200, {"workers": [{"size": None, "pools": {}, "stack": each} for each in self.stacks]})

    monkeypatch.setattr(project, "pool_address", lambda: "/pool/")
    monkeypatch.setattr(snapshots, "stack", lambda: "psycopg-pool")
    monkeypatch.setattr(project, "is_own", lambda: False)
    monkeypatch.setattr(project, "database_url", lambda: "postgres://nowhere/shop")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "shop.settings")

    def on(url: str, *given: str) -> tuple[str, ...]:
        plan = Plan(urls=("/",), host=url, sizes=(4,), stacks=given or Plan().stacks)
        return project.planned(plan, {"urls", "host", "sizes", *(["stacks"] if given else [])}, remote=False).stacks

    with served(Telling) as url:
        assert on(url) == on(url, "geventpool") == ("geventpool",)
        with pytest.raises(
            Unfit, match=r"does not tell the size of its pools \(it is on geventpool\), so .* --sizes 8"
        ):
            project.planned(Plan(urls=("/",), host=url), {"urls", "host"}, remote=False)
        for typed in (("pooldemo",), ("geventpool", "pooldemo")):
            with pytest.raises(Unfit, match="runs already, on geventpool: leave out --stack"):
                on(url, *typed)
        with pytest.raises(Unfit, match="was on pooldemo in that sweep, and is on geventpool"):
            project.same(Plan(urls=("/",), host=url, sizes=(4,)), ())
        Telling.stacks = ("geventpool", "pooldemo")
        with pytest.raises(Unfit, match=r"on several stacks \(geventpool, pooldemo\)"):
            on(url)
        Telling.stacks = ("", "pooldemo")
        with pytest.raises(Unfit, match=r"on several stacks \(none, pooldemo\)"):
            on(url)
        Telling.stacks = ("",)
        with pytest.raises(Unfit, match="keeps no pool that a sweep can size: leave out --host"):
            on(url, "pooldemo")
    with served(Pages) as silent:
        assert on(silent) == ("psycopg-pool",)
        with pytest.raises(Unfit, match="runs already, on psycopg-pool: leave out --stack"):
            on(silent, "pooldemo")


def test_it_refuses_what_a_running_site_has_already(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was measured again under each number of workers that was typed."""
    monkeypatch.setattr(Workers, "size", 8)
    with served(Workers) as url, served(Pages) as silent:
        assert as_it_runs(monkeypatch, url, workers=3).workers == 3
        with pytest.raises(Unfit, match="--workers 4: .* runs already, with 3: leave out --workers"):
            as_it_runs(monkeypatch, url, workers=4)
        with pytest.raises(Unfit, match="--workers 1,3: .* runs already, with 3: leave out --workers"):
            as_it_runs(monkeypatch, url, workers=3, splits=(1, 3))
        assert as_it_runs(monkeypatch, silent, workers=3, sizes=(7,)).workers == 3, "who knows it says it"
        with pytest.raises(Unfit, match="--workers 1,3: .* runs already, with as many as it has"):
            as_it_runs(monkeypatch, silent, workers=3, splits=(1, 3), sizes=(7,))
        with pytest.raises(Unfit, match="--wsgi shop.wsgi: .* nothing is started: leave out --wsgi"):
            as_it_runs(monkeypatch, url, wsgi="shop.wsgi")


def test_it_takes_a_site_below_a_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """FORCE_SCRIPT_NAME is the prefix of the address, and not a part of each page's."""

    class Below(Workers):
        def do_GET(self) -> None:
            if self.path.startswith("/shop/pool/"):
                super().do_GET()
            else:
                self.send_error(404)

    monkeypatch.setattr(Workers, "size", 8)
    for prefix in ("/", "/shop/"):
        set_script_prefix(prefix)
        try:
            with served(Below) as url:
                plan = as_it_runs(monkeypatch, f"{url}/shop/")
                assert (plan.host, plan.workers, plan.sizes) == (f"{url}/shop", 3, (8,))
        finally:
            clear_script_prefix()


def test_it_asks_no_running_site_what_gunicorn_would_serve(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """A project for ASGI alone has no WSGI_APPLICATION, and nothing is started where the site runs."""
    settings.WSGI_APPLICATION = None
    with served(Workers) as site:
        monkeypatch.setattr(Workers, "size", 8)
        plan = as_it_runs(monkeypatch, site)
        assert plan.sizes == (8,)
        assert project.site(plan).pool is not None


def test_it_asks_a_running_site_as_its_proxy_does(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """By the site's name, for a visitor who came by https: else it answers 400, or leads there."""

    class Behind(Workers):
        def do_GET(self) -> None:
            if (self.headers["Host"], self.headers["X-Forwarded-Proto"]) == ("shop.example", "https"):
                super().do_GET()
            else:
                self.send_error(400)

    monkeypatch.setattr(Workers, "size", 8)
    settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT = [".shop.example"], True
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    with served(Behind) as url:
        assert as_it_runs(monkeypatch, url).sizes == (8,)
        options: dict[str, Any] = {"locustfile": "", "login": None, "header": ["host: www.shop.example"]}
        with admitted(options, url) as headers:
            assert headers == {"X-Forwarded-Proto": "https", "host": "www.shop.example"}, "what was typed wins"
            page = project.pool_page(url, (), headers_of(options["header"]))
            assert page is not None
            assert dict(page.headers) | headers == dict(page.headers), "and there as well"
    assert as_its_proxy("https://www.shop.example") == {}
    assert as_its_proxy("https://staging.example") == {}, "what has a certificate of that name may know no other"
    settings.SECURE_PROXY_SSL_HEADER = None
    assert as_its_proxy("http://www.shop.example") == {"X-Forwarded-Proto": "https"}, "gunicorn knows it by itself"
    settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT = ["[::1]", "127.0.0.1"], False
    assert as_its_proxy("http://[::1]:8000", "http://127.0.0.1") == {}


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, "{}", "/pool/ answers 200 OK: that is no page of ours"),
        (200, "<html>", "/pool/ answers 200 OK: that is no page of ours"),
        (200, '{"workers": ["anna", "bob"]}', "/pool/ answers 200 OK: that is no page of ours"),
        (200, '{"workers": [{"size": "large", "stack": []}]}', "/pool/ answers 200 OK: that is no page of ours"),
        (200, "[" * 100_000, "/pool/ answers 200 OK: that is no page of ours"),
        (301, "", "/pool/ answers 301 Moved Permanently: leads to https://shop.example/"),
        (400, "", "/pool/ answers 400 Bad Request: are this address's name and https what it expects?"),
        (401, "", "/pool/ answers 401 Unauthorized: send what it asks for, with --header 'Authorization: Basic ...'"),
        (403, "", "/pool/ answers 403 Forbidden: is its SECRET_KEY another?"),
        (
            404,
            "",
            "/pool/ answers 404 Not Found: does it include pooldemo.urls, above what takes every address?",
        ),
        (500, "", "/pool/ answers 500 Internal Server Error: its log says why"),
    ],
)
def test_it_says_what_a_running_site_answers_instead_of_its_size(
    monkeypatch: pytest.MonkeyPatch, status: int, body: str, said: str
) -> None:
    class Silent(Pages):
        def do_GET(self) -> None:
            self.send_response(status)
            if status == 301:
                self.send_header("Location", "https://shop.example/")
            self.end_headers()
            self.wfile.write(body.encode())

    with served(Silent) as url, pytest.raises(Unfit, match=re.escape(f"its pools ({said}")):
        as_it_runs(monkeypatch, url)


def test_it_asks_a_running_site_behind_a_login_of_its_server_with_the_headers_that_were_typed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Guarded(Workers):
        def do_GET(self) -> None:
            if self.headers["Authorization"] == "Basic YWxpY2U6c2VjcmV0":
                super().do_GET()
            else:
                self.send_error(401)

    monkeypatch.setattr(Workers, "size", 8)
    headers = {"Authorization": "Basic YWxpY2U6c2VjcmV0"}
    with served(Guarded) as url:
        with pytest.raises(Unfit, match="401"):
            as_it_runs(monkeypatch, url)
        plan = as_it_runs(monkeypatch, url, headers)
        assert plan.sizes == (8,)
        plan = replace(plan, sizes=(4, 8))  # which can be measured only where the pools are seen
        project.same(plan, (), headers)
        with pytest.raises(Unfit, match="had 3 workers in that sweep, and tells of 0"):
            project.same(plan, ())


@pytest.mark.django_db
def test_the_command_gives_the_headers_that_were_typed_to_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Mapping[str, str]] = []

    def planned(plan: Plan, *rest: Any) -> Plan:
        given.append(rest[-1])
        return plan

    def site(*rest: Any) -> None:
        given.append(rest[-1])
        raise Unfit("seen enough")

    monkeypatch.setattr(project, "planned", planned)
    monkeypatch.setattr(project, "site", site)
    host = "http://127.0.0.1:9"
    with pytest.raises(CommandError, match="seen enough"):
        call_command("sweep", "--url", "/", "--host", host, "--header", "Authorization: Basic abc")
    assert given == [{"Authorization": "Basic abc"}] * 2
    monkeypatch.setattr(project, "same", site)
    row = records.begin(Plan(urls=("/",), host=host), Conditions())
    with pytest.raises(CommandError, match="seen enough"):
        call_command("sweep", "--resume", str(row.pk), "--header", "Authorization: Basic def")
    assert given[2:] == [{"Authorization": "Basic def"}]


def test_it_keeps_no_password_of_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unfit, match="--header 'Authorization: Basic") as refused:
        as_it_runs(monkeypatch, "http://alice:secret@127.0.0.1:8000")
    assert "secret" not in str(refused.value)


@pytest.mark.django_db(transaction=True)
def test_its_own_connections_are_none_of_the_sites(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the settings' application_name they were, and a pool that kept its limit was said not to."""

    def name() -> str:
        connections["default"].close()
        with connections["default"].cursor() as cursor:
            cursor.execute("SHOW application_name")
            return str(cursor.fetchone()[0])

    monkeypatch.setitem(connections["default"].settings_dict["OPTIONS"], "application_name", "shop")
    with project.told_apart():
        assert name() == OBSERVER
    assert name() == "shop"


@pytest.mark.parametrize("options", [{}, {"application_name": "shop"}])
def test_it_leaves_options_that_two_databases_share_as_they_were(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    both = [SimpleNamespace(vendor="postgresql", settings_dict={"OPTIONS": options})] * 2
    monkeypatch.setattr(project, "connections", SimpleNamespace(all=lambda: both))
    before = dict(options)
    with project.told_apart():
        assert options == {"application_name": OBSERVER}
    assert options == before
