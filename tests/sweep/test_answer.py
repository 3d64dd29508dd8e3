"""The answer in one sentence: the size first, what it carries, what ended the rise; or why there is none."""

import re
from dataclasses import replace
from typing import Any

import pytest
from synthetic import CONDITIONS, trials_of

from benchmarks.verdicts.truth import flat, hinge, power
from pooldemo.sweep.analyse.judge import judge
from pooldemo.sweep.facts import Conditions, Limit, Plan, Step, SweepResult, TrialResult
from pooldemo.sweep.report.answer import headline, short
from pooldemo.sweep.report.formats import to_markdown
from pooldemo.sweep.report.html_report import to_html


def swept(curve: Any, users: int = 200, **fields: Any) -> SweepResult:
    plan = Plan(stacks=("pooldemo",), users=users)
    trials = tuple(trials_of(curve, **{"hold_mean_ms": 100.0, "p95_ms": 240.0} | fields))
    return SweepResult(plan, CONDITIONS, trials, judge(plan, trials, CONDITIONS))


def test_it_names_the_size_the_numbers_and_what_ran_out() -> None:
    found = swept(hinge(16), postgresql_cpu=lambda size: 0.9 * CONDITIONS.cpus if size >= 16 else 0.1)
    assert headline(found).startswith("Use MAX_CONNS=16: 1")
    assert headline(found).endswith("p95 240 ms; PostgreSQL's CPU is full")
    assert short(found.verdicts[0], found.plan) == "MAX_CONNS=16"


def test_its_number_is_the_one_of_the_sentence_below_it() -> None:
    """Also where a repeat was left out because requests failed: 573 stood above 581."""
    found = swept(hinge(16), noise=0.02, repeats=4)
    odd = next(place for place, each in enumerate(found.trials) if each.size == 16)
    slow = replace(found.trials[odd], rps=0.97 * found.trials[odd].rps, failures=100, failures_by_message={"503": 100})
    trials = (*found.trials[:odd], slow, *found.trials[odd + 1 :])
    found = replace(found, trials=trials, verdicts=judge(found.plan, trials, CONDITIONS))
    (verdict,) = found.verdicts
    assert "Left out: size 16 in 1 of its repeats" in verdict.because
    number = re.search(r"(\d+) requests/s", verdict.because)
    assert number
    assert headline(found).startswith(f"Use MAX_CONNS=16: {number[1]} requests/s, p95 240 ms")


def test_it_says_that_the_users_are_the_end_and_not_that_it_rises() -> None:
    found = swept(hinge(16), users=16)
    said = headline(found)
    assert said.startswith("MAX_CONNS=16 is enough for 16 users: ")
    assert "rises" not in said
    assert short(found.verdicts[0], found.plan) == "MAX_CONNS=16, enough for 16 users", "in the list as well"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"failures": 1000}, "requests failed at every size"),
        ({"error": lambda size: "it did not start" if size > 1 else ""}, "most trials failed"),
        ({"error": "it did not start"}, "every trial failed"),
    ],
)
def test_it_says_one_thing_of_what_failed(fields: dict[str, Any], why: str) -> None:
    """It said "requests failed at every size, or most trials did"."""
    assert headline(swept(flat, **fields)) == f"No answer: {why}"


def test_it_does_not_say_that_requests_failed_where_none_was_answered() -> None:
    found = swept(flat)
    trials = tuple(replace(each, rps=0.0, requests=0) for each in found.trials)
    silent = replace(found, trials=trials, verdicts=judge(found.plan, trials, CONDITIONS))
    assert headline(silent) == "No answer: no request was answered while a trial measured"


def test_it_says_that_it_still_rises_and_that_the_pool_is_not_the_bottleneck() -> None:
    rising, level = swept(power(1)), swept(flat)
    assert headline(rising).startswith("It still rises at MAX_CONNS=64: ")
    assert headline(level).startswith("The pool is not the bottleneck: MAX_CONNS=1 is enough, ")
    assert [short(each.verdicts[0], each.plan) for each in (rising, level)] == [
        "MAX_CONNS=64, still rising",
        "MAX_CONNS=1, flat",
    ]


def test_it_says_no_more_than_the_verdict_where_nobody_can_tell_whether_it_still_rises() -> None:
    """The text said that nobody could tell, and the headline that it rises."""
    seen = {1: (2.26, 2.67, 2.57), 2: (2.76, 2.87, 2.81), 4: (2.49, 2.71, 2.79)}
    trials = tuple(TrialResult("a", size, n, rps=rps) for size in seen for n, rps in enumerate(seen[size], 1))
    plan = Plan(stacks=("a",), sizes=(1, 2, 4), users=64)
    sweep = SweepResult(plan, CONDITIONS, trials, judge(plan, trials, CONDITIONS))
    assert sweep.verdicts[0].level_from == 2
    assert headline(sweep).startswith("Nobody can tell yet whether it still rises at MAX_CONNS=4: ")
    assert short(sweep.verdicts[0], plan) == "MAX_CONNS=4, perhaps still rising"
    for text in (to_markdown(sweep), to_html(sweep)):
        assert "perhaps still rising" in text
        assert "It still rises" not in text


