"""An SLO is met, missed or undecided, and hardly ever met by luck."""

import math
import random
from collections import Counter
from dataclasses import replace
from itertools import count

import pytest
from synthetic import trials_of

from benchmarks.verdicts.truth import POWERS, hinge
from pooldemo.sweep.analyse.latency import Spread, quantile_ms
from pooldemo.sweep.analyse.objective import Objective, bursts, least_requests, share_bounds
from pooldemo.sweep.analyse.slo import parse_slo
from pooldemo.sweep.analyse.statistics import student_t
from pooldemo.sweep.facts import Plan, TrialResult

SWEEPS = 80


def _plan(slo, **fields):
    return Plan(users=1000, slo=parse_slo(slo), **fields)


def _noisy(p95_ms, noise, seed, sizes=POWERS, repeats=3, blocks=0.0):
    """A sweep whose true p95 is the same at every size, with noise of trials and of whole repeats."""
    chance = random.Random(seed)
    levels = [chance.gauss(0, blocks) for _ in range(repeats)]
    return [
        replace(trial, p95_ms=p95_ms * math.exp(chance.gauss(0, noise) + levels[trial.repeat - 1]))
        for trial in trials_of(hinge(16), sizes, repeats=repeats)
    ]


@pytest.mark.parametrize(("noise", "blocks"), [(0.05, 0.0), (0.01, 0.05)])
def test_it_calls_a_limit_that_is_missed_by_2_percent_met_in_5_percent_of_the_sweeps_at_most(noise, blocks):
    plan = _plan("p95=300")
    lucky = 0
    for seed in range(SWEEPS):
        objective = Objective(plan, _noisy(306, noise, seed, blocks=blocks))
        lucky += any(objective.state(size) == "met" for size in POWERS)  # the luckiest of seven is found
    assert lucky <= 0.05 * SWEEPS


@pytest.mark.parametrize(("p95_ms", "state"), [(240, "met"), (360, "missed")])
def test_it_decides_what_is_far_from_the_limit(p95_ms, state):
    said = Counter(Objective(_plan("p95=300"), _noisy(p95_ms, 0.03, seed)).state(16) for seed in range(SWEEPS))
    assert said[state] >= 0.95 * SWEEPS


def test_it_is_undecided_near_the_limit_and_says_which_repeats_would_decide_it():
    plan = _plan("p95=300")
    objective = next(o for o in (Objective(plan, _noisy(296, 0.03, n)) for n in count()) if o.state(16) == "undecided")
    (check,) = objective.checks(16)
    assert check.low < check.seen < check.high
    repeats = int(objective.needs(16).removeprefix("--repeats "))
    assert 3 < repeats < 100
    assert Objective(plan, _noisy(293, 0.03, 1, sizes=(8, 16), repeats=25)).state(16) == "met"


def test_it_decides_nothing_on_one_repeat():
    objective = Objective(_plan("p95=300"), _noisy(100, 0.02, 1, repeats=1))
    assert (objective.state(16), objective.needs(16)) == ("undecided", "--repeats 3")
    some = Objective(_plan("p95=300"), _noisy(100, 0.02, 1, repeats=1), least=4)
    assert some.needs(16) == "--repeats 4", "it had three, and two failed"
    once = Objective(replace(_plan("p95=300"), repeats=1), _noisy(100, 0.02, 1, repeats=1))
    assert once.needs(16) == "--repeats 3", "two tell little more"


def test_it_asks_for_as_many_repeats_as_would_decide_if_they_scatter_as_those_there_are():
    trials = _noisy(290, 0.03, 0)
    objective = Objective(_plan("p95=300"), trials)
    error, freedom = Spread(trials, "p95_ms")._fit.error({16: 1.0})
    gap = math.log(300 / objective.checks(16)[0].seen)

    def half(repeats):
        return student_t(1 - 0.05 / objective._among, freedom * (repeats - 1) / 2) * error * math.sqrt(3 / repeats)

    assert objective.state(16) == "undecided"
    needed = int(objective.needs(16).removeprefix("--repeats "))
    assert half(needed) <= gap < half(needed - 1)


def test_two_repeats_that_lie_apart_as_a_whole_ask_for_a_few_more():
    """It asked for 77: of two nobody knows how far repeats lie apart, and of a few one does."""
    trials = [TrialResult("a", size, n, rps=9, requests=9999, p95_ms=100.0 + 10 * n) for size in (4, 8) for n in (1, 2)]
    objective = Objective(_plan("p95=150"), trials)
    assert (objective.state(8), objective.needs(8)) == ("undecided", "--repeats 3")


