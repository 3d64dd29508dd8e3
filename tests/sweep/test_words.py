"""What a verdict says is true of the numbers beside it, whatever was measured."""

import math
import random
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from synthetic import CONDITIONS, trials_of, verdict_of

from benchmarks.verdicts.truth import CURVES, NOISES, POWERS, flat, hinge, power, sweep
from pooldemo.sweep import plan as planning
from pooldemo.sweep.analyse.judge import judge, weigh
from pooldemo.sweep.analyse.objective import Objective
from pooldemo.sweep.analyse.slo import parse_slo
from pooldemo.sweep.facts import Plan, SweepResult, TrialResult
from pooldemo.sweep.report import answer
from pooldemo.sweep.report.figures import load_of

PLAN = Plan(users=1000)
WITHIN = re.compile(r"From (\d+) to (\d+) slots throughput stays within ([\d.]+)% of ([\d.,]+) ")
BUT = re.compile(r"but for [\d.,<]+ at (\d+)")


def number(text: str) -> float:
    return float(text.replace(",", ""))


def test_it_calls_no_curve_level_at_a_size_that_carries_less() -> None:
    dip = verdict_of(lambda size: 70 if size == 4 else 100, noise=0.001)
    assert dip.shape == "flat"
    assert "From 1 to 64 slots throughput stays within 5% of 100 requests/s, but for 70" in dip.because
    assert " at 4: the pool is not your bottleneck." in dip.because


def test_it_says_that_more_slots_are_slower_also_where_whole_repeats_differ() -> None:
    """A machine that is half as fast in one repeat makes each interval wide; sizes are compared inside the repeats."""
    trials = [
        replace(each, rps=each.rps * (1, 0.5, 0.8)[each.repeat - 1])
        for each in trials_of(lambda size: 100 * size**-0.05, noise=0.01)
    ]
    (verdict,) = judge(PLAN, trials, CONDITIONS)
    assert verdict.shape == "flat"
    assert verdict.because.startswith("More slots make it slower: ")


def test_it_names_the_range_where_repeats_scatter_by_more_than_the_margin() -> None:
    said = [verdict_of(flat, noise=0.04, seed=seed).because for seed in range(60)]
    lucky = [each for each in said if "differs by no more than luck" in each]
    assert lucky
    for each in lucky:
        found = re.search(r"luck, from ([\d.]+) to ([\d.]+) requests/s: the pool", each)
        assert found
        assert number(found[2]) / number(found[1]) > 1.05


@pytest.mark.parametrize(
    ("ms", "state", "said"),
    [
        (100.0, "met", "--sizes 4,8,16."),
        (400.0, "missed", "No measured size meets the SLO p95 <= 300 ms (measured 401 ms, "),
        (298.0, "undecided", "Whether MAX_CONNS=8 meets the SLO p95 <= 300 ms (measured 299 ms, "),
    ],
)
def test_it_says_of_one_size_whether_it_meets_the_slo(ms: float, state: str, said: str) -> None:
    """Whoever asks of the size that they have was told that one point has no knee, and that the SLO is undecided."""
    trials = [
        replace(each, p95_ms=ms * (1 + each.repeat / 1000)) for each in trials_of(hinge(16), sizes=(8,), noise=0.01)
    ]
    (verdict,) = judge(replace(PLAN, sizes=(8,), slo=parse_slo("p95=300")), trials, CONDITIONS)
    assert (verdict.shape, verdict.max_conns, verdict.slo and verdict.slo.state) == ("invalid", None, state)
    assert [check.state for check in verdict.checks] == [state]
    assert said in verdict.because
    assert "None" not in verdict.because


def test_it_does_not_say_of_a_size_that_it_misses_an_slo_that_nobody_can_decide() -> None:
    def ms(trial: TrialResult) -> float:
        return 100.0 if trial.size < 16 else (290.0, 320.0, 280.0)[trial.repeat - 1]

    trials = [replace(each, p95_ms=ms(each)) for each in trials_of(hinge(16), noise=0.01)]
    (verdict,) = judge(replace(PLAN, slo=parse_slo("p95=300")), trials, CONDITIONS)
    assert (verdict.max_conns, verdict.slo and verdict.slo.state) == (8, "met")
    assert "But whether 16 meets the SLO is undecided: use 8" in verdict.because


def test_it_says_that_most_trials_failed_where_they_did() -> None:
    trials = [
        replace(each, failures=300, error="no server came up" if (each.size, each.repeat) == (8, 2) else "")
        for each in trials_of(hinge(16), noise=0.01)
    ]
    (verdict,) = judge(PLAN, trials, CONDITIONS)
    assert (verdict.shape, verdict.cause) == ("invalid", "failures")
    assert verdict.because.startswith("Requests failed at every size, so there is nothing to judge: at 1 30% failed")


