"""The verdict is right as often as it claims, on hundreds of sweeps whose truth is known; and properties that hold for
any."""

import re
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from synthetic import CONDITIONS, trials_of, verdict_of, verdicts_of

from benchmarks.verdicts.truth import DENSE, EVEN, POWERS, droop, flat, hinge, power, steps
from pooldemo.sweep.analyse.judge import judge
from pooldemo.sweep.analyse.knee import find_knee
from pooldemo.sweep.analyse.observations import observed
from pooldemo.sweep.analyse.warnings import brief
from pooldemo.sweep.facts import Conditions, Limit, Plan, TrialResult

# -- hundreds of sweeps each, at 3% noise with 3 repeats ------------------------------------------------------------

GRIDS = pytest.mark.parametrize(
    ("sizes", "sweeps"), [(POWERS, 300), (DENSE, 100), (EVEN, 100)], ids=["powers", "dense", "even"]
)


@GRIDS
def test_it_finds_a_hinge_in_95_percent_of_the_sweeps(sizes, sweeps):
    assert verdicts_of(hinge(16), sweeps, sizes=sizes)["knee", 16] >= 0.95 * sweeps


@GRIDS
@pytest.mark.parametrize("exponent", [1, 0.5, 0.2, 0.1])
def test_it_does_not_call_a_rising_curve_a_knee(sizes, sweeps, exponent):
    said = verdicts_of(power(exponent), sweeps, sizes=sizes)
    assert sum(count for (shape, _), count in said.items() if shape == "knee") <= 0.002 * sweeps
    assert said["rising", max(sizes)] >= 0.95 * sweeps


@GRIDS
def test_it_calls_a_flat_curve_flat_in_95_percent_of_the_sweeps(sizes, sweeps):
    assert verdicts_of(flat, sweeps, sizes=sizes)["flat", min(sizes)] >= 0.95 * sweeps


@GRIDS
@pytest.mark.parametrize("exponent", [0.05, 0.3])
def test_it_finds_the_knee_of_a_curve_that_droops_past_it(sizes, sweeps, exponent):
    assert verdicts_of(droop(16, exponent), sweeps, sizes=sizes)["knee", 16] >= 0.95 * sweeps


def step(size: int) -> float:
    """A size that is worse by as much as is just not accepted, and all the others alike."""
    return 100 if size > 1 else 95


def test_it_does_not_call_rising_what_looks_level():
    said = verdicts_of(step)
    assert sum(count for (shape, _), count in said.items() if shape == "rising") <= 2
    assert said["flat", 1] + said["knee", 2] >= 195  # the others: more repeats
    assert set(verdicts_of(step, noise=0.01)) == {("flat", 1), ("knee", 2)}


def test_it_asks_for_more_repeats_where_it_looks_level_but_might_rise():
    seed = next(n for n in range(100) if verdict_of(step, seed=n).shape == "invalid")
    because = verdict_of(step, seed=seed).because
    assert because.startswith("From 2 slots on throughput looks level (")
    assert "More repeats: --repeats " in because


def test_it_takes_the_larger_size_when_the_hinge_lies_between_two_and_says_where_to_look():
    assert verdicts_of(hinge(12))["knee", 16] >= 285
    assert "between 8 and 16: try 12" in verdict_of(hinge(12), noise=0.001).because
    assert "between" not in verdict_of(hinge(16), noise=0.001).because


@pytest.mark.parametrize("curve", [hinge(16), hinge(12), flat, power(0.2)], ids=["hinge", "between", "flat", "rising"])
def test_it_would_rather_say_more_repeats_than_be_wrong_under_10_percent_noise(curve):
    said = verdicts_of(curve, noise=0.10)
    assert said["invalid", None] >= 285
    assert "More repeats: --repeats" in verdict_of(curve, noise=0.10).because


def test_it_asks_for_as_many_repeats_as_it_then_needs():
    trials = trials_of(hinge(16), noise=0.10)
    needed = find_knee(observed(trials)).repeats_needed
    assert verdicts_of(hinge(16), noise=0.08, repeats=needed + 4, sweeps=100)["knee", 16] >= 95


# -- properties of any sweep ---------------------------------------------------------------------------------------

RPS = st.floats(1, 1e5)
SWEEPS = st.dictionaries(st.integers(1, 100), st.lists(RPS, min_size=1, max_size=4), min_size=1, max_size=8)
PLAN = Plan(users=1000)


