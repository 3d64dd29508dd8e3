"""How far a sweep has come, from what is saved of it: each trial's state, and the time left."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from pooldemo.sweep import plan as planning
from pooldemo.sweep.facts import Conditions, Plan, SweepResult, TrialResult
from pooldemo.sweep.report.progress import progress_of

BEGAN = datetime(2026, 11, 29, 12, tzinfo=UTC)
PLAN = Plan(sizes=(1, 2), repeats=2, duration_s=5, warmup_s=3)


def swept(ended: int, status: str = "running") -> SweepResult:
    trials = tuple(
        TrialResult(
            each.stack, each.size, each.repeat, rps=10.0, p95_ms=200.0, error="it broke" if place == 1 else "",
            started_at=(BEGAN + timedelta(seconds=10 * place)).isoformat(),
        )
        for place, each in enumerate(planning.order(PLAN)[:ended])
    )  # fmt: skip
    return SweepResult(PLAN, Conditions(), trials, status=status, started_at=BEGAN.isoformat())


def test_it_tells_each_trials_state_in_the_order_they_run() -> None:
    found = progress_of(swept(2), BEGAN + timedelta(seconds=20))
    assert [step.state for step in found.steps] == ["ended", "failed", "running", "waiting"]
    assert [step.trial for step in found.steps] == planning.order(PLAN)
    assert found.steps[0].words == "10.0 requests/s, p95 200 ms"
    assert found.steps[1].words == "it broke"
    assert (found.done, found.planned, found.percent) == (2, 4, 50)


def test_its_time_left_goes_on_while_a_trial_runs_and_never_ends_before_it() -> None:
    each_s = planning.total_s(PLAN, 1)
    at = [progress_of(swept(2), BEGAN + timedelta(seconds=10 + each_s + more)).left for more in (0, 4, 600)]
    assert at == [f"about {2 * each_s - less:.0f} s left" for less in (0, 4, each_s)]
    assert progress_of(replace(swept(0), plan=replace(PLAN, repeats=90)), BEGAN).left.endswith(" min left")


def test_it_runs_nothing_once_it_has_stopped() -> None:
    found = progress_of(swept(2, "interrupted"), BEGAN)
    assert [step.state for step in found.steps] == ["ended", "failed", "waiting", "waiting"]
    assert found.left == ""


def test_it_is_read_aloud_ten_times_and_not_each_second() -> None:
    sweep = replace(swept(0), plan=replace(PLAN, repeats=50))
    trials = tuple(TrialResult(each.stack, each.size, each.repeat) for each in planning.order(sweep.plan))
    told = [progress_of(replace(sweep, trials=trials[:ended]), BEGAN).told for ended in range(100)]
    assert list(dict.fromkeys(told)) == [f"{done}% of 100 trials have ended" for done in range(0, 100, 10)]