def test_it_calls_no_request_failed_that_is_not_answered_yet() -> None:
    """Users who log in first, say, in a window that is shorter."""
    trials = [replace(each, rps=0.0, requests=0, failures=0) for each in trials_of(hinge(16), noise=0.01)]
    (verdict,) = judge(replace(PLAN, duration_s=2.0), trials, CONDITIONS)
    assert (verdict.shape, verdict.cause) == ("invalid", "failures")
    assert verdict.because == (
        "No request was answered while a trial measured, so there is nothing to judge. Measure for longer than an "
        "answer takes: --duration 20."
    )


def test_it_says_what_failed_at_a_size_that_is_left_out() -> None:
    broken = verdict_of(hinge(16), noise=0.01, error=lambda size: "no server came up" if size == 64 else "")
    assert "Left out: size 64 (no server came up)." in broken.because
    below = verdict_of(hinge(16), noise=0.01, error=lambda size: "no server came up" if size == 8 else "")
    assert "requests/s: at 8 trials fail, and 32 gives no more" in below.because
    assert "requests failed" not in broken.because + below.because


def test_it_names_no_size_of_which_most_trials_did_not_run() -> None:
    """The server is killed at 16 in two repeats of three: the one that went well is not the rule there."""
    trials = [
        replace(each, rps=0.0, error="the server ended with -9") if (each.size, each.repeat > 1) == (16, True) else each
        for each in trials_of(hinge(16), noise=0.01)
    ]
    (verdict,) = judge(PLAN, trials, CONDITIONS)
    assert verdict.max_conns == 32
    assert "at 16 trials fail" in verdict.because
    assert "Left out: size 16 (the server ended with -9)." in verdict.because


@pytest.mark.parametrize("noise", [0.0, 0.002])
def test_it_says_by_how_much_repeats_differ_where_that_is_little(noise: float) -> None:
    verdict = verdict_of(hinge(16), noise=noise, plan=replace(PLAN, margin=0.1))
    assert (verdict.shape, verdict.cause) == ("invalid", "noise")
    assert "differ by 0.5%" in verdict.because


def test_it_advises_no_more_repeats_than_there_may_be() -> None:
    plan = replace(PLAN, sizes=(8, 16), repeats=100, margin=0.1)
    hopeless = verdict_of(hinge(16), plan=plan, sizes=(8, 16), repeats=100, noise=0.1)
    assert (hopeless.cause, hopeless.needs) == ("noise", "")
    assert "Nor could 100 repeats tell: it takes a wider --margin, or a quieter machine." in hopeless.because
    plan = replace(PLAN, sizes=(8, 16), repeats=100, slo=parse_slo("p95=300"))
    near = trials_of(hinge(16), sizes=(8, 16), repeats=100, noise=0.01, p95_ms=300.0)
    (verdict,) = judge(plan, near, CONDITIONS)
    assert (verdict.slo and verdict.slo.state, verdict.needs) == ("undecided", "")


def test_it_advises_longer_trials_where_a_percentile_has_too_few_requests_above_it() -> None:
    trials = [
        TrialResult("a", size, n, rps=20.0, requests=100, p95_ms=200.0, latencies=((100.0, 90), (200.0, 6), (400.0, 4)))
        for n in (1, 2, 3)
        for size in (4, 8)
    ]
    seen = Objective(Plan(users=10, slo=parse_slo("p95=300")), trials)
    assert (seen.state(8), seen.needs(8)) == ("undecided", "--duration 11")


def test_it_advises_more_users_where_the_slowest_request_was_sent_late() -> None:
    """It ended with a ZeroDivisionError after all was measured."""
    slow = [
        TrialResult("a", size, n, rps=20.0, requests=100, max_ms=200.0, window_s=5.0) for n in (1, 2) for size in (4, 8)
    ]
    seen = Objective(Plan(users=10, rate=50.0, poisson=True, slo=parse_slo("max=300")), slow)
    assert (seen.state(8), seen.needs(8)) == ("undecided", "--users 20")


