"""The live pool as a person sees it: it moves by itself, stands still to be read, and asks no more than it needs."""

from typing import Any

from served import Site

from .conftest import SWEEPS
from .visitor import Visit, asked_in

LIVE = f"{SWEEPS}live/"


def test_it_shows_the_live_pool_during_a_burst(visit: Visit, site: Site) -> None:
    page = visit.go(LIVE)
    with site.holding(24):
        visit.until("Number(document.getElementById('pending').textContent) > 0")
        page.wait_for_selector("text=UPDATE pooldemo_row")
        visit.until("document.querySelector('.answer h2').textContent.startsWith('Saturated')")
    visit.until("Number(document.getElementById('pending').textContent) === 0")
    page.wait_for_selector("[data-figure=slots] svg")
    assert "PostgreSQL counts" in page.inner_text("#census")
    page.reload()
    page.wait_for_selector("[data-figure=wait] svg", state="attached")  # the server remembers


def test_it_stands_still_while_somebody_reads_and_says_so(visit: Visit) -> None:
    page = visit.go(LIVE)
    page.evaluate("document.querySelector('#live-state .state').dataset.read = 'yes'")
    page.focus("#live-state [aria-label=Connections]")
    page.wait_for_selector("#live-trouble:has-text('stand still')")
    assert page.locator("[data-read]").count() == 1
    page.evaluate("document.activeElement.blur()")
    page.wait_for_selector("[data-read]", state="detached")
    page.wait_for_selector("#live-trouble", state="hidden")


def test_it_shows_no_markup_that_a_balancer_sends(visit: Visit) -> None:
    page = visit.go(LIVE)
    page.route("**/live/state/", lambda route: route.fulfill(status=502, content_type="text/html", body="<h1>Bad"))
    page.wait_for_selector("#live-trouble:has-text('The site answers 502: the numbers below are old.')")
    page.unroute_all()
    page.wait_for_selector("#live-trouble", state="hidden")
    visit.context.clear_cookies()
    page.wait_for_selector("#live-trouble:has-text('Log in to the admin')")
    assert asked_in(page) == [], "it asked for ever"
    visit.complaints.clear()  # of 502 and 403, which were asked for


def hide(page: Any, hidden: bool) -> None:
    """As when another tab is chosen, or this one again."""
    page.evaluate(
        """(hidden) => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
        document.dispatchEvent(new Event('visibilitychange')); }""",
        hidden,
    )


def test_it_asks_one_question_at_a_time_however_often_its_tab_is_hidden(visit: Visit) -> None:
    """Each return while an answer was under way made it ask once more each second, for as long as the page was open."""
    page = visit.go(LIVE)
    page.evaluate(
        """void (window.held = [], window.own = window.fetch,
        window.fetch = (...given) => new Promise((go) => held.push(() => go(own(...given)))))"""
    )
    visit.until("held.length")
    for hidden in (True, False) * 3:
        hide(page, hidden)
    assert page.evaluate("held.length") == 1
    page.evaluate("void (window.fetch = own, held[0]())")
    with page.expect_response(f"**{LIVE}state/"):  # and goes on
        pass


def test_it_asks_nothing_in_a_hidden_tab(visit: Visit) -> None:
    page = visit.go(LIVE)
    with page.expect_response(f"**{LIVE}state/"):
        pass
    hide(page, True)
    page.wait_for_timeout(500)  # for one that was under way
    assert asked_in(page) == []
    with page.expect_response(f"**{LIVE}state/"):
        hide(page, False)