def _trials(sweep):
    return [
        TrialResult("pooldemo", size, repeat, rps=rps, requests=100)
        for size, values in sweep.items()
        for repeat, rps in enumerate(values, 1)
    ]


@given(SWEEPS)
def test_it_never_recommends_a_size_that_was_not_measured(sweep):
    verdict = judge(PLAN, _trials(sweep), CONDITIONS)[0]
    assert verdict.max_conns is None or verdict.max_conns in sweep
    assert (verdict.max_conns is None) == (verdict.shape == "invalid")
    assert verdict.because


@given(SWEEPS, st.randoms())
def test_it_does_not_depend_on_the_order_of_the_trials(sweep, chance):
    trials = _trials(sweep)
    shuffled = chance.sample(trials, len(trials))
    assert judge(PLAN, trials, CONDITIONS) == judge(PLAN, shuffled, CONDITIONS)


TWO_EQUALLY_FAR = {1: [2.0, 19.0], 3: [58769.0, 12.0], 2: [89173.0, 20.0, 1.0, 1.0], 4: [98513.0, 19.0, 1.0, 1.0]}


@given(SWEEPS, st.integers(-8, 8))
@example(TWO_EQUALLY_FAR, 1)
def test_it_does_not_depend_on_the_unit_of_throughput(sweep, exponent):
    factor = 2.0**exponent
    scaled = {size: [rps * factor for rps in values] for size, values in sweep.items()}
    first, second = judge(PLAN, _trials(sweep), CONDITIONS)[0], judge(PLAN, _trials(scaled), CONDITIONS)[0]
    assert (first.shape, first.max_conns) == (second.shape, second.max_conns)


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.sampled_from([hinge(16), flat, power(0.3), droop(8, 0.3)]))
def test_it_says_of_each_stack_what_it_would_say_of_it_alone(seed, curve):
    plan = replace(PLAN, stacks=("pooldemo", "other"))
    own = trials_of(curve, seed=seed)
    other = tuple(replace(trial, stack="other") for trial in trials_of(hinge(4), seed=seed + 1))
    both = judge(plan, [*own, *other], CONDITIONS)
    assert [each.stack for each in both] == ["pooldemo", "other"]
    assert both[0] == judge(PLAN, own, CONDITIONS)[0]


# -- what else a verdict weighs ------------------------------------------------------------------------------------


def test_it_gives_the_interval_the_neighbours_and_the_line_to_copy():
    verdict = verdict_of(hinge(16), noise=0.01)
    assert (verdict.shape, verdict.max_conns, verdict.copy) == ("knee", 16, "export MAX_CONNS=16")
    assert verdict.rps_low < verdict.rps < verdict.rps_high
    assert "8 gives" in verdict.because
    assert "32 gives no more" in verdict.because


@pytest.mark.parametrize(
    ("stack", "line"),
    [
        ("pooldemo", 'DATABASES["default"]["OPTIONS"]["MAX_CONNS"] = 2'),
        ("psycopg-pool", 'DATABASES["default"]["OPTIONS"]["pool"] = {"min_size": 2, "max_size": 2}'),
    ],
)
def test_it_gives_the_line_for_the_settings_where_a_projects_own_pages_were_asked(stack, line):
    plan = replace(PLAN, workload="urls", stacks=(stack,))
    trials = [replace(trial, stack=stack) for trial in trials_of(hinge(2), sizes=(1, 2, 4, 8), noise=0.01)]
    (verdict,) = judge(plan, trials, CONDITIONS)
    assert (verdict.shape, verdict.copy) == ("knee", line)


def test_it_speaks_of_the_average_where_the_next_size_was_lucky():
    verdict = verdict_of(hinge(8), sizes=(4, 8, 16, 32), seed=230)
    assert (verdict.shape, verdict.max_conns) == ("knee", 8)
    assert "4 gives 49% less (40.0), and the larger ones hardly more on average (80.0, 2%)" in verdict.because


def test_it_says_that_one_repeat_has_no_interval():
    verdict = verdict_of(hinge(16), repeats=1)
    assert (verdict.shape, verdict.max_conns, verdict.copy) == ("invalid", None, "")
    assert "--repeats 3" in verdict.because
    assert "16 would do" in verdict.because


