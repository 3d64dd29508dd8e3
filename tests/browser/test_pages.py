"""What a person sees and does: with a mouse, with a keyboard, and without scripts."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from served import Site, until

from pooldemo.records.turn import SWEEP_LOCK

from .conftest import SWEEPS, changed
from .visitor import Cable, Visit, asked_in

LIVE = f"{SWEEPS}live/"


@pytest.fixture
def plain_visit(browser: Any, site: Site) -> Iterator[Visit]:
    """With scripts switched off."""
    visit = Visit(browser, site.url, scripts=False)
    yield visit
    visit.close()


def readout(page: Any) -> str:
    text: str = page.inner_text("[data-figure=throughput] .readout")
    return text


def test_it_shows_the_verdict_and_the_chart_of_a_sweep_from_the_list(
    browser: Any, site: Site, stored: list[int]
) -> None:
    visit = Visit(browser, site.url)
    page = visit.log_in(SWEEPS)
    page.click(f"a:text-is('sweep {stored[-1]}')")
    page.wait_for_selector(".answer p")
    assert page.inner_text(".answer h2").startswith("Use MAX_CONNS=2: ")
    assert page.locator("[data-figure] svg:visible").count() == 4
    visit.close()


def test_it_shows_a_points_numbers_under_the_mouse(visit: Visit, sweep_path: str) -> None:
    page = visit.go(sweep_path)
    page.locator("[data-figure=throughput] svg:visible .series .point circle").first.hover(force=True)
    visit.until("document.querySelector('[data-figure=throughput] .readout').textContent")
    assert "requests/s" in readout(page)
    assert " at 1: " in readout(page)


def test_it_saves_a_figure_as_a_picture(visit: Visit, sweep_path: str) -> None:
    page = visit.go(sweep_path)
    with page.expect_download() as file:
        page.evaluate("document.querySelectorAll('svg title').forEach((each) => { each.textContent += '\\xa0'; })")
        page.click("[data-figure=latency] button:text-is('PNG')")
    assert file.value.suggested_filename.endswith("-latency.png")
    assert file.value.path().read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("place", ["compare/?sweeps={other},{sweep}", "../trial/{trial}/change/"])
def test_it_saves_figures_of_which_the_server_makes_no_file(
    visit: Visit, stored: list[int], cursor: Any, place: str
) -> None:
    cursor.execute("SELECT min(id) FROM pooldemo_trial WHERE sweep_id = %s", stored[:1])
    page = visit.go(SWEEPS + place.format(other=stored[0], sweep=stored[-1], trial=cursor.fetchone()[0]))
    for kind, begins in (("SVG", b"<svg"), ("PNG", b"\x89PNG")):
        with page.expect_download() as file:
            page.click(f"[data-figure] button:text-is('{kind}') >> nth=0")
        assert file.value.suggested_filename.endswith(f".{kind.lower()}")
        assert file.value.path().read_bytes().startswith(begins)


def test_it_shows_them_to_the_keyboard_as_well(visit: Visit, sweep_path: str) -> None:
    page = visit.go(sweep_path)
    page.focus("[data-figure=throughput] svg[tabindex]")
    page.keyboard.press("ArrowRight")
    first = readout(page)
    page.keyboard.press("ArrowRight")
    second = readout(page)
    page.keyboard.press("ArrowDown")
    assert first.startswith("pooldemo at 2: ")
    assert second.startswith("pooldemo at ")
    assert second != first
    assert readout(page).startswith("geventpool at ")
    page.keyboard.press("Escape")
    assert readout(page) == ""


def test_it_moves_the_bound_and_leaves_what_was_measured(visit: Visit, sweep_path: str) -> None:
    page = visit.go(sweep_path)
    page.wait_for_selector("#play:visible")

    def lines() -> dict[str, str]:
        found: dict[str, str] = page.evaluate(
            """() => Object.fromEntries([...document.querySelectorAll('[data-figure=throughput] svg polyline')]
            .map((line, place) => [`${line.dataset.name} ${place}`, line.getAttribute('points')]))"""
        )
        return found

    def top(points: str) -> float:
        """The largest y of a line, read off the chart's own scale."""
        scale = page.evaluate("JSON.parse(document.querySelector('[data-figure=throughput] svg').dataset.scale)")
        highest = min(float(pair.split(",")[1]) for pair in points.split())
        return scale["top"] * (scale["base"] - highest) / (scale["base"] - scale["ceiling"])

    before = lines()
    page.fill("#play [name=hold_ms]", "100")
    page.fill("#play [name=users]", "4")
    after = lines()
    bound = next(name for name in after if name.startswith("bound"))
    assert top(after[bound]) == pytest.approx(40.0, abs=0.5)
    assert {name for name in before if before[name] != after[name]} == {name for name in after if "bound" in name}
    assert "4 slots per worker; from there the users set it: 40 requests/s" in page.inner_text("#play output")
    page.click("#play [type=reset]")
    visit.until("document.querySelector('#play [name=users]').value !== '4'")
    until(lambda: lines() == before)


