"""Locust's page in a real browser, driven as its user does. What it posts is what the other tests post."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import pytest
from locust_page import Page
from served import Site

from .visitor import Visit


@pytest.fixture
def locust(site: Site) -> Iterator[Page]:
    with Page(site.url, "--pause-ms", "50") as page:  # a user without a pause would take the browser's time
        yield page


@pytest.fixture
def visit(browser: Any, locust: Page) -> Iterator[Visit]:
    visit = Visit(browser, locust.url)
    visit.page.goto(locust.url)
    yield visit
    visit.close()


def press(page: Any, button: str) -> dict[str, str]:
    """Press the button that sends the form; what is sent."""
    with page.expect_request("**/swarm") as sent:
        page.get_by_role("button", name=button, exact=True).click()
    return dict(parse_qsl(sent.value.post_data, keep_blank_values=True))


def fill(page: Any, label: str, value: str) -> None:
    if not page.get_by_label(label).first.is_visible():
        page.get_by_text("Custom parameters").click()
    page.get_by_label(label).first.fill(value)


def test_it_makes_requests_with_the_form_untouched_and_fills_the_tab(visit: Visit, locust: Page) -> None:
    page, form = visit.page, locust.form()
    assert press(page, "Start") == form
    page.get_by_role("cell", name="slow", exact=True).wait_for()
    page.get_by_role("tab", name="Pool").click()
    page.locator("tr", has=page.get_by_role("cell", name="slow", exact=True)).get_by_text(
        ":"
    ).wait_for()  # since 12:34:56
    page.get_by_role("tab", name="Exceptions").click()
    page.get_by_role("columnheader", name="# occurrences").wait_for()
    assert page.locator("tbody tr").count() == 0
    assert locust.exceptions() == locust.stats()["errors"] == []


def test_its_edit_its_stop_and_its_next_start_do_as_they_say(visit: Visit, locust: Page) -> None:
    page = visit.page
    press(page, "Start")
    page.get_by_role("cell", name="slow", exact=True).wait_for()
    page.get_by_role("button", name="Edit").click()
    fill(page, "Ms (", "7")
    page.get_by_label("Workload").select_option("cpu")
    assert press(page, "Update") == locust.form({"ms": "7", "workload": "cpu"}, edit=True)
    page.get_by_role("cell", name="cpu", exact=True).wait_for()
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="New").click()
    assert press(page, "Start")["workload"] == "cpu", "the form keeps what was chosen"
    page.get_by_role("cell", name="cpu", exact=True).wait_for()
    assert locust.exceptions() == locust.stats()["errors"] == []


def test_it_shows_why_it_refuses(visit: Visit, locust: Page) -> None:
    fill(visit.page, "Ms (", "soon")
    press(visit.page, "Start")
    alert = visit.page.get_by_role("alert").filter(has_text="ms: 'soon' is no length")
    alert.wait_for()
    assert locust.stats()["state"] == "ready"
