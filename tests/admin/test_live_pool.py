"""The live pool's page: who may see it, that it asks the database nothing, and what it says when things are bad."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse, reverse_lazy

from pooldemo.admin import live
from pooldemo.admin.live_figures import figures_of
from pooldemo.monitor import server_connections
from pooldemo.monitor.history import Moment
from pooldemo.monitor.server_connections import Census
from pooldemo.postgresql import pools

PAGE = "/admin/pooldemo/sweep/live/"
STATE = f"{PAGE}state/"


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL counts what the pools of this process have."""
    own = sum(int(pool.get_stats()["pool_size"]) for pool in pools())
    monkeypatch.setattr(server_connections, "take", lambda name: Census(own))
    monkeypatch.setattr(live, "_comparer", server_connections.Comparer())


def admitted(client: Client) -> Client:
    assert client.get(PAGE).status_code == 200
    return client


def test_it_is_kept_in_no_cache(viewer: Client) -> None:
    """It shows statements: they were there for whoever went back after a logout."""
    for page in (PAGE, PAGE, STATE):  # the first time with the admin's permission, then with the pass
        assert "no-store" in viewer.get(page).headers["Cache-Control"]


def test_it_sends_a_stranger_to_the_login(client: Client, db: None) -> None:
    assert client.get(PAGE).status_code == 302
    assert client.get(STATE).status_code == 403


def test_it_says_itself_who_may_see_it(viewer: Client, client: Client, settings: Any) -> None:
    """Not a project's middleware, which asks the database (on Django 5.2 it does so all the same)."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    assert client.get(PAGE).headers["Location"].startswith("/admin/login/")
    assert client.get(STATE).status_code == 403
    assert admitted(viewer).get(STATE).status_code == 200


@pytest.mark.parametrize("before", [PAGE, reverse_lazy("admin:pooldemo_sweep_changelist")])
def test_it_asks_the_database_nothing_once_a_page_of_the_sweeps_was_seen(
    viewer: Client, django_assert_num_queries: type, before: str
) -> None:
    assert viewer.get(before).status_code == 200
    with django_assert_num_queries(0):
        assert viewer.get(PAGE).status_code == 200
        assert viewer.get(STATE).status_code == 200


def test_the_page_that_starts_sweeps_gives_its_pass_too(admin_client: Client) -> None:
    assert admin_client.get(reverse("admin:pooldemo_run"), headers={"host": "127.0.0.1"}).status_code == 200
    assert admin_client.get(STATE).status_code == 200


def test_it_is_drawn_in_a_theme_that_reads_the_request(
    viewer: Client, settings: Any, django_assert_num_queries: type
) -> None:
    """As django-jazzmin does: the page was a 500."""
    theme = (
        "{{ request.path }} {{ request.user.is_active }} {{ perms.auth.view_user }} {% block content %}{% endblock %}"
    )
    (engine,) = settings.TEMPLATES
    themed = ("django.template.loaders.locmem.Loader", {"admin/base_site.html": theme})
    loaders = [themed, "django.template.loaders.app_directories.Loader"]
    settings.TEMPLATES = [engine | {"APP_DIRS": False, "OPTIONS": engine["OPTIONS"] | {"loaders": loaders}}]
    viewer.get(PAGE)
    with django_assert_num_queries(0):
        assert viewer.get(PAGE).content.decode().startswith(f"{PAGE} False False")


def test_who_may_not_see_it_leaves_no_page_with_a_pass(client: Client, db: None) -> None:
    client.force_login(User.objects.create_user("nobody", is_staff=True))
    for page in (PAGE, reverse("admin:pooldemo_sweep_changelist")):
        assert client.get(page).status_code == 403
    assert live.COOKIE not in client.cookies


def test_its_pass_is_worth_nothing_in_another_session(viewer: Client, client: Client) -> None:
    admitted(viewer)
    client.cookies[live.COOKIE] = viewer.cookies[live.COOKIE].value
    assert client.get(STATE).status_code == 403
    client.cookies["sessionid"] = "another"
    assert client.get(STATE).status_code == 403
    client.cookies["sessionid"] = viewer.cookies["sessionid"].value
    assert client.get(STATE).status_code == 200


def test_its_pass_ends_with_the_session(viewer: Client) -> None:
    admitted(viewer)
    viewer.post(reverse("admin:logout"))
    assert viewer.get(STATE).status_code == 403


def test_its_pass_ends_by_itself(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    admitted(viewer)
    monkeypatch.setattr(live, "PASS_S", -1)
    assert viewer.get(STATE).status_code == 403


def test_it_takes_no_forged_pass(viewer: Client) -> None:
    admitted(viewer)
    viewer.cookies[live.COOKIE] = live._digest(viewer.cookies["sessionid"].value) + ":x:y"
    assert viewer.get(STATE).status_code == 403


def test_it_says_that_the_counts_differ_and_only_then(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    same = admitted(viewer).get(STATE).content.decode()
    monkeypatch.setattr(server_connections, "take", lambda name: Census(77, others=3, age_s=0.7))
    moving = viewer.get(STATE).content.decode()
    monkeypatch.setattr(server_connections.Comparer, "STANDS_S", -1.0)
    other = viewer.get(STATE).content.decode()
    for html in (same, moving):
        assert 'data-differs="0"' in html
        assert 'class="badge bad differs" hidden' in html
    assert "apart" not in same
    assert "looked at up to 0.70 s apart" in moving
    assert 'data-differs="1"' in other
    assert 'class="badge bad differs">they differ' in other
    assert "counts <strong>77</strong>" in other
    assert "Other programs have 3" in other


def test_it_says_that_postgresql_is_down(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    admitted(viewer)
    monkeypatch.setattr(server_connections, "take", lambda name: Census(None, trouble="connection refused"))
    html = viewer.get(STATE).content.decode()
    assert "PostgreSQL does not answer: connection refused" in html
    assert 'data-differs="0"' in html


def test_it_loads_itself_again_without_a_script(viewer: Client) -> None:
    html = admitted(viewer).get(PAGE).content.decode()
    assert '<noscript><meta http-equiv="refresh" content="2"></noscript>' in html
    assert "<caption>Connections</caption>" in html


def test_it_shows_which_views_hold_slots_without_work(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    admitted(viewer)
    orders = {"holds": 1, "held_s": 4.0, "idle_s": 3.0, "refusals": {"shed": 2}}
    pool: Any = connection.pool  # type: ignore[attr-defined]
    monkeypatch.setattr(pool.usage, "views", lambda: {"orders": orders})
    html = viewer.get(STATE).content.decode()
    assert '<th scope="row">orders</th><td>4.00</td><td>3.00</td><td>75%</td><td>2 shed</td>' in html


def test_it_is_found_from_every_page_of_the_admin(viewer: Client) -> None:
    for path in ("/admin/", "/admin/pooldemo/sweep/"):
        assert f'href="{PAGE}"' in viewer.get(path).content.decode()


def test_its_chart_says_nothing_of_a_wait_where_nobody_got_a_slot() -> None:
    """The last wait was drawn on for as long as the site was idle, and while it stood still."""
    waits = [None, 5.0, 24.0, None, None, 3.0]
    past = [Moment(1000 + 5 * place, 1, 1, 4, wait_ms) for place, wait_ms in enumerate(waits)]
    drawn = dict(figures_of(past, now_s=1025))["wait"]
    seconds = [[round(1025 + 60 * point.x) for point in line.points] for line in drawn.series]
    assert seconds == [[1005, 1010, 1015], [1025]]
    assert drawn.narrow.count("p95 of each five seconds") == 1