def test_it_says_that_one_size_has_no_knee():
    verdict = verdict_of(hinge(16), sizes=(8,))
    assert verdict.shape == "invalid"
    assert "--sizes 4,8,16" in verdict.because


def test_it_judges_no_trials_at_all_as_invalid():
    verdict = judge(Plan(), [], Conditions())[0]
    assert verdict.shape == "invalid"
    assert verdict.because == "Interrupted before a trial of this stack ended, so there is nothing to judge."
    assert verdict.needs == ""


@pytest.mark.parametrize("noise", [0.05, 0.1, 0.2, 0.3, 0.6])
@pytest.mark.parametrize("repeats", [1, 2, 3])
def test_it_gives_one_advice_when_nobody_can_tell(noise, repeats):
    drifting = [
        replace(trial, rps=trial.rps * trial.repeat) for trial in trials_of(hinge(16), noise=noise, repeats=repeats)
    ]
    verdict = judge(Plan(users=1000), drifting, CONDITIONS)[0]
    said = " ".join([verdict.because, *(f"{each.cause} {each.cure}" for each in verdict.warnings)])
    advised = re.findall(r"--(?:repeats|duration) \d+", said)
    assert advised == ([verdict.needs] if verdict.shape == "invalid" else [])
    assert "verdict stands" not in said


def test_it_judges_what_ran_when_some_trials_failed():
    trials = [
        replace(t, error="gunicorn did not start") if (t.size, t.repeat) == (32, 2) else t for t in trials_of(hinge(16))
    ]
    verdict = judge(PLAN, trials, CONDITIONS)[0]
    assert (verdict.shape, verdict.max_conns) == ("knee", 16)
    assert "trial-failed" in [each.code for each in verdict.warnings]


def test_it_refuses_to_judge_a_sweep_whose_trials_mostly_failed():
    trials = [
        replace(trial, error="gunicorn did not start") if trial.repeat < 3 else trial for trial in trials_of(hinge(16))
    ]
    verdict = judge(PLAN, trials, CONDITIONS)[0]
    assert verdict.shape == "invalid"
    assert "gunicorn did not start" in verdict.because


def test_it_refuses_to_judge_a_saturated_generator():
    verdict = verdict_of(hinge(16), generator_cpu=0.97)
    assert verdict.shape == "invalid"
    assert "--processes 2" in verdict.because


def test_it_refuses_to_name_a_size_that_was_not_kept():
    verdict = verdict_of(hinge(16), peak_connections=64)
    assert (verdict.shape, verdict.max_conns, verdict.copy) == ("invalid", None, "")
    assert "PostgreSQL saw 64 connections at size 1" in verdict.because
    assert verdict_of(hinge(16), peak_connections=64, capped=False).max_conns == 16
    assert verdict_of(hinge(16), peak_connections=16).max_conns == 16  # above the smaller sizes: a warning says so


def test_it_does_not_mind_a_generator_that_is_busy_where_nobody_looks():
    assert verdict_of(hinge(16), generator_cpu=lambda size: 0.97 if size == 1 else 0.3).shape == "knee"


def test_it_looks_at_the_plateau_alone_for_what_ran_out():
    assert verdict_of(hinge(16), generator_cpu=lambda size: 0.97 if size >= 16 else 0.2).shape == "invalid"
    assert verdict_of(hinge(16), worker_cpu=lambda size: 0.95 if size >= 16 else 0.2).saturated.startswith("the worker")


def test_it_is_not_fooled_by_small_sizes_that_are_steadier_than_the_plateau():
    steady = {size: [10.0 * size] * 3 for size in (1, 2, 4, 8)}
    noisy = {16: [150.0, 160.0, 170.0], 32: [170.0, 150.0, 160.0], 64: [160.0, 170.0, 150.0]}
    assert judge(PLAN, _trials(steady | noisy), CONDITIONS)[0].shape == "invalid"


def test_it_does_not_call_the_end_of_the_users_a_knee():
    verdict = verdict_of(hinge(16), plan=Plan(users=16))
    assert (verdict.shape, verdict.max_conns) == ("rising", 16)
    assert "each of the 16 users has a slot" in verdict.because
    assert "--users 32" in verdict.because
    assert verdict_of(hinge(16), plan=Plan(users=16, workers=2)).shape == "rising"