def test_it_counts_the_sweeps_that_are_chosen_and_chooses_all_of_them(visit: Visit, stored: list[int]) -> None:
    """It said "0 of 2 selected" whatever was chosen, and the box above the others did nothing."""
    page = visit.go(SWEEPS)
    page.check("input.action-select >> nth=0")
    assert page.inner_text(".action-counter") == f"1 of {len(stored)} selected"
    page.check("#action-toggle")
    assert page.locator("input.action-select:checked").count() == len(stored)


def test_it_compares_two_sweeps(visit: Visit, stored: list[int]) -> None:
    page = visit.go(SWEEPS)
    for number in stored:
        page.check(f"input[name=_selected_action][value='{number}']")
    page.select_option("select[name=action]", "compare")
    page.click("button[name=index]")
    page.wait_for_selector("[data-figure=overlay] svg")
    labels = page.eval_on_selector_all(
        "[data-figure=overlay] svg:not(.narrow) .series", "all => all.map((e) => e.dataset.name)"
    )
    assert labels == [f"{number} {stack}" for number in stored for stack in ("pooldemo", "geventpool")]


def test_it_is_there_while_postgresql_is_down(browser: Any, database_url: str, tmp_path: Path) -> None:
    parameters = psycopg2.extensions.parse_dsn(database_url)
    cable = Cable(parameters["host"], int(parameters.get("port", 5432)))
    user, password = parameters["user"], parameters.get("password", "")
    url = f"postgresql://{user}:{password}@127.0.0.1:{cable.port}/{parameters['dbname']}"
    with Site(url, tmp_path / "log", WEB_CONCURRENCY="1", MAX_CONNS="2", POOL_TIMEOUT="1") as site:
        visit = Visit(browser, site.url)
        page = visit.log_in(LIVE)
        cable.cut()
        page.wait_for_selector("text=PostgreSQL does not answer")
        page.reload()
        page.wait_for_selector("text=PostgreSQL does not answer")
        page.goto(f"{site.url}/")
        page.wait_for_selector("text=The last sweep cannot be read")
        page.goto(f"{site.url}{SWEEPS}")
        page.wait_for_selector("h1:text-is('PostgreSQL does not answer')")
        assert not page.locator("meta[http-equiv]").count(), "who reads it is not interrupted"
        page.click("text=Try again")
        page.goto(f"{site.url}{LIVE}")
        cable.mend()
        visit.until("document.getElementById('census').textContent.includes('PostgreSQL counts')")
        visit.complaints.clear()  # of 503, which was asked for
        visit.close()
    cable.close()


def test_it_is_complete_without_scripts(plain_visit: Visit, sweep_path: str, stored: list[int]) -> None:
    page = plain_visit.log_in(sweep_path)
    page.wait_for_selector(".answer p")
    assert page.locator("[data-figure] svg:visible").count() == 4
    page.wait_for_selector("[data-figure=throughput] svg.plot")
    page.wait_for_selector("table.numbers")
    assert not page.is_visible("#play"), "nothing that does not work"
    page.goto(f"{plain_visit.url}{SWEEPS}compare/?sweeps={stored[0]},{stored[1]}")
    page.wait_for_selector("[data-figure=overlay] svg.plot")
    page.goto(f"{plain_visit.url}/")
    page.wait_for_selector("svg.plot")
    page.click("text=/fast/")
    assert '"workload": "fast"' in page.content()
    with page.expect_navigation():  # the meta refresh
        page.goto(f"{plain_visit.url}{LIVE}")
        page.wait_for_selector("caption:has-text('Connections')")
        page.wait_for_url(f"**{LIVE}")
        page.wait_for_event("framenavigated")


