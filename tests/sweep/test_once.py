"""What a page says of a sweep's sizes is computed once, and each trial is looked at as often however many sizes are."""

from collections.abc import Iterator
from typing import Any

import pytest
from synthetic import CONDITIONS, trials_of

from benchmarks.verdicts.truth import hinge
from pooldemo.sweep.analyse import sizes
from pooldemo.sweep.analyse.judge import judge
from pooldemo.sweep.facts import Plan, SweepResult, TrialResult
from pooldemo.sweep.report import answer, sweep_page
from pooldemo.sweep.report.figures import figures_of
from pooldemo.sweep.report.html_report import to_html

POWERS = (1, 2, 4, 8, 16)


class Counted(tuple[TrialResult, ...]):
    """Trials that know how often somebody went through them."""

    times = 0

    def __iter__(self) -> Iterator[TrialResult]:
        self.times += 1
        return super().__iter__()


def sweep_of(measured: tuple[int, ...], splits: tuple[int, ...] = ()) -> SweepResult:
    plan = Plan(users=1000, sizes=measured, splits=splits, workers=max(splits, default=1))
    trials = [
        each
        for workers in splits or (1,)
        for each in trials_of(hinge(8), measured, workers=workers, hold_mean_ms=100.0, p95_ms=9.0, peak_connections=1)
    ]
    return SweepResult(plan, CONDITIONS, Counted(trials), judge(plan, trials, CONDITIONS), id=7)


def show(sweep: SweepResult) -> None:
    """All that a page says of it, and a report."""
    for figure in figures_of(sweep).values():
        assert figure.svg
    assert answer.headline(sweep)
    assert sweep_page.cards(sweep)
    assert sweep_page.tables_of(sweep)
    assert sweep_page.bound_to_play(sweep)["holds"]
    assert to_html(sweep)


@pytest.mark.parametrize("splits", [(), (1, 2)])
def test_it_computes_the_sizes_of_each_split_once(monkeypatch: pytest.MonkeyPatch, splits: tuple[int, ...]) -> None:
    computed: list[Any] = []

    def note(name: str) -> None:
        work = getattr(sizes, name)

        def noted(*given: Any) -> Any:
            computed.append(name)
            return work(*given)

        monkeypatch.setattr(sizes, name, noted)

    note("Spread")
    note("levels")
    show(sweep_of(POWERS, splits))
    assert sorted(computed) == sorted(["Spread", "levels"] * len(splits or (1,)))


def test_it_goes_through_the_trials_as_often_however_many_sizes_there_are() -> None:
    few, many = sweep_of(POWERS), sweep_of(tuple(range(1, 41)))
    show(few)
    show(many)
    assert isinstance(few.trials, Counted)
    assert isinstance(many.trials, Counted)
    assert many.trials.times == few.trials.times < 50