@pytest.mark.parametrize("sizes", [(8,), (4, 8), POWERS])
@pytest.mark.parametrize("repeats", [2, 3, 5])
def test_a_clause_is_met_or_missed_by_the_interval_that_is_shown(sizes, repeats):
    """With 282 ms, 262 ms to 303 ms, 300 ms counted as kept: one end of the interval was tested, and another shown."""
    plan, seen = _plan("p95=300,errors=1%"), Counter()
    for seed in range(60):
        chance = random.Random(seed)
        trials = [
            replace(each, failures=chance.choice([0, 0, 4, 9, 20]))
            for each in _noisy(chance.uniform(270, 330), 0.02, seed, sizes, repeats)
        ]
        objective = Objective(plan, trials)
        for check in (check for size in sizes for check in objective.checks(size) if check.low is not None):
            kept, at_most = (check.high <= check.limit.at_most, check.low > check.limit.at_most), check.limit.at_most
            assert check.state == {(True, False): "met", (False, True): "missed"}.get(kept, "undecided"), at_most
            seen[check.limit.metric, check.state] += 1
    assert len(seen) >= 5


@pytest.mark.parametrize(("metric", "least"), [("p50", 5), ("p95", 59), ("p99", 299)])
def test_it_meets_no_percentile_with_too_few_requests(metric, least):
    assert least_requests(f"{metric}_ms") == least
    for requests, state in ((least - 1, "undecided"), (least, "met")):
        trials = [
            TrialResult("pooldemo", 8, n, rps=9, requests=requests if n == 1 else 0, **{f"{metric}_ms": 10.0})
            for n in (1, 2, 3)
        ]
        objective = Objective(_plan(f"{metric}=300"), trials)
        assert objective.state(8) == state
    assert (
        Objective(_plan(f"{metric}=300"), [replace(each, requests=1) for each in trials])
        .needs(8)
        .startswith("--duration ")
    )


def _histogram(*latencies, failures=0, repeats=3):
    return [
        TrialResult(
            "pooldemo", 8, n, rps=10, p50_ms=1, p95_ms=1, requests=sum(c for _, c in latencies) + failures,
            failures=failures, latencies=latencies,
        )
        for n in range(1, repeats + 1)
    ]  # fmt: skip


def test_it_takes_percentiles_of_all_requests_and_not_means_of_percentiles():
    slow, fast = _histogram((10.0, 50), (400.0, 50)), _histogram((10.0, 200))
    mixed = [replace(each, p95_ms=ms) for each, ms in zip((slow[0], *fast[:2]), (400.0, 10.0, 10.0), strict=True)]
    assert quantile_ms(mixed, "p95_ms") == 400
    assert quantile_ms(mixed, "p50_ms") == 10


def test_it_counts_a_failed_request_as_an_answer_that_never_came():
    trials = _histogram((10.0, 94), (500.0, 4), failures=2)
    assert quantile_ms(trials, "p95_ms") == 10  # of the 98 that came
    assert quantile_ms(trials, "p95_ms", failures_count=True) == 500
    many = _histogram((10.0, 90), failures=10)
    objective = Objective(_plan("p95=300"), many)
    (check,) = objective.checks(8)
    assert (check.seen, check.state) == (None, "missed")


def test_it_counts_failures_and_how_many_requests_it_takes_to_see_none():
    def of(failures, requests):
        trials = [TrialResult("pooldemo", 8, n, rps=9, requests=requests, failures=failures) for n in (1, 2, 3)]
        return Objective(_plan("errors=0.1%"), trials)

    assert [of(*each).state(8) for each in ((0, 1000), (0, 100), (0, 10_000), (1, 1000), (10, 1000))] == [
        *("met", "undecided", "met", "undecided", "missed")
    ]
    assert of(0, 100).needs(8) == "--duration 55"
    assert of(1, 1000).needs(8) == "--repeats 6", "requests enough: twice the repeats"
    long = replace(_plan("errors=0.0001%"), duration_s=600.0)
    rare = [TrialResult("pooldemo", 8, n, rps=9, requests=33_400) for n in (1, 2, 3)]
    assert Objective(long, rare).needs(8) == "--repeats 99", "no trial may last so long"
    never = Objective(_plan("errors=0.00000000001%"), [TrialResult("pooldemo", 8, 1, rps=9, requests=100)])
    assert never.needs(8) == "", "nor may there be so many"
    assert Objective(_plan("errors=0%"), _histogram((1.0, 10))).state(8) == "met"