def test_it_sends_nobody_to_larger_sizes_that_do_not_help() -> None:
    """It said "measure larger sizes" where they had been measured, or cannot be."""
    found = swept(power(1))

    def said(plan: Plan = found.plan, conditions: Conditions = CONDITIONS, **fields: Any) -> str:
        trials = swept(power(1), **fields).trials
        return headline(SweepResult(plan, conditions, trials, judge(plan, trials, conditions)))

    failing = said(failures=lambda size: 900 if size > 16 else 0)
    full = said(conditions=replace(CONDITIONS, room=64))
    slow = said(replace(found.plan, slo=(Limit("p95", 300.0),)), p95_ms=lambda size: 100.0 if size < 32 else 900.0)
    assert failing.startswith("Use MAX_CONNS=16: ")
    assert failing.endswith(" p95 240 ms; at larger ones requests fail")
    assert full.startswith("Use MAX_CONNS=64: ")
    assert full.endswith("; it still rises, and PostgreSQL has no more connections to give")
    assert slow.startswith("Use MAX_CONNS=16: ")
    assert slow.endswith("; larger ones do not surely meet the SLO")
    for each in (failing, full, slow):
        assert "measure larger sizes" not in each


def test_it_says_of_larger_sizes_what_failed_there() -> None:
    """Of trials that failed, and of rates that missed the SLO, it said that requests did."""
    found = swept(power(1))

    def said(plan: Plan, odd: dict[str, Any]) -> str:
        trials = tuple(replace(each, **odd) if each.size > 16 else each for each in found.trials)
        return headline(SweepResult(plan, CONDITIONS, trials, judge(plan, trials, CONDITIONS)))

    assert said(found.plan, {"error": "no server came up"}).endswith("; at larger ones trials fail")
    searched = replace(found.plan, search=True, slo=(Limit("p95", 300.0),))
    missed: dict[str, Any] = {"rps": 0.0, "steps": (Step(None, 100.0, "p95"),), "target_rps": 80.0}
    assert said(searched, missed).endswith("; larger ones miss the SLO")
    trials = tuple(replace(each, **missed) for each in found.trials)
    none = SweepResult(searched, CONDITIONS, trials, judge(searched, trials, CONDITIONS))
    assert headline(none) == "No answer: no size meets the SLO at any rate that was tried"


def test_it_adds_that_the_slo_is_missed() -> None:
    found = swept(hinge(16))
    plan = replace(found.plan, slo=(Limit("p95", 100.0),))
    found = replace(found, plan=plan, verdicts=judge(plan, found.trials, CONDITIONS))
    assert headline(found).endswith("; p95=100 is missed")


@pytest.mark.parametrize(
    ("status", "ended", "said"),
    [
        ("running", 3, "Measuring: the answer"),
        ("interrupted", 0, "No answer yet: 0 of"),
        ("failed", 0, "No answer yet: 0 of 15 trials have ended, then it failed"),
    ],
)
def test_it_says_how_far_a_sweep_has_come(status: str, ended: int, said: str) -> None:
    found = swept(hinge(16))
    assert headline(replace(found, status=status, trials=found.trials[:ended], verdicts=())).startswith(said)


@pytest.mark.parametrize("ended", [0, 1, 3])
def test_it_says_how_far_one_has_come_that_was_interrupted_before_its_second_size(ended: int) -> None:
    """It said "requests failed at every size" of none that was asked for, and "one size has no knee" of five."""
    found = swept(hinge(16))
    begun = tuple(each for each in found.trials if each.size == 8)[:ended]
    verdicts = judge(found.plan, begun, CONDITIONS)
    said = headline(replace(found, status="interrupted", trials=begun, verdicts=verdicts))
    assert said == f"No answer yet: {ended} of 15 trials have ended, then it was interrupted"
    alone = replace(found, plan=replace(found.plan, sizes=(8,)), status="interrupted", trials=begun, verdicts=verdicts)
    assert not ended or headline(alone) == "No answer: one size has no knee"


def test_it_takes_no_verdict_of_before_for_the_answer_of_a_sweep_that_goes_on() -> None:
    assert headline(replace(swept(hinge(16)), status="running")) == "Measuring: the answer comes with the last trial"


def test_it_says_that_every_trial_failed() -> None:
    plan = Plan(sizes=(1, 2))
    trials = tuple(TrialResult("pooldemo", size, 1, error="it broke") for size in plan.sizes)
    sweep = SweepResult(plan, CONDITIONS, trials, judge(plan, trials, CONDITIONS), status="failed")
    assert headline(sweep) == headline(replace(sweep, verdicts=())) == "No answer: every trial failed"