def test_it_says_why_an_slo_is_undecided_whose_interval_keeps_the_limit() -> None:
    """Of 300 ms it said "measured 101 ms, 98.0 ms to 104 ms, undecided", and not a word why."""

    def said(plan: Plan, repeats: int = 3, **fields: Any) -> str:
        trials = [
            replace(each, **{"p95_ms": 100.0 + each.repeat, "p50_ms": 60.0} | fields)
            for each in trials_of(hinge(8), sizes=(4, 8, 16), repeats=repeats, noise=0.002)
        ]
        (verdict,) = judge(replace(plan, sizes=(4, 8, 16)), trials, CONDITIONS)
        return verdict.because.partition(" is undecided, since ")[2]

    plan = replace(PLAN, slo=parse_slo("p95=300"))
    assert said(plan, requests=15).startswith("45 requests are too few to tell: --duration ")
    assert said(plan, mean_ms=100.0).startswith("the window began before each user had been served: --warmup ")
    assert said(replace(plan, rate=200.0), window_s=5.0, late_p95_ms=1.0) == (
        "requests were sent late, or answered more slowly than they came: --users 2000."
    )
    assert said(plan) == "", "the interval says it"
    (once,) = judge(plan, trials_of(hinge(8), sizes=(8,), repeats=1, p95_ms=100.0), CONDITIONS)
    assert once.because.endswith(" (measured 100 ms) is undecided, since it was not repeated: --repeats 3.")
    (unknown,) = judge(plan, trials_of(hinge(8), sizes=(8,)), CONDITIONS)
    assert unknown.because.endswith(" (measured -) is undecided."), "no percentile: no repeat would tell it"


def test_it_needs_nothing_for_one_clause_where_another_is_missed() -> None:
    """Its `needs` said --repeats 3, or --users 2000, beside a sentence that the SLO is missed and wants fewer users."""
    trials = [
        replace(each, p50_ms=200.0 + each.repeat, p95_ms=290.0 + 6 * each.repeat)
        for each in trials_of(hinge(8), sizes=(4, 8, 16), noise=0.002)
    ]
    (verdict,) = judge(replace(PLAN, sizes=(4, 8, 16), slo=parse_slo("p50=100,p95=300")), trials, CONDITIONS)
    assert [check.state for check in verdict.checks] == ["missed", "undecided"]
    assert (verdict.slo and verdict.slo.state, verdict.needs) == ("missed", "")


def test_it_says_that_none_is_answered_where_none_failed() -> None:
    trials = [
        replace(each, rps=0.0, requests=0) if each.size == 8 else each for each in trials_of(hinge(16), noise=0.01)
    ]
    (verdict,) = judge(PLAN, trials, CONDITIONS)
    assert ": at 8 none is answered, and 32 gives no more" in verdict.because
    assert "Left out: size 8 (no answer)." in verdict.because
    beyond = [each if each.size < 16 else replace(each, rps=0.0, requests=0) for each in trials_of(power(0.9))]
    (rising,) = judge(PLAN, beyond, CONDITIONS)
    assert "at 16 none is answered" in rising.because
    assert "at larger ones none is answered" in answer.of_stack(SweepResult(PLAN, CONDITIONS, tuple(beyond)), rising)


def test_it_blames_no_machine_for_users_who_come_at_random() -> None:
    """Of 60/s for 2 s, 120 come, or 110, or 130: on a quieter machine as well."""
    trials = trials_of(lambda _: 60.0, sizes=(4, 8), noise=0.09, seed=3)
    plan = replace(PLAN, sizes=(4, 8), rate=60.0, poisson=True, duration_s=2.0)
    said = [judge(each, trials, CONDITIONS)[0].because for each in (plan, replace(plan, poisson=False))]
    assert said[0].endswith(", or a longer --duration: in 2 s the arrivals at random differ by 9.1% themselves.")
    assert said[1].endswith(", on a quieter machine.")


def test_it_calls_one_user_the_only_one() -> None:
    """Of `--users 1` it said "each of the 1 users", and "all 1 of them"."""
    alone = verdict_of(power(0.9), sizes=(1, 2), plan=Plan(users=1), noise=0.01)
    assert alone.because.startswith("Throughput rises until the only user has a slot: 2 slots carry ")
    assert alone.saturated == "the users: the only one has a slot"
    told = SweepResult(Plan(users=1), CONDITIONS, verdicts=(alone,))
    assert answer.headline(told).startswith("MAX_CONNS=2 is enough for 1 user: ")
    assert load_of(told).endswith(", 1 user")


def test_it_advises_no_size_that_postgresql_has_no_connections_for() -> None:
    few = replace(CONDITIONS, room=17)
    assert verdict_of(hinge(16), sizes=(16,), conditions=few).needs == "--sizes 8,16"


