"""What is drawn can be read: in a browser's own letters no text is cut off, and none stands on another."""

from dataclasses import replace
from typing import Any

import pytest

from pooldemo.sweep.analyse.judge import judge
from pooldemo.sweep.facts import Plan, SweepResult
from pooldemo.sweep.plan import order
from pooldemo.sweep.report.figures import connections, throughput
from pooldemo.sweep.report.overlay import overlay

from .conftest import read_sweep

UNREADABLE = """svg => {
    const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
    const words = [...svg.querySelectorAll("text, circle[r='9']")].map((each) => [each.textContent, each.getBBox()])
        .filter(([text]) => text !== "!");  // a ring has none
    const cut = words.filter(([, box]) => box.x < 0 || box.x + box.width > width || box.y + box.height > height);
    const apart = (one, other) => one.x + one.width <= other.x || other.x + other.width <= one.x
        || one.y + one.height - 3 <= other.y || other.y + other.height - 3 <= one.y;
    const covered = words.flatMap(([text, box], place) => words.slice(place + 1)
        .filter(([other, at]) => (text || other) && !apart(box, at)).map(([other]) => `${text} / ${other}`));
    return [...cut.map(([text]) => `cut off: ${text}`), ...covered];
}"""


def swept(number: int, sizes: tuple[int, ...], knee: float, **of_plan: Any) -> SweepResult:
    """A sweep whose throughput rises up to a number of slots."""
    sample = read_sweep("cpu")
    plan = Plan(sizes=sizes, users=200, **of_plan)
    trials = tuple(
        replace(
            sample.trials[0], **vars(each), order=place, rps=10 * min(knee, each.size) + each.repeat / 50,
            peak_connections=each.size, error="", warnings=(),
        )
        for place, each in enumerate(order(plan), start=1)
    )  # fmt: skip
    return SweepResult(plan, sample.conditions, trials, judge(plan, trials, sample.conditions), number, "done")


def with_knee(sweep: SweepResult) -> SweepResult:
    """The same, with its largest size as the one to use."""
    found = (replace(each, shape="knee", max_conns=max(sweep.plan.sizes)) for each in sweep.verdicts)
    return replace(sweep, verdicts=tuple(found))


POWERS = (1, 2, 4, 8, 16, 32, 64)
SIX = [swept(number, POWERS, knee) for number, knee in enumerate(POWERS[1:], start=1)]
FIGURES = {
    "six compared": overlay(SIX),
    "the last size of many": throughput(with_knee(swept(7, (1, 2, 4, 8), 8))),
    "the last size of few": throughput(with_knee(swept(7, (1, 2, 3), 3, stacks=("pooldemo", "geventpool")))),
    "sixty sizes": connections(swept(8, tuple(range(1, 61)), 36)),
}


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_no_text_is_cut_off_or_stands_on_another(browser: Any, figure: Any) -> None:
    page = browser.new_page()
    page.set_content(f'<div style="width: 60rem">{figure.svg}</div><div style="width: 24rem">{figure.narrow}</div>')
    assert page.eval_on_selector_all("svg", f"all => all.map({UNREADABLE})") == [[], []]
    page.close()
