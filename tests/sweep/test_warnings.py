"""Each suspicion has its code, its cause and its cure, and comes only when there is reason for it."""

import re
from dataclasses import replace

import pytest
from synthetic import CONDITIONS, trials_of

from benchmarks.verdicts.truth import hinge
from pooldemo.sweep import plan as planning
from pooldemo.sweep.analyse.judge import judge
from pooldemo.sweep.analyse.rules import RULES
from pooldemo.sweep.analyse.warnings import for_stack, for_trial
from pooldemo.sweep.facts import Plan, Step, TrialResult

PLAN = Plan(users=64)
ALONE = replace(CONDITIONS, cpus=1, load_before=2.0)
HEALTHY = TrialResult(
    "pooldemo",
    8,
    1,
    rps=80,
    requests=800,
    mean_ms=800,
    window_s=10,
    per_second=(80,) * 10,
    wait_mean_ms=100,
    hold_mean_ms=100,
    peak_connections=8,
    generator_cpu=0.3,
    worker_cpu=0.4,
    other_cpu=0.05,
    little_residual=0.01,
)

DOUBTFUL = {
    "failures": {"failures": 17, "failures_by_message": {"503 PoolTimeout": 17}},
    "generator-saturated": {"generator_cpu": 0.95},
    "stolen": {"steal_cpu": 0.4},
    "throttled": {"throttled": 0.3},
    "hub-blocked": {"worker_cpu": 0.99},
    "warmup-skew": {"per_second": (40,) * 5 + (80,) * 5},
    "peak-above-size": {"peak_connections": 39},
    "other-load": {"other_cpu": 1.0},
    "uneven-workers": {"uneven": 0.4},
    "users-below-slots": {"size": 128},
    "queueing": {"wait_mean_ms": 700.0},
    "rate-missed": {"target_rps": 100.0},
    "late-arrivals": {"late_p95_ms": 300.0},
    "generator-late": {"late_p95_ms": 300.0, "target_rps": 79.0, "max_ms": 400.0},
    "search-stopped": {"steps": (Step(None, 90.0), Step(70.0, 60.0, "generator"))},
    "unaccounted-users": {"little_residual": 0.2},
    "short-window": {"window_s": 2.0},
}


EXPECTED = {"queueing", "rate-missed", "late-arrivals", "users-below-slots"}


def test_it_has_nothing_to_doubt_about_a_healthy_trial():
    assert for_trial(HEALTHY, PLAN) == ()


def test_it_does_not_say_of_a_search_that_found_no_rate_that_nothing_was_answered():
    none = replace(HEALTHY, rps=0.0, target_rps=4.4, steps=(Step(None, 9.0, "p95"), Step(4.4, 4.3, "p95")))
    assert for_trial(none, PLAN) == ()


def test_it_doubts_for_every_reason_that_there_is():
    assert DOUBTFUL.keys() == RULES.keys()


@pytest.mark.parametrize("code", DOUBTFUL)
def test_it_warns_with_cause_and_cure(code):
    (warning,) = for_trial(replace(HEALTHY, **DOUBTFUL[code]), PLAN)
    assert warning.code == code
    assert warning.cause
    assert warning.cure


@pytest.mark.parametrize("code", sorted(DOUBTFUL.keys() - EXPECTED))
def test_it_repeats_in_the_verdict_what_happened_in_a_trial_and_at_which_size(code):
    trials = [replace(HEALTHY, size=4, peak_connections=4), replace(HEALTHY, **DOUBTFUL[code])]
    (warning,) = [each for each in for_stack(trials, PLAN, CONDITIONS) if each.code == code]
    assert "1 of 2 trials, size 8" in warning.cause


def test_it_blames_the_users_for_late_requests_only_where_all_of_them_may_have_waited():
    """Of 64 users with 79 requests a second 32 at most had one under way while the slowest took 0.4 s: Locust stood
    still, and it asked for more of them."""
    late = replace(HEALTHY, late_p95_ms=300.0, target_rps=79.0, max_ms=400.0)
    (warning,) = for_trial(late, PLAN)
    assert (warning.code, "--processes 2" in warning.cure) == ("generator-late", True)
    for fewer, trial in ((32, late), (64, replace(late, max_ms=900.0))):
        (warning,) = for_trial(trial, replace(PLAN, users=fewer))
        assert (warning.code, "more --users" in warning.cure) == ("late-arrivals", True)
    assert "late-arrivals" in {each.code for each in for_trial(replace(late, failures=1), PLAN)}, (
        "of these no time is known"
    )


