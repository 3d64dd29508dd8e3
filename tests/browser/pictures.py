"""`make screenshots`: the README's pictures, from the sweeps in docs/data. No test, and not collected with them.

The curves are SVG that `charts.py` drew, so they are the same on every machine (tests/browser/test_pictures.py); the
pages are what Chromium shows of them.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from served import Site

from pooldemo.sweep.analyse.judge import judge
from pooldemo.sweep.facts import SweepResult
from pooldemo.sweep.report.figures import figures_of
from pooldemo.sweep.report.formats import to_json

from .conftest import DATA, SWEPT, read_sweep
from .visitor import Visit

IMAGES = DATA.parent / "images"
INKS = {"light": "#1f2328", "dark": "#e6edf3"}  # of GitHub's pages, which an image does not inherit
SWEEPS = "/admin/pooldemo/sweep/"


def curves(name: str, sweep: SweepResult) -> dict[str, str]:
    """The throughput of a stored sweep as the text of files, by name: one for light pages and one for dark ones."""
    svg = figures_of(sweep)["throughput"].svg
    return {
        f"{name}-{scheme}.svg": svg.replace(' color="currentColor"', f' color="{ink}"', 1)
        for scheme, ink in INKS.items()
    }


@pytest.mark.parametrize("name", SWEPT)
def test_curves(name: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    sweep = read_sweep(name)
    sweep = replace(sweep, verdicts=judge(sweep.plan, sweep.trials, sweep.conditions))  # as the code says it today
    (DATA / f"{name}.json").write_text(to_json(sweep))
    for file, svg in curves(name, sweep).items():
        (IMAGES / file).write_text(svg + "\n")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages(browser: Any, site: Site, stored: list[int], scheme: str) -> None:
    def take(path: Path) -> None:
        page.evaluate("document.querySelectorAll('#nav-sidebar, .toggle-nav-sidebar').forEach((each) => each.remove())")
        page.screenshot(path=path)

    visit = Visit(browser, site.url, color_scheme=scheme)
    page = visit.log_in(f"{SWEEPS}{stored[-1]}/change/")
    page.wait_for_selector("[data-figure=throughput] svg[tabindex]")
    take(IMAGES / f"sweep-{scheme}.png")
    page.goto(f"{site.url}{SWEEPS}live/")
    with ThreadPoolExecutor(24) as users:
        burst = [users.submit(site.get, "/slow/?ms=1500") for _ in range(48)]
        page.wait_for_selector("text=SELECT pg_sleep")
        page.wait_for_timeout(4000)  # the picture is of the burst's course
        take(IMAGES / f"live-{scheme}.png")
        assert {each.result().status for each in burst} == {200}
    visit.close()
