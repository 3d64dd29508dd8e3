"""What is on paper: all of it, in black on white, and nothing to press."""

import re
from typing import Any

from .conftest import SWEEPS, changed
from .visitor import Visit


def test_it_prints_the_whole_list_and_nothing_to_press(visit: Visit) -> None:
    page = visit.go(SWEEPS)
    page.set_viewport_size({"width": 717, "height": 1000})  # of a sheet of A4
    page.emulate_media(media="print")
    assert page.locator("#changelist-filter:visible, #toolbar:visible, .actions:visible, .help:visible").count() == 0
    ends = page.eval_on_selector_all(".field-started", "all => all.map((each) => each.getBoundingClientRect().right)")
    assert ends
    assert max(ends) <= 717


def test_it_prints_the_notes_whole(visit: Visit, cursor: Any, stored: list[int]) -> None:
    """A text field prints what can be seen of it, and a tag of the list was cut off."""
    notes = f"#{'tag' * 40}\n" + "\n".join(f"line {number}" for number in range(60))
    with changed(cursor, stored[0], f"notes = '{notes}'", "notes = ''") as path:
        page = visit.go(path)
        assert not page.is_visible(".printed"), "on the screen they stand in the form"
        page.emulate_media(media="print")
        assert page.inner_text(".printed").endswith("line 59")
        assert not page.is_visible("#id_notes")
        page = visit.go(SWEEPS)
        cut = "all => all.filter((each) => each.scrollWidth > each.clientWidth && each.clientWidth).length"
        assert page.eval_on_selector_all(".tag", cut) == 0


def test_it_prints_the_drawing_in_black_on_white(visit: Visit, sweep_path: str) -> None:
    for path in (sweep_path, "/"):
        page = visit.go(path)
        page.emulate_media(media="print", color_scheme="dark")
        page.wait_for_selector("svg.plot")
        assert not page.locator("#play:visible").count()
        inks = page.eval_on_selector_all("h2, td, svg.plot", "all => all.map((each) => getComputedStyle(each).color)")
        assert inks
        for ink in inks:
            assert max(map(int, re.findall(r"\d+", ink)[:3])) < 128, "dark ink, whatever the screen's colours are"
