"""A sweep that has ended goes on: more repeats, more sizes, or whatever decides. The trials are made up."""

import random
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from pooldemo import models, records
from pooldemo.monitor import snapshots
from pooldemo.sweep import plan as planning
from pooldemo.sweep.analyse.compare import compare_sides
from pooldemo.sweep.facts import Conditions, Limit, Plan, SweepResult, TrialPlan, TrialResult
from pooldemo.sweep.measure.run import Run
from pooldemo.sweep.report import rerun, tables

PLAN = Plan(sizes=(1, 2, 4, 8, 16), repeats=3, users=1000, duration_s=1, warmup_s=0)
Made = Callable[[TrialPlan, int], float]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """A Run whose nth trial carries what `made` says."""

    def make(plan: Plan, made: Made, **options: Any) -> Run:
        def fake(trial: TrialPlan, *_: object) -> TrialResult:
            rps = made(trial, len(it.results))
            return TrialResult(
                trial.stack, trial.size, trial.repeat, trial.workers, rps=rps, requests=1000, p95_ms=100.0
            )

        monkeypatch.setattr("pooldemo.sweep.measure.trial.run", fake)
        it = Run(plan, Conditions(), None, **options)  # type: ignore[arg-type]
        return it

    return make


def hinge(knee: int, noise: float = 0.01, drift: float = 0.0, seed: int = 0) -> Made:
    """Throughput up to a knee, on a machine that gets slower with each trial."""
    chance = random.Random(seed)
    return lambda trial, place: 10 * min(trial.size, knee) * chance.gauss(1, noise) * (1 - drift * place / 40)


def sizes_by_repeat(trials: list[TrialPlan]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for trial in trials:
        found.setdefault(trial.repeat, []).append(trial.size)
    return {repeat: sorted(sizes) for repeat, sizes in found.items()}


def test_it_adds_repeats_of_every_size() -> None:
    more = planning.with_repeats(PLAN, 5)
    done = set(planning.order(PLAN))
    assert sizes_by_repeat(planning.order(more, done)) == {4: [1, 2, 4, 8, 16], 5: [1, 2, 4, 8, 16]}
    assert set(planning.order(more)) > done


def test_it_adds_sizes_in_repeats_of_their_own_with_their_neighbours() -> None:
    more = planning.with_sizes(PLAN, "+5,6")
    assert more.sizes == (1, 2, 4, 5, 6, 8, 16)
    assert sizes_by_repeat(planning.order(more, planning.order(PLAN))) == {n: [4, 5, 6, 8] for n in (4, 5, 6)}
    further = planning.with_sizes(PLAN, "+32")
    assert sizes_by_repeat(planning.order(further, planning.order(PLAN)))[4] == [16, 32]
    again = planning.with_repeats(more, 4)
    assert sizes_by_repeat(planning.order(again, planning.order(more))) == {7: [1, 2, 4, 5, 6, 8, 16]}
    assert planning.total_s(more) == planning.total_s(PLAN, 15 + 12)


def test_it_counts_the_repeats_of_sizes_and_not_how_often_it_went_on() -> None:
    """Three repeats, and three of the sizes that were added, were 6 repeats of all of them, and measured so again."""
    more = planning.with_sizes(PLAN, "+5,6")
    assert [tables.repeats(plan) for plan in (PLAN, more)] == ["3 repeats", "3 to 6 repeats"]
    assert "--repeats" not in rerun.command(more)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda: planning.with_repeats(PLAN, 3), "this sweep has 3; give more"),
        (lambda: planning.with_sizes(PLAN, "5,6"), "sizes are added, as in --sizes +5,6"),
        (lambda: planning.with_sizes(PLAN, "+4"), "this sweep has 1, 2, 4, 8, 16; give others"),
        (lambda: planning.with_sizes(PLAN, "+x"), "'x' is no pool size"),
    ],
)
def test_it_refuses_what_is_there_already(change: Callable[[], Plan], said: str) -> None:
    with pytest.raises(planning.PlanError) as refused:
        change()
    assert said in str(refused.value)


