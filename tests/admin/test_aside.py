"""Where thousands of trials take seconds, a worker's other requests go on."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from django.urls import reverse

from pooldemo import models, records
from pooldemo.postgresql import aside
from pooldemo.sweep.analyse import blocks, shape
from pooldemo.sweep.facts import SweepResult

SWEEPS = reverse("admin:pooldemo_sweep_changelist")
PAGES = ("", "{0}/change/", "{0}/change/?margin=7", "{0}/sweep.json", "{0}/sweep.html", "{0}/throughput.svg",
         "shared/{0}/secret/", "compare/?sweeps={0},{1}")  # fmt: skip


@pytest.mark.parametrize("page", PAGES)
def test_each_page_computes_aside_and_asks_the_database_itself(
    viewer: Client, row: models.Sweep, measured: SweepResult, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    other = records.store(measured)
    models.Sweep.objects.filter(pk=row.pk).update(shared="secret")
    own, computed, connected = threading.local(), set[object](), set[object]()

    def thread() -> object:
        own.mark = getattr(own, "mark", None) or object()  # the number of one that has ended is another's by now
        return own.mark

    def note(place: Any, name: str, where: set[object]) -> None:
        work = getattr(place, name)

        def noted(*given: Any) -> Any:
            where.add(thread())
            return work(*given)

        monkeypatch.setattr(place, name, noted)

    note(shape, "_check_trial", computed)
    note(blocks, "observed", computed)
    note(connections, "create_connection", connected)
    monkeypatch.setattr(aside, "green", SimpleNamespace(is_patched=lambda: True))
    assert viewer.get(SWEEPS + page.format(row.pk, other.pk)).status_code == 200
    assert computed
    assert not computed & {thread(), *connected}