def test_it_gives_the_range_of_the_sizes_that_it_names():
    busy = ((2, 1.4), (16, 0.3), (4, 2.5))
    trials = [replace(HEALTHY, size=size, peak_connections=size, other_cpu=cpu) for size, cpu in busy]
    (warning,) = [each for each in for_stack([*trials, HEALTHY], PLAN, CONDITIONS) if each.code == "other-load"]
    assert "used 0.3 to 2.5 cores meanwhile (3 of 4 trials, size 2, 4, 16)" in warning.cause
    above = [replace(HEALTHY, size=size, peak_connections=peak) for size, peak in ((2, 39), (4, 20))]
    (warning,) = [each for each in for_stack([*above, HEALTHY], PLAN, CONDITIONS) if each.code == "peak-above-size"]
    assert "saw 20 to 39 connections where 2 to 4 may be open (2 of 3 trials, size 2, 4)" in warning.cause


def test_a_window_of_one_response_is_long_enough_where_the_rest_of_it_is_a_wait():
    """With 64 users and one slot a response of 6.4 s is a wait of 6.3 s. The window of 5 s holds 50 services, and what
    it says of throughput is right; it was to last 66 s."""
    queue = replace(HEALTHY, size=1, mean_ms=6400.0, wait_mean_ms=6300.0, peak_connections=1, rps=10.0)

    def said(**changes):
        return [each for each in for_trial(replace(queue, **changes), PLAN) if each.code == "short-window"]

    assert said(window_s=7.0) == []
    (warning,) = said(window_s=5.0)  # not each user was served in it
    assert "shorter than one response of 6,400 ms" in warning.cause
    assert warning.cure == "measure longer: --duration 13"
    (warning,) = said(window_s=7.0, wait_mean_ms=4000.0)  # so much of it may be a lock's
    assert "shorter than five times the 2,400 ms" in warning.cause
    assert warning.cure == "measure longer: --duration 24"
    assert said(window_s=7.0, wait_mean_ms=None, hold_mean_ms=101.0, efficiency=0.98) == []
    (warning,) = said(window_s=7.0, wait_mean_ms=None, hold_mean_ms=None)
    assert "shorter than five responses of 6,400 ms" in warning.cause
    assert warning.cure == "measure longer: --duration 64"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        # 8 users at a page that waits for 3 s elsewhere and then asks for 10 ms: 2.65 requests/s, and it showed 3.2.
        ({"mean_ms": 3000.0, "p95_ms": 3040.0, "hold_mean_ms": 13.0, "efficiency": 0.01}, "five responses of 3,040 ms"),
        # 2 slots of 0.9 s carry 2.22 requests/s, and it showed 2.0 and 2.4.
        (
            {"mean_ms": 3600.0, "p95_ms": 3800.0, "hold_mean_ms": 900.0, "efficiency": 1.0},
            "twenty times the 900 ms that a request is served",
        ),
        ({"mean_ms": 1800.0, "p95_ms": 1900.0, "hold_mean_ms": 900.0, "efficiency": 1.0}, ""),  # it goes on for 2 s
        ({"mean_ms": 3000.0, "p95_ms": 3040.0, "hold_mean_ms": 13.0, "efficiency": 0.01, "window_s": 16.0}, ""),
    ],
)
def test_a_window_of_pages_that_are_counted_as_they_end_holds_many_waves_of_them(changes, said):
    page = replace(HEALTHY, wait_mean_ms=None, **{"window_s": 5.0} | changes)
    plan = replace(PLAN, urls=("/orders/",), workload="urls")
    found = [each.cause for each in for_trial(page, plan) if each.code == "short-window"]
    assert "".join(found).partition("shorter than ")[2] == said


def test_it_advises_no_fewer_seconds_than_the_trials_of_another_size_have_already():
    """By default size 1 warms up for 7.7 s of 64 users; it was told to "warm up longer (--warmup 4)"."""
    plan, rising = planning.default(), {"per_second": (4,) * 4 + (60,) * 4}
    assert for_trial(replace(HEALTHY, **rising), plan)[0].cure.endswith("(--warmup 16)")
    late = replace(HEALTHY, rps=20.0, mean_ms=800.0)
    assert "--warmup 8)" in for_trial(late, plan)[0].cure
    short = replace(HEALTHY, mean_ms=2000.0, window_s=1.0, rps=32.0, wait_mean_ms=1900.0)
    assert "--duration 8" in " ".join(each.cure for each in for_trial(short, plan))


def test_it_counts_one_as_one():
    """It said "1 requests failed", "used 1 cores" and "1 users cannot fill 8 slots"."""
    one = replace(HEALTHY, failures=1, other_cpu=1.0, late_p95_ms=300.0, peak_connections=9)
    said = " ".join(each.cause for each in (*for_trial(one, Plan(users=1)), *for_stack([one], Plan(users=1), ALONE)))
    assert "1 request failed" in said
    assert "used 1 core meanwhile" in said
    assert "(p95): 1 user waited" in said
    assert "on 1 CPU" in said
    assert not re.search(r"\b1 (?!requests/s)[a-z]+s\b", said.lower())


