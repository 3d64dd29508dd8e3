"""Everybody can use the pages: axe-core finds nothing in any colours, nor on a phone or zoomed."""

from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest
from served import Site

from pooldemo import records
from pooldemo.models import Trial
from pooldemo.sweep.analyse.document import judged
from pooldemo.sweep.report.formats import FORMATS

from .conftest import read_sweep
from .visitor import Visit

SWEEPS = "/admin/pooldemo/sweep/"
PAGES = {
    "the first page": "/",
    "the login": "/admin/login/",
    "the list": SWEEPS,
    "a sweep": f"{SWEEPS}{{sweep}}/change/",
    "the form": f"{SWEEPS}run/",
    "a sweep of workers and sizes": f"{SWEEPS}{{split}}/change/",
    "a trial": "/admin/pooldemo/trial/{trial}/change/",
    "compared": f"{SWEEPS}compare/?sweeps={{other}},{{sweep}}",
    "the live pool": f"{SWEEPS}live/",
    "the admin": "/admin/",
    "an answer": "/slow/?ms=soon",
    "nothing": "/nothing/",
}
ASKED = """async (only) => {
    const all = { resultTypes: ['violations'], rules: { 'target-size': { enabled: true } } };
    const found = await window.axe.run(document, only.runOnly ? { ...all, rules: {}, ...only } : all);
    const said = (each, node) => `${each.id}: ${node.target} ${node.failureSummary}`;
    return found.violations.flatMap((each) => each.nodes.map((node) => said(each, node)));
}"""
COLOURS = {"runOnly": ["color-contrast", "link-in-text-block"]}  # what a scheme can change


@pytest.fixture(scope="module")
def paths(stored: list[int], django_db_blocker: Any) -> dict[str, str]:
    """Where the pages are. Asked for before the browser, after which no test uses Django's database."""
    sweep = read_sweep("cpu")
    two = tuple(replace(trial, workers=workers) for workers in (1, 2) for trial in sweep.trials)
    split = judged(replace(sweep, plan=replace(sweep.plan, splits=(1, 2), workers=2), trials=two))
    with django_db_blocker.unblock():
        numbers = {"split": records.store(split).pk, "trial": Trial.objects.latest("pk").pk}
    numbers |= {"other": stored[0], "sweep": stored[-1]}
    return {name: path.format(**numbers) for name, path in PAGES.items()}


@pytest.fixture(scope="module")
def axe() -> str:
    return files("axe_playwright_python").joinpath("axe.min.js").read_text()


def test_it_has_nothing_that_axe_finds_in_either_scheme(
    paths: dict[str, str], browser: Any, site: Site, cookies: Any, axe: str
) -> None:
    known, stranger = Visit(browser, site.url, storage_state=cookies), Visit(browser, site.url)
    found = dict[str, list[str]]()

    def look(name: str, path: str, scheme: str, only: dict[str, list[str]]) -> None:
        visit = stranger if name == "the login" else known  # it leads others on
        page = visit.page
        forced = scheme == "forced"
        page.emulate_media(color_scheme="dark" if forced else scheme, forced_colors="active" if forced else "none")
        if path:  # anew in each scheme: links change their colours slowly
            visit.go(path)
        else:
            page.goto("about:blank")  # else the site's policy refuses the report's own style
            page.set_content(FORMATS["html"].write(read_sweep("cpu")))
        page.evaluate(axe)
        found[f"{name}, {scheme}"] = page.evaluate(ASKED, only)

    for name, path in (paths | {"the report": ""}).items():
        look(name, path, "light", {})
        look(name, path, "dark", COLOURS)
        look(name, path, "forced", COLOURS)
    known.complaints.clear()  # 400 and 404 are what was asked for
    known.close()
    stranger.close()
    assert [f"{name}: {each}" for name, all_of_it in found.items() for each in all_of_it] == []


CONTRAST = """(name) => {
    const field = document.querySelector('#run input[name=users]'), own = getComputedStyle(field);
    const grey = (colour) => Number(colour.match(/[0-9]+/)[0]);
    const text = getComputedStyle(field, '::placeholder'), behind = grey(own.backgroundColor);
    const seen = behind + (grey(text.color) - behind) * text.opacity;
    const light = (value) => (((value / 255) + 0.055) / 1.055) ** 2.4 + 0.05;
    const [low, high] = [name === 'default' ? seen : grey(own.borderTopColor), behind].map(light).sort((a, b) => a - b);
    return high / low;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_defaults_in_the_form_can_be_read_and_its_fields_be_seen(visit: Visit, scheme: str) -> None:
    """axe looks at no placeholder; the fields' lines are asked for by those who want more contrast."""
    visit.page.emulate_media(color_scheme=scheme, contrast="more")
    visit.go(f"{SWEEPS}run/")
    assert visit.page.evaluate(CONTRAST, "default") >= 4.5
    assert visit.page.evaluate(CONTRAST, "line") >= 3


def test_it_can_be_zoomed_to_400_percent(paths: dict[str, str], browser: Any, site: Site, cookies: Any) -> None:
    """A window of half or a quarter of the width, or a phone's with letters twice as large: nothing is cut off, and
    nothing but tables is scrolled sideways."""
    visit = Visit(browser, site.url, storage_state=cookies)
    for width, letters in ((640, "100%"), (320, "100%"), (390, "200%")):
        visit.page.set_viewport_size({"width": width, "height": 450})
        for path in paths.values():
            visit.go(path)
            visit.page.evaluate("(size) => document.documentElement.style.setProperty('font-size', size)", letters)
            visit.until("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    visit.complaints.clear()
    visit.close()