def test_it_compares_sizes_that_were_added_on_a_slower_day_by_what_they_share(run: Callable[..., Run]) -> None:
    first = run(PLAN, hinge(5))
    list(first)
    plan = planning.with_sizes(PLAN, "+5,6")
    slower = hinge(5, seed=1)
    second = run(plan, lambda trial, place: 0.8 * slower(trial, place), done=first.results)
    assert len(list(second)) == 12
    (verdict,) = second.verdicts()
    assert (verdict.shape, verdict.max_conns) == ("knee", 5)


def test_it_finds_the_knee_between_sizes_on_a_machine_that_drifts(run: Callable[..., Run]) -> None:
    right = 0
    for seed in range(20):
        sweep = run(replace(PLAN, sizes=(1, 2, 4, 8, 16, 32), adaptive=True), hinge(12, 0.01, drift=0.15, seed=seed))
        list(sweep)
        (verdict,) = sweep.verdicts()
        right += verdict.shape == "knee" and 11 <= (verdict.max_conns or 0) <= 13
    assert right >= 19


def test_it_refines_with_as_many_repeats_when_it_goes_on(run: Callable[..., Run]) -> None:
    sweep = run(planning.with_sizes(replace(PLAN, adaptive=True), "+3"), hinge(12))
    run_through(sweep)
    refined = sweep.plan.blocks[6:]
    assert refined
    assert all(refined.count(sizes) == PLAN.repeats for sizes in refined)


def test_it_repeats_what_decides_until_it_is_decided(run: Callable[..., Run]) -> None:
    noisy = hinge(4, noise=0.06, seed=3)
    assert run_through(run(PLAN, noisy))[0] == "invalid"
    sweep = run(PLAN, hinge(4, noise=0.06, seed=3), until_s=time.monotonic() + 1e6)
    shape, size = run_through(sweep)
    assert (shape, size) == ("knee", 4)
    added = [sizes for sizes in sweep.plan.blocks if sizes != PLAN.sizes]
    assert added
    assert all(1 not in sizes for sizes in added), "what is far below decides nothing"


def test_it_repeats_what_decides_an_slo(run: Callable[..., Run]) -> None:
    plan = replace(PLAN, slo=(Limit("errors", 0.0005),))
    sweep = run(plan, hinge(4), until_s=time.monotonic() + 1e6)
    run_through(sweep)
    assert all(set(sizes) == {2, 4, 8} for sizes in sweep.plan.blocks[3:])
    (verdict,) = sweep.verdicts()
    assert verdict.slo is not None
    assert verdict.slo.state == "met"


def test_it_repeats_until_it_can_tell_whether_b_is_worse(run: Callable[..., Run]) -> None:
    plan = replace(PLAN, stacks=("pooldemo", "pooldemo@main"), sizes=(4, 16))
    chance = random.Random(1)

    def made(trial: TrialPlan, _: int) -> float:
        return (100 if trial.size == 4 else 40) * chance.gauss(1, 0.03)  # sizes that nobody confuses

    sweep = run(plan, made, until_s=time.monotonic() + 1e6)
    list(sweep)
    found = compare_sides(SweepResult(sweep.plan, sweep.conditions, tuple(sweep.results), sweep.verdicts()))
    assert found is not None
    assert sweep.plan.repeats > 3
    assert found.is_known or found.is_worse


def test_it_repeats_what_decides_which_split_is_the_cheapest(run: Callable[..., Run]) -> None:
    """Each number of workers has its knee at once; only which of the two carries more needs repeats."""
    plan = replace(PLAN, sizes=(1, 2, 4, 8), workers=2, splits=(1, 2))
    once = run(plan, hinge(4, noise=0.04, seed=9))
    list(once)
    assert "cheapest nobody can tell" in once.verdicts()[0].because
    sweep = run(plan, hinge(4, noise=0.04, seed=9), until_s=time.monotonic() + 1e6)
    run_through(sweep)
    assert set(sweep.plan.blocks[3:]) == {(4,)}
    (verdict,) = sweep.verdicts()
    assert verdict.because.startswith("The cheapest split is 1 worker x 4 slots ")