def test_it_fits_every_width_in_both_colour_schemes(visit: Visit, sweep_path: str) -> None:
    for path in (sweep_path, LIVE, "/", SWEEPS):
        page = visit.go(path)
        for scheme, width in (("light", 360), ("dark", 640), ("light", 1600)):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 800})
            visit.until("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_its_lists_show_each_column_at_every_width(visit: Visit, cursor: Any, stored: list[int]) -> None:
    """Beside the filters of a tablet load, status and time were cut off."""
    cut = "(() => { const all = document.querySelector('.results'); return all.scrollWidth - all.clientWidth })()"
    with changed(cursor, stored[0], f"notes = '#{'tag' * 40}'", "notes = ''"):
        for path in (SWEEPS, "/admin/pooldemo/trial/"):
            page = visit.go(path)
            for width in (390, 768, 1024, 1200, 1280, 1440):
                page.set_viewport_size({"width": width, "height": 800})
                visit.until(f"{cut} <= 0")


def test_it_is_read_from_the_left_in_an_admin_whose_language_is_not(
    visit: Visit, sweep_path: str, stored: list[int]
) -> None:
    """Charts lost their titles, and 2 of 16 was "of 16 2"."""
    for path in (sweep_path, LIVE, f"{SWEEPS}run/", f"{SWEEPS}compare/?sweeps={stored[0]},{stored[1]}"):
        page = visit.go(path)
        page.evaluate("document.documentElement.dir = 'rtl'")
        asked = "all => all.map((each) => getComputedStyle(each).direction)"
        assert set(page.eval_on_selector_all("#sweep, #live, svg.plot, td", asked)) == {"ltr"}, path
    page = visit.go(SWEEPS)
    cells = page.eval_on_selector_all(
        "#result_list td, #result_list .rps", "all => all.map((each) => getComputedStyle(each).unicodeBidi)"
    )
    assert set(cells) == {"plaintext"}


@pytest.fixture
def running(cursor: Any, stored: list[int]) -> Iterator[str]:
    """The page of a sweep that somebody runs: who has the lock does."""
    cursor.execute("SELECT pg_advisory_lock(%s)", [SWEEP_LOCK])
    with changed(cursor, stored[0], "status = 'running'", "status = 'done'") as page:
        yield page


def test_it_fits_with_a_url_of_any_length(visit: Visit, cursor: Any, stored: list[int]) -> None:
    cursor.execute("SELECT min(id) FROM pooldemo_trial WHERE sweep_id = %s", stored[:1])
    trial = f"/admin/pooldemo/trial/{cursor.fetchone()[0]}/change/"
    of_urls = f"workload = 'urls', urls = '[\"/{'x' * 3000}\"]'"
    with changed(cursor, stored[0], of_urls, "workload = 'slow', urls = '[]'") as sweep:
        for path in (sweep, trial, SWEEPS, f"{SWEEPS}compare/?sweeps={stored[0]},{stored[1]}"):
            page = visit.go(path)
            assert "/xxxx" in page.content()
            visit.until("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        page = visit.page
        page.goto("about:blank")  # else the site's policy refuses the report's own style
        page.set_content(visit.context.request.get(f"{visit.url}{sweep.replace('change/', 'sweep.html')}").text())
        visit.until("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_it_gives_what_is_pressed_a_border_where_colours_are_forced(visit: Visit, sweep_path: str) -> None:
    for path in (sweep_path, SWEEPS):
        page = visit.go(path)
        page.emulate_media(forced_colors="active")
        borders = page.eval_on_selector_all(
            ".button, .object-tools a, input[type=submit], .submit-row a",
            "all => all.map((each) => getComputedStyle(each).borderTopWidth)",
        )
        assert set(borders) == {"1px"}


def answered(status: int) -> Any:
    return lambda route: route.fulfill(status=status)


def test_it_says_why_what_it_shows_of_a_running_sweep_is_old(visit: Visit, running: str) -> None:
    """And offers no Stop that nobody would hear."""

    def started_here(route: Any) -> None:
        html = route.fetch().text().replace('<p id="trouble"', '<form id="stop">Stop</form><p id="trouble"')
        route.fulfill(body=html, content_type="text/html")

    visit.page.route(f"**{running}", started_here)
    page = visit.go(running)
    page.wait_for_selector("#stop")
    page.route("**/progress/", answered(503))
    page.wait_for_selector("#trouble:has-text('the database does not answer now')")
    page.wait_for_selector("#stop", state="hidden")
    page.unroute_all()
    page.wait_for_selector("#trouble", state="hidden")
    page.route("**/progress/", lambda route: route.fulfill(body="<h1>Welcome", content_type="text/html"))
    page.wait_for_selector("#trouble:has-text('another program answers in its place')")
    page.unroute_all()
    page.wait_for_selector("#trouble", state="hidden")
    page.evaluate("void (Response.prototype.whole = Response.prototype.text)")
    page.evaluate("void (Response.prototype.text = () => Promise.reject(new TypeError('cut off')))")
    page.wait_for_selector("#trouble:has-text('the site does not answer')")
    page.evaluate("void (Response.prototype.text = Response.prototype.whole)")
    page.wait_for_selector("#trouble", state="hidden")
    page.wait_for_selector("#stop")
    visit.context.clear_cookies()
    page.wait_for_selector("#trouble:has-text('you are logged out')")
    page.route("**/progress/", answered(404))
    page.wait_for_selector("#trouble:has-text('it was deleted')")
    page.wait_for_selector("#stop", state="hidden")
    assert asked_in(page) == [], "it asked for ever"
    visit.complaints.clear()  # of 503 and 404, which were asked for


def test_it_asks_no_more_for_what_it_may_not_see(visit: Visit, running: str) -> None:
    page = visit.go(running)
    page.route("**/progress/", answered(403))
    page.wait_for_selector("#trouble:has-text('you may not see it any more')")
    assert asked_in(page) == [], "each was a line in the site's log"
    visit.complaints.clear()


@contextmanager
def no_trial_is_saved(cursor: Any) -> Iterator[None]:
    """Until the block ends, so that no sweep is over before its page was seen."""
    cursor.execute("LOCK TABLE pooldemo_trial IN EXCLUSIVE MODE")
    try:
        yield
    finally:
        cursor.connection.rollback()


def test_who_comes_back_to_the_form_sees_the_estimate_of_what_was_typed(visit: Visit) -> None:
    page = visit.go(f"{SWEEPS}run/")
    page.select_option("[name=workload]", "think")
    page.fill("[name=sizes]", "1,2")
    page.press("[name=sizes]", "Tab")
    page.wait_for_selector("#estimate.met:has-text('6 trials, about ')")
    visit.go(SWEEPS)
    page.go_back()
    assert page.input_value("[name=sizes]") == "1,2", "the browser puts back what was typed"
    page.wait_for_selector("#estimate.met:has-text('6 trials, about ')")
    assert page.get_attribute("[name=ms]", "placeholder") == "5"


def test_it_starts_watches_stops_and_resumes_a_sweep(visit: Visit, cursor: Any) -> None:
    page = visit.go(f"{SWEEPS}run/")
    page.wait_for_selector("#estimate.met:has-text('15 trials, about ')")
    page.select_option("[name=workload]", "think")
    assert page.get_attribute("[name=ms]", "placeholder") == "5"
    page.select_option("[name=workload]", "")
    page.fill("[name=sizes]", "x")
    page.press("[name=sizes]", "Tab")
    page.wait_for_selector("#estimate.missed:has-text('no pool size')")
    page.click("summary")
    asked = {"ms": "5", "users": "2", "sizes": "1,2", "duration": "1", "warmup": "0", "repeats": "2"}
    for name, value in asked.items():
        page.fill(f"[name={name}]", value)
    page.press("[name=repeats]", "Tab")
    page.wait_for_selector("#estimate.met:has-text('4 trials, about ')")
    with no_trial_is_saved(cursor):
        page.dblclick("button:text-is('Start')")
        page.wait_for_url("**/change/")
        page.wait_for_selector("progress")
        assert page.locator("text=Another sweep runs").count() == 0, "a double click starts one, and says nothing else"
        page.click("button:text-is('Stop')")
        page.wait_for_selector("text=It ends after this trial")
    page.wait_for_selector("#sweep[data-status=interrupted]")
    with no_trial_is_saved(cursor):
        page.click("button:text-is('Go on with it')")
        page.wait_for_selector("#sweep[data-status=running]")
        page.fill("#id_notes", "typed meanwhile")
    page.wait_for_selector("#progress :text('It has ended')")
    assert page.input_value("#id_notes") == "typed meanwhile", "nothing typed is lost"
    page.click("text=Show what it found")
    page.wait_for_selector("#sweep[data-status=done] [data-figure=throughput]")
