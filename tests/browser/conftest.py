"""A real Chromium in front of a real gunicorn and PostgreSQL, and the sweeps that it looks at."""

import json
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from lacking import chromium
from served import PATIENCE_S, Site

from pooldemo import models, records
from pooldemo.sweep.facts import SweepResult

from .visitor import PASSWORD, Visit

SWEEPS = "/admin/pooldemo/sweep/"
DATA = Path(__file__).parents[2] / "docs" / "data"
MODES = ("pooldemo", "pooldemo-transaction")
SWEPT = {  # the sweeps in it that have pictures, and the stacks that they compare
    "slow": ("pooldemo", "geventpool"), "cpu": ("pooldemo", "geventpool"), "think": MODES, "hold": MODES,
}  # fmt: skip
# Without a sandbox, which root has none of; and without asking its maker's hosts for anything.
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that waited in vain tells what was there instead."""
    report = yield
    if report.when == "call" and report.failed:
        visits = [each for each in getattr(item, "funcargs", {}).values() if isinstance(each, Visit)]
        report.sections += [("the page", visit.shown()) for visit in visits]
    return report


def read_sweep(name: str) -> SweepResult:
    """The sweep stored under that name in docs/data."""
    return SweepResult.from_dict(json.loads((DATA / f"{name}.json").read_text()))


@pytest.fixture(scope="module")
def stored(database_url: str, django_db_blocker: Any) -> Iterator[list[int]]:
    """The numbers of two sweeps that every process sees, and a superuser `admin`; gone afterwards."""
    with django_db_blocker.unblock():
        User.objects.filter(username="admin").delete()  # of a run that was killed, with --reuse-db
        User.objects.create_superuser("admin", password=PASSWORD)
        rows = [records.store(read_sweep(name)) for name in ("slow", "cpu")]
    yield [row.pk for row in rows]
    with django_db_blocker.unblock():
        models.Sweep.objects.all().delete()  # those that the pages started as well
        Session.objects.all().delete()
        User.objects.filter(username="admin").delete()


@pytest.fixture(scope="module")
def browser(stored: list[int]) -> Iterator[Any]:
    """Playwright's Chromium. Its event loop runs in this thread until then: no test here uses Django's database."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chrome = playwright.chromium.launch(executable_path=chromium(), args=FLAGS, timeout=1000 * PATIENCE_S)
        yield chrome
        chrome.close()


@pytest.fixture(scope="module")
def cookies(browser: Any, site: Site) -> Any:
    """Those of somebody who has logged in."""
    visit = Visit(browser, site.url)
    visit.log_in("/admin/")
    state = visit.context.storage_state()
    visit.close()
    return state


@pytest.fixture
def visit(browser: Any, site: Site, cookies: Any) -> Iterator[Visit]:
    visit = Visit(browser, site.url, storage_state=cookies)
    yield visit
    visit.close()


@pytest.fixture
def sweep_path(stored: list[int]) -> str:
    return f"{SWEEPS}{stored[-1]}/change/"


@pytest.fixture
def cursor(database_url: str) -> Iterator[Any]:
    with closing(psycopg2.connect(database_url)) as other, other.cursor() as cursor:
        yield cursor


@contextmanager
def changed(cursor: Any, number: int, change: str, back: str) -> Iterator[str]:
    """The page of a stored sweep with columns changed."""
    cursor.execute(f"UPDATE pooldemo_sweep SET {change} WHERE id = %s", [number])
    cursor.connection.commit()
    yield f"{SWEEPS}{number}/change/"
    cursor.execute(f"UPDATE pooldemo_sweep SET {back} WHERE id = %s", [number])
    cursor.connection.commit()