def test_it_believes_failures_that_come_in_bursts_less():
    def low(*failures):
        trials = [TrialResult("pooldemo", 8, n, rps=9, requests=1000, failures=f) for n, f in zip(count(1), failures)]
        return Objective(_plan("errors=0.5%"), trials).checks(8)[0].low

    assert low(10, 10, 10) > low(0, 0, 30)
    squares, freedom = bursts(counts := [(0, 1000), (0, 1000), (30, 1000)])
    assert (squares, freedom) == (pytest.approx(60.606, rel=1e-4), 2)
    assert share_bounds(counts, 0.95) == share_bounds(counts, 0.95, squares / freedom)
    assert share_bounds([(0, 1000)], 0.95, 10.0)[1] == pytest.approx(0.0295, rel=0.01), "ten times as many as without"


def test_it_shares_the_doubt_among_the_sizes_that_may_be_the_lucky_one():
    def tries(others):
        seen = [(8, 1, 282.0), (8, 2, 290.0), (8, 3, 275.0), *((16, n, others + n) for n in (1, 2, 3))]
        trials = [TrialResult("a", size, n, rps=9, requests=9999, p95_ms=ms) for size, n, ms in seen]
        return Objective(_plan("p95=300"), trials)._among

    assert [tries(150.0), tries(900.0)] == [2, 1], "one that surely misses it is no try"


def test_it_calls_no_latency_short_enough_while_a_closed_loop_missed_its_rate():
    trials = [replace(each, max_ms=2500.0) for each in _noisy(100, 0.01, 1)]
    assert Objective(_plan("p95=300", rate=1000.0), trials).state(16) == "undecided"  # 1,000 users: one each second
    assert Objective(_plan("p95=300", rate=100.0), trials).state(16) == "met"
    assert Objective(_plan("p95=50", rate=1000.0), trials).state(16) == "missed"
    open_loop = [replace(each, late_p95_ms=2000.0, rps=1000.0) for each in trials]
    assert Objective(_plan("p95=300", rate=1000.0), open_loop).state(16) == "met", "its latencies count from when due"


@pytest.mark.parametrize("sizes", [(1, 2, 4, 8, 16), (4, 8, 16)])
@pytest.mark.parametrize("repeats", [3, 2])
def test_a_size_whose_repeats_differ_far_more_than_the_others_seldom_meets_it_by_luck(sizes, repeats):
    """10% at one size, 1% elsewhere: by the noise of all it was met in 11% to 17% of the sweeps, 2% above the limit,
    and in 10% where two repeats of it agreed by luck."""
    plan, lucky = _plan("p95=300"), 0
    for seed in range(200):
        chance = random.Random(f"restless {seed}")
        trials = [
            replace(each, p95_ms=ms * math.exp(chance.gauss(0, noise)))
            for each in trials_of(hinge(16), sizes, repeats=repeats)
            for ms, noise in [(306, 0.10) if each.size == 8 else (600, 0.01)]
        ]
        lucky += Objective(plan, trials).state(8) == "met"
    assert lucky <= 0.05 * 200


@pytest.mark.parametrize(("repeats", "below"), [(3, 0.95), (2, 0.90)])
def test_a_calm_size_meets_a_limit_that_it_keeps(repeats, below):
    """At a noise of 1%: 5% below with three repeats, 10% below with two."""
    said = Counter(Objective(_plan("p95=300"), _noisy(300 * below, 0.01, n, POWERS[:5], repeats)).state(8)
                   for n in range(100))  # fmt: skip
    assert said["met"] >= 90


def test_it_is_hardly_ever_met_by_luck_with_few_requests():
    """Log-normal latencies whose p95 is 2% above the limit, 20 in each of three repeats."""
    lucky, longest = 0, 300 * 1.02
    for seed in range(SWEEPS):
        chance = random.Random(seed)
        trials = []
        for repeat in (1, 2, 3):
            ms = sorted(round(longest * math.exp(0.4 * (chance.gauss(0, 1) - 1.645)), 1) for _ in range(20))
            pairs = tuple(sorted(Counter(ms).items()))
            trials.append(TrialResult("pooldemo", 8, repeat, rps=9, p95_ms=ms[18], requests=20, latencies=pairs))
        lucky += Objective(_plan("p95=300"), trials).state(8) == "met"
    assert lucky <= 0.05 * SWEEPS


