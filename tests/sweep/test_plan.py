"""The plan: options in words become trials in an order."""

import math
from collections import Counter
from dataclasses import replace

import pytest

from pooldemo.sweep import plan as planning
from pooldemo.sweep.analyse import warnings
from pooldemo.sweep.facts import Conditions, Plan, TrialPlan, TrialResult
from pooldemo.sweep.plan import PlanError, parse_sizes


@pytest.mark.parametrize(("text", "sizes"), [("4", (4,)), ("8,1,2,2", (1, 2, 8)), ("1-3, 8", (1, 2, 3, 8))])
def test_it_reads_sizes_as_rising_numbers_each_once(text: str, sizes: tuple[int, ...]) -> None:
    assert parse_sizes(text) == sizes


@pytest.mark.parametrize("text", ["0", "4,x", "", "-4", "8-4", "1.5", "1,,2", "1-99999"])
def test_it_says_which_size_is_wrong_and_what_is_accepted(text: str) -> None:
    with pytest.raises(PlanError, match=r"--sizes .*give"):
        parse_sizes(text)


@pytest.mark.parametrize(
    ("change", "option"),
    [
        ({"users": 0}, "--users 0"),
        ({"duration_s": 0.1}, "--duration 0.1"),
        ({"ms": float("nan")}, "--ms nan"),
        ({"repeats": 0}, "--repeats 0"),
        ({"workload": "nope"}, "--workload nope"),
        ({"processes": 3, "users": 2}, "--processes 3"),
        ({"rate": 0.0}, "--arrivals 0"),
    ],
)
def test_it_names_the_option_that_is_out_of_range(change: dict, option: str) -> None:
    with pytest.raises(PlanError, match=option):
        planning.check(replace(Plan(), **change))


def test_a_sweep_that_found_sizes_in_several_rounds_of_many_repeats_can_go_on():
    plan = Plan(sizes=(1, 2, 4), repeats=60)
    grown = planning.with_blocks(plan, ((2, 3, 4),) * 60)
    planning.check(grown)
    with pytest.raises(PlanError, match="--repeats 101 is out of range: 1 to 100"):
        planning.check(planning.with_repeats(grown, 101))


def test_it_refuses_sizes_that_the_server_cannot_take_but_only_where_a_size_is_obeyed() -> None:
    conditions = Conditions(room=97)
    plan = Plan(sizes=(8, 49), workers=2)
    with pytest.raises(PlanError, match=r"98 connections, and PostgreSQL takes 97.*up to 48"):
        planning.check_room(plan, conditions, lambda stack: True)
    planning.check_room(plan, conditions, lambda stack: False)


def test_it_names_the_limit_that_refuses_the_size() -> None:
    conditions = Conditions(max_connections=100, room=12, room_limit="the database's CONNECTION LIMIT (ALTER DATABASE)")
    with pytest.raises(PlanError, match=r"takes 12: give sizes up to 12, or raise the database's CONNECTION LIMIT"):
        planning.check_room(Plan(sizes=(4, 32)), conditions, lambda stack: True)
    with pytest.raises(PlanError, match=r"give fewer workers, or raise"):
        planning.check_room(Plan(sizes=(1,), workers=13), conditions, lambda stack: True)


def test_it_runs_every_trial_once_in_whole_repeats() -> None:
    plan = Plan(stacks=("a", "b"), sizes=(1, 2, 4), repeats=3)
    trials = planning.order(plan)
    assert Counter(trials) == Counter({TrialPlan(s, n, r): 1 for s in "ab" for n in (1, 2, 4) for r in (1, 2, 3)})
    assert [trial.repeat for trial in trials] == [1] * 6 + [2] * 6 + [3] * 6


def test_it_interleaves_stacks_and_sizes_by_its_seed() -> None:
    plan = Plan(stacks=("a", "b"), sizes=tuple(range(1, 9)), repeats=1)
    assert planning.order(plan) == planning.order(plan) != planning.order(replace(plan, seed=2))
    assert [trial.size for trial in planning.order(plan)] != sorted(trial.size for trial in planning.order(plan))


def test_it_resumes_with_the_trials_that_are_missing_in_the_same_order() -> None:
    plan = Plan(stacks=("a",), sizes=(1, 2, 4), repeats=2)
    everything = planning.order(plan)
    assert planning.order(plan, done=everything[:2]) == everything[2:]