def test_it_repeats_no_more_than_a_sweep_may_have_and_can_go_on(run: Callable[..., Run]) -> None:
    plan = replace(PLAN, sizes=(4, 8), repeats=planning.MAX_REPEATS - 1)
    chance = random.Random(3)
    sweep = run(plan, lambda *_: chance.lognormvariate(3, 1), until_s=time.monotonic() + 1e6)
    assert run_through(sweep)[0] == "invalid"
    assert sweep.plan.repeats == planning.MAX_REPEATS
    planning.check(sweep.plan)


def test_it_repeats_nothing_when_the_time_is_over(run: Callable[..., Run]) -> None:
    sweep = run(PLAN, hinge(4, noise=0.06, seed=3), until_s=time.monotonic() + 1)
    assert run_through(sweep)[0] == "invalid"
    assert len(sweep.results) == 15


def run_through(sweep: Run) -> tuple[str, int | None]:
    for count, _ in enumerate(sweep):
        assert count < 500
    (verdict,) = sweep.verdicts()
    return verdict.shape, verdict.max_conns


# -- as typed ------------------------------------------------------------------------------------------------------


@pytest.fixture
def number(db: None) -> str:
    """A sweep that has ended."""
    row = records.begin(PLAN, Conditions(max_connections=100))
    for trial in planning.order(PLAN):
        records.save_trial(row, TrialResult(trial.stack, trial.size, trial.repeat, rps=10.0 * min(trial.size, 4)))
    records.end(row, "done", ())
    return str(row.pk)


def test_it_says_what_it_would_run_beyond_what_is_there(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("sweep", "--resume", number, "--repeats", "4", "--sizes", "+3", "--dry-run")
    said = capsys.readouterr().out
    assert said.count("pooldemo at 3, repeat ") == 4
    assert said.count("pooldemo at 1, repeat ") == 1
    assert "15 trials, about" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--repeats", "2"], "this sweep has 3; give more"),
        (["--sizes", "5"], "as in --sizes +5,6"),
        (["--users", "5"], "leave out --users"),
        (["--against", "main"], "leave out --against"),
        (["--until-sure", "0"], "--until-sure 0 is out of range"),
    ],
)
def test_it_refuses_what_cannot_go_on_with_a_sweep(number: str, arguments: list[str], said: str) -> None:
    with pytest.raises(CommandError) as refusal:
        call_command("sweep", "--resume", number, *arguments, "--dry-run")
    assert said in str(refusal.value)
    assert refusal.value.returncode == 2


@pytest.mark.parametrize(
    ("noted", "stacks", "refusal"),
    [
        ("project.settings", ["pooldemo"], ""),
        (
            "shop.production",
            ["pooldemo"],
            "that sweep was of shop.production, .*: go on with --settings shop.production",
        ),
        ("", ["pooldemo"], "in transaction mode, and an earlier release measured that under the name of pooldemo"),
        ("", ["persistent", "pooldemo@RESET=always"], "in transaction mode, and an earlier release"),
        ("", ["pooldemo-transaction"], ""),
    ],
)
def test_it_goes_on_as_a_sweep_began(
    number: str, monkeypatch: pytest.MonkeyPatch, noted: str, stacks: list[str], refusal: str
) -> None:
    """With the same settings; and a project in transaction mode was once measured in that as `pooldemo`."""
    monkeypatch.setattr(snapshots, "stack", lambda: "pooldemo-transaction")
    conditions = asdict(Conditions(settings_module=noted))
    models.Sweep.objects.filter(pk=number).update(conditions=conditions, stacks=stacks)
    with pytest.raises(CommandError, match=refusal) if refusal else nullcontext():
        call_command("sweep", "--resume", number, "--repeats", "4", "--dry-run")
