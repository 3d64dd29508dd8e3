"""The first page: useful without a script, without a slot and without a database."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client
from served import Site

from pooldemo.demo import front
from pooldemo.monitor.readiness import Answer
from pooldemo.postgresql import aside
from pooldemo.sweep.workloads import WORKLOADS


class Answered:
    """A question whose answer is known."""

    def __init__(self, rows: list[tuple[Any, ...]], trouble: str = "") -> None:
        self._answer = Answer(rows, trouble)

    def answer(self) -> Answer:
        return self._answer


@pytest.fixture
def nothing_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "_question", Answered([]))


def test_it_has_each_workload_as_a_form_with_a_slider_for_each_parameter(
    client: Client, nothing_measured: None
) -> None:
    html = client.get("/").content.decode()
    for workload in WORKLOADS.values():
        form = html.split(f'<form action="/{workload.name}/" method="get">')[1].split("</form>")[0]
        assert '<button type="submit">' in form
        assert form.count('type="range"') == len(workload.parameters)
        for name, ms in workload.parameters.items():
            assert f'name="{name}"' in form
            assert f'value="{ms:g}"' in form


def test_it_leads_to_the_admin_the_live_pool_and_locust(client: Client, nothing_measured: None) -> None:
    html = client.get("/").content.decode()
    for place in ("/admin/pooldemo/sweep/", "/admin/pooldemo/sweep/live/", "http://127.0.0.1:8089/", "/pool/"):
        assert f'href="{place}"' in html


def test_it_says_how_to_sweep_when_none_was_done(client: Client, nothing_measured: None) -> None:
    assert "python manage.py sweep" in client.get("/").content.decode()


def test_it_says_why_it_cannot_tell_the_last_sweep(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "_question", Answered([], "connection <refused>"))
    response = client.get("/")
    assert response.status_code == 200
    assert "The last sweep cannot be read: connection &lt;refused&gt;" in response.content.decode()


def test_it_draws_the_last_sweep_aside_and_once(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of 10,000 trials stopped its worker for seconds."""
    document = (Path(__file__).parents[2] / "docs/data/cpu.json").read_text()
    monkeypatch.setattr(front, "_question", Answered([(document,)]))
    monkeypatch.setattr(aside, "green", SimpleNamespace(is_patched=lambda: True))
    drawn, threads = front._drawn, list[int]()

    def noted(text: str) -> front.LastSweep:
        threads.append(threading.get_ident())
        return drawn(text)

    monkeypatch.setattr(front, "_drawn", noted)
    front._told.cache_clear()
    for _ in range(2):
        assert "<svg" in client.get("/").content.decode()
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


def test_it_tells_a_stranger_nothing_of_a_sweep(client: Client, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """It showed the last one, with the project's addresses, which the admin shows to who has an account."""

    class Unasked:
        def answer(self) -> Answer:
            raise AssertionError("nothing of a sweep is read")

    settings.EXPOSED = True
    monkeypatch.setattr(front, "_question", Unasked())
    html = client.get("/").content.decode()
    assert "its sweeps are shown" in html
    assert "No sweep has ended" not in html


def test_it_asks_the_pool_for_nothing(client: Client, nothing_measured: None) -> None:
    # pytest-django fails a test without its mark that touches the database.
    assert client.get("/").status_code == 200


def test_it_is_there_while_the_pool_is_exhausted(tiny_site: Site) -> None:
    with tiny_site.holding() as [request]:
        assert tiny_site.get("/").status == 200
        assert not request.done()