def test_it_calls_no_latency_short_enough_while_the_line_grows():
    plan = _plan("p95=300", rate=100.0, poisson=True)

    def state(rps):
        seen = [replace(each, rps=rps, window_s=5.0, late_p95_ms=1.0) for each in _noisy(100, 0.01, 1, sizes=(8, 16))]
        return Objective(plan, seen).state(16)

    assert [state(100.0), state(90.0), state(70.0)] == ["met", "met", "undecided"], "90 of 100 may be chance"
    seen = Objective(plan, [replace(each, rps=70.0, window_s=5.0) for each in _noisy(100, 0.01, 1, sizes=(8, 16))])
    assert seen.needs(16) == "--users 2000"


def test_it_counts_the_requests_of_a_repeat_in_which_none_succeeded():
    """Four of twelve failed, in a repeat of its own: it was judged as a document without histograms is."""
    trials = [
        TrialResult("a", 8, n, rps=9, requests=4, p50_ms=100.0 + n, latencies=((100.0 + n, 4),)) for n in (1, 2, 3)
    ]
    failed = TrialResult("a", 8, 3, requests=4, failures=4)
    states = [Objective(_plan("p50=300"), [*trials[:2], each]).state(8) for each in (trials[2], failed)]
    assert states == ["met", "undecided"]


def test_it_knows_nothing_of_a_size_without_an_answer():
    assert Objective(_plan("p95=300,errors=1%"), []).state(8) == "undecided"


def test_its_bounds_of_a_share_are_those_of_wilson():
    """Newcombe 1998, table I: 81 of 263, 15 of 148, 1 of 29."""
    for (failed, requests), wanted in {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (1, 29): (0.0061, 0.1718),
    }.items():
        assert share_bounds([(failed, requests)], 0.975) == pytest.approx(wanted, abs=6e-5)
    assert share_bounds([(0, 0)], 0.95) == (0.0, 1.0)
    assert share_bounds([(9, 9)], 0.95)[1] == 1.0
    assert bursts([(0, 9), (0, 9)]) == bursts([(9, 9)]) == (0.0, 0)


def test_the_slowest_request_is_what_was_seen_and_is_held_against_no_interval():
    states = [
        Objective(_plan("max=100"), [TrialResult("a", 8, 1, rps=9, requests=9, max_ms=ms)]).state(8)
        for ms in (100.0, 101.0)
    ]
    assert states == ["met", "missed"]


def test_it_takes_more_requests_to_see_no_failure_at_the_luckiest_of_several_sizes():
    trials = [TrialResult("pooldemo", size, n, rps=9, requests=100) for n in (1, 2, 3) for size in (4, 8)]
    assert Objective(_plan("errors=0.1%"), trials).needs(8) == "--duration 68"


@pytest.mark.parametrize(("warmup_s", "state", "needs"), [(1.0, "undecided", "--warmup 8"), (8.0, "met", "")])
def test_it_calls_no_latency_short_enough_before_each_user_was_served_once(warmup_s, state, needs):
    """Seen with `--url`: 256 users on two slots of 50 ms, 6.6 s each in the end, and p95 2.9 s after 1 s of warm-up."""
    trials = [
        TrialResult("pooldemo", 2, n, rps=38.7, requests=1000, mean_ms=2000.0 + n, p95_ms=2900.0 + n) for n in (1, 2, 3)
    ]
    plan = Plan(users=256, workload="urls", urls=("/",), warmup_s=warmup_s, slo=parse_slo("p95=5000"))
    assert (Objective(plan, trials).state(2), Objective(plan, trials).needs(2)) == (state, needs)
    missed = Objective(replace(plan, slo=parse_slo("p95=2000")), trials)
    assert missed.state(2) == "missed", "it will not become shorter"
    own = replace(plan, workload="locustfile", urls=(), locustfile="theirs.py")
    assert Objective(own, trials).state(2) == "met", "whose users may pause"
    opened = [replace(each, target_rps=38.7, late_p95_ms=1.0, window_s=5.0) for each in trials]
    assert Objective(replace(plan, rate=38.7), opened).state(2) == "met"


def test_it_asks_for_fewer_users_where_none_may_wait_so_long():
    trials = [
        TrialResult("pooldemo", 1, n, rps=1.0, requests=1000, mean_ms=9000.0, p95_ms=9000.0 + n) for n in (1, 2, 3)
    ]
    assert Objective(Plan(users=1000, slo=parse_slo("p95=60000")), trials).needs(1) == "--users 500"