def test_it_warms_up_until_each_user_was_served_once():
    plan = Plan(users=64, ms=100, warmup_cycles=1.2)
    assert [round(planning.warmup_s(plan, size), 1) for size in (1, 2, 16, 100)] == [7.7, 3.8, 2.0, 2.0]
    assert planning.warmup_s(replace(plan, workers=2), 2) == pytest.approx(2.0)
    assert planning.warmup_s(replace(plan, workload="lock"), 16) == pytest.approx(7.68), "one at a time"
    assert planning.warmup_s(replace(plan, workload="hold", think_ms=100), 4) == pytest.approx(3.84)
    assert planning.warmup_s(replace(plan, users=10_000), 1) == planning.MOST_S
    for named in (replace(plan, warmup_cycles=0.0), replace(plan, workload="fast"), replace(plan, rate=10.0)):
        assert planning.warmup_s(named, 1) == 2.0
    long, short = planning.total_s(replace(plan, sizes=(1,))), planning.total_s(replace(plan, sizes=(16,)))
    assert long - short == pytest.approx(3 * 5.68)


def test_it_measures_for_as_long_as_its_requests_need():
    plan = planning.default()
    assert [round(planning.window_s(plan, size), 1) for size in (1, 2, 16)] == [7.7, 5.0, 5.0]
    assert planning.window_s(replace(plan, ms=2000.0, users=8), 8) == pytest.approx(12.0), (
        "five of them, one after the other"
    )
    assert planning.window_s(replace(plan, workload="lock"), 16) == pytest.approx(9.6), "each waits for 15 others"
    assert planning.window_s(replace(plan, users=10_000), 1) == planning.MOST_S
    asked = replace(plan, window_cycles=0.0)  # as with --duration
    unknown = [replace(plan, workload=name) for name in ("fast", "urls", "locustfile")]
    assert {planning.window_s(each, 1) for each in (asked, *unknown)} == {5.0}
    timed = planning.timed(plan, 1)
    assert (timed.warmup_s, timed.duration_s) == (planning.warmup_s(plan, 1), planning.window_s(plan, 1))
    longer = planning.total_s(replace(plan, sizes=(1,))) - planning.total_s(replace(asked, sizes=(1,)))
    assert longer == pytest.approx(3 * 2.68), "and says so"


@pytest.mark.parametrize("workload", ["slow", "hold", "think", "lock"])
def test_the_default_plan_breaks_no_rule_of_its_own(workload):
    """Its window was of 5 s at each size, and in 9 of 15 trials it was too short for its own requests."""
    plan = planning.default(workload)
    for size in plan.sizes:
        hold_ms = 1.02 * planning.hold_ms(plan) * (size if workload == "lock" else 1)
        response_ms = hold_ms * plan.users / size
        ideal = TrialResult(
            "pooldemo",
            size,
            1,
            rps=1000 * plan.users / response_ms,
            requests=100,
            mean_ms=response_ms,
            wait_mean_ms=response_ms - hold_ms,
            hold_mean_ms=hold_ms,
            little_residual=0.0,
            window_s=float(math.ceil(planning.window_s(plan, size))),
        )
        assert {each.code for each in warnings.for_trial(ideal, plan)} <= {"queueing"}, size


def test_it_counts_the_longer_warm_up_of_fewer_workers_in_its_estimate() -> None:
    """All were to warm up as the most workers do: `--workers 1,2,4 --ms 1000` took half as long again as it said."""
    sweep = replace(planning.default(), ms=1000.0, sizes=(1, 2, 4), workers=4, splits=(1, 2, 4), repeats=2)
    trials = planning.order(sweep)
    warmups_s = sum(planning.warmup_s(sweep.at(trial.workers), trial.size) for trial in trials)
    windows_s = sum(planning.window_s(sweep.at(trial.workers), trial.size) for trial in trials)
    assert planning.total_s(sweep) == pytest.approx(warmups_s + windows_s + len(trials) * planning.TRIAL_OVERHEAD_S)


@pytest.mark.parametrize(
    ("plan", "hold_ms", "seconds"),
    [
        (Plan(duration_s=5), 20.0, 0.024),  # the pool tells: one service
        (Plan(duration_s=5), 5000.0, 2.0),
        (Plan(duration_s=50), 10_000.0, 12.0),
        (Plan(duration_s=60, ms=900, users=32), None, 4.32),  # no pool tells: the whole answer, waits included
        (Plan(duration_s=5, urls=("/",), workload="urls"), None, 2.0),  # nobody knows
        (Plan(duration_s=600, urls=("/",), workload="urls"), None, 20.0),
        (Plan(duration_s=5, urls=("/",), workload="urls"), 20.0, 2.0),  # the pool tells of holds, nobody of waits
        (Plan(duration_s=5, ms=500, rate=3.0), None, 0.6),
    ],
)
def test_it_goes_on_until_those_who_are_served_at_the_windows_end_have_ended(plan, hold_ms, seconds):
    assert planning.last_s(plan, 8, hold_ms) == pytest.approx(seconds)
