"""Who holds slots without work, and who was refused: by view, as the middleware learns its name."""

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path

from pooldemo.postgresql import DeadlineExceeded, PoolTimeout, deadline, pools
from pooldemo.postgresql.usage import Usage, listeners, set_view

WORK_S = THINK_S = 0.05


def asks(seconds: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [seconds])


def thinking(_request: HttpRequest) -> HttpResponse:
    with transaction.atomic():
        asks(WORK_S)
        time.sleep(THINK_S)
        asks(WORK_S)
    return HttpResponse()


def refused(_request: HttpRequest) -> HttpResponse:
    pool: Any = connection.pool  # type: ignore[attr-defined]
    taken = [pool.getconn() for _ in range(pool.get_stats()["pool_max"])]
    try:
        with pytest.raises(PoolTimeout), deadline(5):
            connection.ensure_connection()
    finally:
        for raw in taken:
            pool.putconn(raw)
    with pytest.raises(DeadlineExceeded), deadline(0.05):
        asks(5)
    return HttpResponse()


urlpatterns = [path("thinking/", thinking, name="thinks"), path("refused/", refused)]


@pytest.fixture(params=["UnavailableMiddleware", "DeadlineMiddleware"])
def client(request: Any, transactional_db: None) -> Iterator[Client]:
    """Of a project with either middleware; its pool has seen nothing yet."""
    connection.close()
    options = {**connection.settings_dict["OPTIONS"], "MAX_CONNS": 2, "POOL_TIMEOUT": 0, "POOL_MODE": "request"}
    before, connection.settings_dict["OPTIONS"] = connection.settings_dict["OPTIONS"], options
    try:
        with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[f"pooldemo.postgresql.{request.param}"]):
            connection.pool.usage = Usage()  # type: ignore[attr-defined]
            yield Client()
    finally:
        connection.close()
        connection.settings_dict["OPTIONS"] = before


def usage() -> Any:
    (pool,) = [pool for pool in pools() if pool.name == connection.alias]
    return pool.usage.views()


def ask(client: Client, address: str) -> None:
    """As a server does: the connection goes back when the request has ended."""
    assert client.get(address).status_code == 200
    connection.close()


def test_it_tells_hold_from_work_by_view(client: Client) -> None:
    ask(client, "/thinking/")
    view = usage()["thinks"]
    assert (view["holds"], view["refusals"]) == (1, {})
    assert view["idle_s"] >= THINK_S
    assert view["held_s"] - view["idle_s"] >= 2 * WORK_S, "PostgreSQL's time is no idle time"


def test_it_tells_refusals_by_view_and_reason(client: Client) -> None:
    ask(client, "/refused/")
    (name,) = set(usage()) - {""}
    assert name.endswith("test_usage.refused"), "a view without a name in the URLconf"
    assert usage()[name]["refusals"] == {"timeout": 1, "deadline": 1}


def test_the_next_request_does_not_inherit_the_view(client: Client) -> None:
    ask(client, "/thinking/")
    client.get("/nowhere/")
    asks(0)
    connection.close()
    assert usage()[""]["holds"] >= 1
    assert usage()["thinks"]["holds"] == 1


def test_it_adds_up_what_nobody_reads() -> None:
    used = Usage()
    set_view("page")
    for _ in range(3000):
        used.add_hold(2.0, 0.5)
        assert len(used._noted) <= 1000
    for _ in range(3000):
        used.add_refusal("full")
        assert len(used._noted) <= 1000
    set_view("")
    assert used.views() == {"page": {"holds": 3000, "held_s": 6000.0, "idle_s": 4500.0, "refusals": {"full": 3000}}}


def test_a_note_from_within_the_sum_is_kept_for_the_next_one() -> None:
    """As a finaliser would make it."""
    set_view("")
    used = Usage()
    used.add_hold(1.0, 1.0)
    with used._adding:
        assert used.views() == {}
    assert used.views()[""]["holds"] == 1


def test_a_listener_is_told_of_each_connect_wait_and_hold(client: Client) -> None:
    told: list[tuple[str, str]] = []

    def listener(what: str, pool: str, seconds: float) -> None:
        assert seconds >= 0
        told.append((what, pool))

    connection.pool.drain()  # type: ignore[attr-defined]
    listeners.append(listener)
    try:
        asks(0)
        connection.close()
    finally:
        listeners.remove(listener)
    assert set(told) == {(what, "default") for what in ("connect", "wait", "hold")}
    with closing(connection):
        asks(0)
    assert len(told) == 3