OSCAR = {1: [2.26, 2.67, 2.57], 2: [2.76, 2.87, 2.81], 4: [2.49, 2.71, 2.79]}
"""A real shop, one worker, whose Python filled its core from 2 slots on: measured, not drawn."""


def test_it_does_not_say_that_throughput_rises_where_the_size_before_carries_no_less():
    verdict = judge(replace(PLAN, sizes=(1, 2, 4)), _trials(OSCAR), CONDITIONS)[0]
    assert (verdict.shape, verdict.max_conns) == ("rising", 4), "that it does not rise is not shown"
    assert verdict.because.startswith("Whether throughput still rises at the end nobody can tell yet: 4 slots carry")
    assert "2 gives no less" in verdict.because
    for_users = judge(Plan(sizes=(1, 2, 4), users=4), _trials(OSCAR), CONDITIONS)[0]
    assert "Nobody can tell yet whether throughput rises until each of the 4 users" in for_users.because


def test_it_ends_the_rise_where_the_workers_one_thread_is_full():
    """More slots cannot give a full core more, whatever the noise permits to say of the curve alone."""
    trials = tuple(replace(each, worker_cpu={1: 0.92, 2: 0.99, 4: 0.99}[each.size]) for each in _trials(OSCAR))
    verdict = judge(replace(PLAN, sizes=(1, 2, 4)), trials, CONDITIONS)[0]
    assert (verdict.shape, verdict.max_conns, verdict.plateau, verdict.cause) == ("knee", 2, (2, 4), "hub")
    assert "The bottleneck is the worker's hub" in verdict.because


def test_it_names_what_ran_out_where_each_user_has_a_slot():
    verdict = verdict_of(hinge(16), plan=Plan(users=64), sizes=(1, 2, 4, 8, 16), worker_cpu=0.97)
    assert (verdict.shape, verdict.max_conns) == ("rising", 16)
    verdict = verdict_of(power(0.2), plan=Plan(users=64), worker_cpu=0.97)
    assert (verdict.shape, verdict.max_conns) == ("rising", 64)
    assert "each of the 64 users has a slot" in verdict.because
    assert "The bottleneck there is the worker's hub" in verdict.because


def test_it_calls_flat_what_takes_no_connection():
    """Whatever the curve says: it is another's."""
    verdict = verdict_of(power(0.2), query_mean_ms=0.0, worker_cpu=0.97)
    assert (verdict.shape, verdict.max_conns) == ("flat", 1)
    assert verdict.because.startswith("No request took a connection, whatever the size: the pool is not your bottlen")
    assert "the worker's hub" in verdict.because


def test_it_extends_a_rise_but_not_beyond_the_connections_that_there_are():
    assert "--sizes 1,2,4,8,16,32,64,128." in verdict_of(power(1)).because
    few = Conditions(cpus=2, room=97)
    assert "--sizes 1,2,4,8,16,32,64,97." in verdict_of(power(1), conditions=few).because


def test_it_stays_within_the_connections_that_postgresql_has_for_this_many_workers():
    conditions = Conditions(cpus=2, room=37)
    verdict = verdict_of(hinge(16), plan=Plan(users=1000, workers=4), conditions=conditions)
    assert (verdict.shape, verdict.max_conns) == ("knee", 8)
    assert "64 of the 37 connections" in verdict.because
    none = verdict_of(hinge(16), plan=Plan(users=1000, workers=50), conditions=conditions)
    assert (none.max_conns, none.copy) == (None, "")
    assert "No measured size fits" in none.because
    held = replace(conditions, room_limit="the role's CONNECTION LIMIT (ALTER ROLE)")
    less = verdict_of(hinge(16), plan=Plan(users=1000, workers=50), conditions=held)
    assert less.because.endswith("or raise the role's CONNECTION LIMIT (ALTER ROLE).")


def test_it_recommends_the_smallest_size_of_the_plateau_that_meets_the_slo():
    plan = Plan(users=1000, slo=(Limit("p95", 300),))
    verdict = verdict_of(hinge(16), plan=plan, p95_ms=lambda size: 400.0 if size <= 16 else 200.0)
    assert (verdict.max_conns, verdict.slo.state) == (32, "met")
    assert "16 misses the SLO: use 32" in verdict.because