@pytest.mark.parametrize("failed", [0, 1])
def test_it_advises_no_other_sizes_while_those_that_were_asked_for_are_to_come(failed: int) -> None:
    """Interrupted after the first of 1,2,4,8,16, it advised `--sizes 2,4,8`, beside `--resume`."""
    trials = trials_of(hinge(16), sizes=(2, 4), repeats=1)
    begun = [replace(each, error="it broke" if each.size == 2 else "") for each in trials][1 - failed :]
    verdict = judge(replace(PLAN, sizes=(1, 2, 4, 8, 16)), begun, CONDITIONS)[0]
    assert verdict.needs == ""
    assert verdict.because.endswith(" The rest of this sweep measures others.")
    alone = judge(replace(PLAN, sizes=tuple(each.size for each in begun)), begun, CONDITIONS)[0]
    assert alone.needs in alone.because
    assert alone.needs.startswith("--sizes ")


def any_curve(chance: random.Random) -> Callable[[int], float]:
    """A known one, or one that goes up and down as it likes."""
    if chance.random() < 0.6:
        return chance.choice([*CURVES.values()])
    apart, seed = chance.choice([0.02, 0.1, 0.5]), chance.random()
    return lambda size: 100 * math.exp(random.Random(f"{seed} {size}").gauss(0, apart))


def any_trials(chance: random.Random, sizes: tuple[int, ...], repeats: int) -> list[TrialResult]:
    observations = sweep(any_curve(chance), sizes, chance.randrange(10**6), chance.choice([*NOISES.values()]),
                         repeats=repeats)  # fmt: skip
    failing, odd, ms = chance.choice(sizes), chance.random(), chance.choice([100.0, 250.0, 290.0, 400.0])
    trials = []
    for each in observations:
        error = "no server came up" if odd < 0.1 and chance.random() < 0.3 else ""
        spoiled = (0.1 < odd < 0.2 and each.size == failing) or (0.2 < odd < 0.3 and chance.random() < 0.2)
        p95_ms = ms * chance.gauss(1, 0.05)
        trials.append(
            TrialResult(
                "pooldemo", each.size, each.block, rps=0.0 if error else each.value, requests=1000, p95_ms=p95_ms,
                failures=200 if spoiled and not error else 0, error=error, query_mean_ms=10.0,
            )
        )  # fmt: skip
    return trials


def false_words(plan: Plan, trials: list[TrialResult]) -> list[str]:
    """What the verdict says that the numbers do not."""
    own = tuple(sorted(trials, key=lambda each: (each.size, each.repeat)))
    (verdict,), weighed = judge(plan, trials, CONDITIONS), weigh(plan, own, CONDITIONS)
    said, found = verdict.because, []
    carried = {size: each.mean for size, each in weighed.knee.intervals.items()}
    if level := WITHIN.search(said):
        excepted = {int(size) for size in BUT.findall(said)}
        inside = {size for size in carried if size not in excepted}
        mean, margin = number(level[4]), number(level[3]) / 100 + 0.006  # the mean is rounded
        if any(abs(carried[size] / mean - 1) > margin for size in inside):
            found.append("not level")
        if any(carried[size] / mean - 1 > -plan.margin / 100 + 0.006 for size in excepted):
            found.append("level as well")
        if (min(inside), max(inside)) != (int(level[1]), int(level[2])):
            found.append("not from there to there")
    if re.search(r"(\d+) gives no less", said) and verdict.shape == "knee":
        found.append("a knee above a size that is as good")
    if (moved := re.search(r"But (\d+) misses the SLO", said)) and weighed.knee_slo != "missed":
        found.append(f"{moved[1]} does not miss it")
    if "Most trials failed" in said and 2 * sum(bool(each.error) for each in trials) <= len(trials):
        found.append("most ran")
    if "requests fail" in said and not any(each.failures for each in trials):
        found.append("no request failed")
    if (more := re.search(r"--repeats (\d+)", said)) and not plan.repeats < int(more[1]) <= planning.MAX_REPEATS:
        found.append("no such repeats")
    if re.search(r"differ by 0(\.0)?%", said):
        found.append("no difference")
    return [f"{each}: {said}" for each in found]


def test_what_it_says_is_true_of_any_sweep() -> None:
    wrong = []
    for seed in range(400):
        chance = random.Random(seed)
        sizes = chance.choice([POWERS, POWERS[:5], (1, 2), (4, 8, 16), (3, 7, 20, 21)])
        repeats = chance.choice([1, 2, 3, 3, 5])
        plan = Plan(sizes=sizes, repeats=repeats, users=chance.choice([8, 1000]),
                    margin=chance.choice([0.5, 5.0, 5.0, 12.0]),
                    slo=parse_slo(chance.choice(["", "p95=300", "p95=300,errors=1%"])))  # fmt: skip
        wrong += [f"{seed}: {each}" for each in false_words(plan, any_trials(chance, sizes, repeats))]
    assert not wrong
