"""Picture, numbers and code agree: the README's curves are those of the sweeps in docs/data, as the code draws them."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import pytest

from pooldemo.sweep.analyse.judge import judge
from pooldemo.sweep.facts import SweepResult, Verdict

from .conftest import SWEPT, read_sweep
from .pictures import IMAGES, curves


@pytest.fixture(params=SWEPT)
def stored_sweep(request: Any) -> tuple[str, SweepResult]:
    return request.param, read_sweep(request.param)


def test_its_data_loads_and_is_whole(stored_sweep: tuple[str, SweepResult]) -> None:
    name, sweep = stored_sweep
    plan = sweep.plan
    assert (plan.workload, plan.stacks, sweep.status) == (name, SWEPT[name], "done")
    assert len(sweep.trials) == len(plan.stacks) * len(plan.sizes) * plan.repeats
    assert all(trial.requests for trial in sweep.trials if not trial.error)
    assert sweep.conditions.commit
    assert sweep.conditions.versions["postgresql"]


def nine_digits(verdicts: Iterable[Verdict]) -> Any:
    """As JSON has them: a logarithm's last bits are another machine's, and another order of summing's."""
    text = json.dumps([asdict(each) for each in verdicts])
    return json.loads(text, parse_float=lambda number: float(f"{float(number):.9g}"))


def test_its_verdict_is_still_the_one_that_the_code_draws(stored_sweep: tuple[str, SweepResult]) -> None:
    _, sweep = stored_sweep
    drawn = judge(sweep.plan, sweep.trials, sweep.conditions)
    assert nine_digits(drawn) == nine_digits(sweep.verdicts), "say it anew: make screenshots"


def test_its_pictures_are_drawn_from_it(stored_sweep: tuple[str, SweepResult]) -> None:
    for file, svg in curves(*stored_sweep).items():
        assert (IMAGES / file).read_text() == svg + "\n", f"{file} is of other data or code: make screenshots"