def test_it_gives_up_throughput_for_the_slo_and_says_how_much():
    plan = Plan(users=1000, slo=(Limit("p95", 300),))
    verdict = verdict_of(hinge(16), plan=plan, noise=0.001, p95_ms=lambda size: 400.0 if size > 8 else 200.0)
    assert (verdict.max_conns, verdict.slo.state) == (8, "met")
    assert "use 8, at 50% less throughput" in verdict.because


def test_it_says_when_no_size_meets_the_slo():
    verdict = verdict_of(
        hinge(16), plan=Plan(users=1000, slo=(Limit("p95", 300), Limit("errors", 0.001))), p95_ms=400.0
    )
    assert (verdict.max_conns, verdict.slo.state) == (16, "missed")
    assert [each.met for each in verdict.checks] == [False, True]
    assert "No measured size meets the SLO p95 <= 300 ms (measured 400 ms, 397 ms to 403 ms)" in verdict.because


def test_it_says_too_few_repeats_and_not_too_noisy_when_most_repeats_are_missing():
    trials = [
        replace(trial, error="stopped") if trial.repeat == 2 and trial.size > 1 else trial
        for trial in trials_of(hinge(16), repeats=2, noise=0.02)
    ]
    verdict = judge(replace(PLAN, repeats=2), trials, CONDITIONS)[0]
    assert verdict.shape == "invalid"
    assert "Too few trials were repeated" in verdict.because
    assert "--repeats 3" in verdict.because, "it had two"


def test_it_tells_the_neighbours_as_they_are():
    thrashing = verdict_of(droop(16, 0.3), noise=0.002, sizes=(8, 16, 32)).because
    assert "8 gives 50% less (80.1), and 32 already 19% less (130)." in thrashing
    failing = verdict_of(flat, noise=0.002, sizes=(8, 16, 32), failures=lambda size: 500 * (size != 16)).because
    assert failing.startswith("Only size 16 carries the load without failures (99.8 ")
    above = verdict_of(hinge(16), noise=0.002, sizes=(4, 8, 16, 32), failures=lambda size: 500 * (size == 32)).because
    assert "at 32 requests fail" in above
    below = verdict_of(hinge(4), noise=0.002, sizes=(2, 4, 8, 16), failures=lambda size: 500 * (size == 2)).because
    assert below.startswith("4 slots carry 40")
    assert "at 2 requests fail" in below


def test_it_says_that_it_may_be_luck_where_the_larger_sizes_carry_more_than_the_margin():
    said = [verdict_of(steps, noise=0.05, seed=seed, repeats=repeats).because for seed, repeats in ((175, 4), (19, 4))]
    assert "and that the larger ones carry more on average (130, 6%) may be luck." in said[0]
    assert "and the larger ones hardly more on average (132, 2%)." in said[1]


@pytest.mark.parametrize("measured", [1, 2])
def test_it_advises_no_fewer_repeats_than_were_planned_when_it_was_interrupted(measured):
    slo = (Limit("p95", 301),)
    plan = replace(PLAN, repeats=9, slo=slo)
    trials = trials_of(hinge(16), repeats=measured, noise=0.02, p95_ms=300.0)
    if measured == 2:  # all of the first repeat, and one of the second
        trials = [each for each in trials if each.repeat == 1 or each.size == 1]
    verdict = judge(plan, trials, CONDITIONS)[0]
    assert (verdict.shape, verdict.needs) == ("invalid", "--repeats 9")
    assert "--repeats 9" in verdict.because


def test_it_does_not_believe_two_repeats_that_happen_to_agree():
    nearly = {1: [100.0, 100.0], 2: [103.0, 103.0], 4: [106.0, 106.0], 8: [106.0, 106.0]}
    assert judge(PLAN, _trials(nearly), CONDITIONS)[0].shape != "knee"


def test_it_tells_a_traceback_in_one_line():
    trials = [
        replace(t, error="the server ended with 3: File x\n  line\nImportError: no") for t in trials_of(hinge(16))
    ]
    verdict = judge(PLAN, trials, CONDITIONS)[0]
    assert "nothing to judge: the server ended with 3: ImportError: no." in verdict.because
    assert all("\n" not in each.cause for each in verdict.warnings)
    assert brief("it ended with 3: Traceback\nKeyError: 'x'\n[ERROR] Worker failed to boot.") == (
        "it ended with 3: KeyError: 'x'"
    )