def test_it_gives_the_range_of_each_size_whose_repeats_differ():
    told = {2: [38.0, 51.5, 60.0], 4: [70.0, 71.0, 72.0], 8: [100.0, 101.0, 102.0], 16: [160.0, 118.0, 120.0]}
    trials = [
        replace(HEALTHY, size=size, repeat=repeat, rps=rps, peak_connections=size)
        for size, values in told.items()
        for repeat, rps in enumerate(values, start=1)
    ]
    (warning,) = [each for each in for_stack(trials, PLAN, CONDITIONS) if each.code == "unstable-repeats"]
    assert warning.cause == "repeats differ: 38.0 to 60.0 at size 2, 118 to 160 at size 16 (requests/s)"


def test_it_says_what_is_not_the_same_in_a_line_of_its_own():
    trials = [
        replace(HEALTHY, failures=number, failures_by_message={message: number})
        for number, message in ((17, "503 {PoolTimeout}"), (2, "503 {PoolTimeout}"), (3, "reset"))
    ]
    causes = [each.cause for each in for_stack(trials, PLAN, CONDITIONS) if each.code == "failures"]
    assert [each.split(" (")[0] for each in causes] == ["2 to 17 requests failed", "3 requests failed"]
    assert [each.split(": ")[1] for each in causes] == [
        "503 {PoolTimeout} (2 of 3 trials, size 8)", "reset (1 of 3 trials, size 8)",
    ]  # fmt: skip


def test_it_says_nothing_in_the_verdict_of_queues_and_a_missed_rate_at_small_sizes_and_empty_slots_at_large_ones():
    trials = [
        replace(HEALTHY, size=1, wait_mean_ms=6000.0, peak_connections=1, target_rps=100.0),
        replace(HEALTHY, size=128, wait_mean_ms=0.0),
    ]
    assert {each.code for each in for_stack(trials, PLAN, CONDITIONS)} == {"one-repeat"}


def test_it_does_not_take_waves_or_chance_for_a_warm_up():
    assert for_trial(replace(HEALTHY, per_second=(0, 8, 8, 8, 0, 8, 0, 8, 8, 8)), PLAN) == ()
    assert for_trial(replace(HEALTHY, per_second=(0,) * 10), PLAN) == ()


def test_it_doubts_repeats_that_differ():
    stable, unstable = trials_of(hinge(16), noise=0.02), trials_of(hinge(16), noise=0.3)
    assert "unstable-repeats" not in [each.code for each in for_stack(stable, PLAN, CONDITIONS)]
    assert "unstable-repeats" in [each.code for each in for_stack(unstable, PLAN, CONDITIONS)]


def test_it_doubts_a_machine_that_was_busy_before():
    assert "loaded-before" in [e.code for e in for_stack([HEALTHY], PLAN, replace(CONDITIONS, load_before=1.5))]


def test_it_says_when_something_else_burned_a_core_for_a_whole_repeat_and_judges_inside_the_repeats():
    quiet = trials_of(hinge(16), other_cpu=0.02)
    burned = [replace(t, other_cpu=1.0, rps=0.7 * t.rps) if t.repeat == 2 else t for t in quiet]
    verdict = judge(Plan(users=1000), burned, CONDITIONS)[0]
    assert {"other-load", "drift"} <= {each.code for each in verdict.warnings}
    assert (verdict.shape, verdict.max_conns) == ("knee", 16)


def test_it_does_not_doubt_a_failed_trial_whose_error_says_all():
    assert for_trial(TrialResult("pooldemo", 8, 1, error="gunicorn did not start"), PLAN) == ()


def test_it_does_not_blame_the_generator_for_users_that_were_not_served_yet():
    early = replace(HEALTHY, size=1, peak_connections=1, rps=10.0, mean_ms=4000.0, little_residual=0.4)
    (warning,) = [each for each in for_trial(early, PLAN) if each.code == "unaccounted-users"]
    assert warning.cause.startswith("the window began before each user had been served, which takes 6.40 s")
    assert warning.cure.startswith("warm up longer (--warmup 8)")


def test_it_writes_no_number_with_an_exponent():
    lost = replace(HEALTHY, rps=0.0, failures=800, other_cpu=130.0)
    causes = " ".join(each.cause for each in for_stack([lost], PLAN, replace(CONDITIONS, load_before=256.0)))
    assert "800 requests failed (100%)" in causes
    assert "used 130 cores" in causes
    assert "load 260 on 2 CPUs" in causes
    assert "e+" not in causes
