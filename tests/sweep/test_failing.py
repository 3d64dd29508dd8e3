"""Sizes whose requests fail are not judged, and stay in the story."""

from dataclasses import replace

from synthetic import CONDITIONS, trials_of, verdict_of

from benchmarks.verdicts.truth import hinge, power
from pooldemo.sweep.analyse.judge import judge
from pooldemo.sweep.analyse.slo import parse_slo
from pooldemo.sweep.facts import Plan, Step


def failing(*sizes, share=0.2):
    """Requests of these sizes time out."""
    return {
        "failures": lambda size: int(1000 * share) if size in sizes else 0,
        "failures_by_message": lambda size: {"503 PoolTimeout": int(1000 * share)} if size in sizes else {},
    }


def test_it_leaves_out_a_size_whose_requests_failed_and_says_how_many_and_why():
    verdict = verdict_of(hinge(16), **failing(64))
    assert (verdict.shape, verdict.max_conns) == ("knee", 16)
    assert "Left out: size 64 (20% failed: 503 PoolTimeout)." in verdict.because


def test_it_calls_nothing_flat_below_which_requests_fail():
    verdict = verdict_of(hinge(4), **failing(1, 2, 4))
    assert (verdict.shape, verdict.max_conns) == ("knee", 8)
    assert "not your bottleneck" not in verdict.because
    assert "8 slots carry 39.9 requests/s: at 4 requests fail" in verdict.because


def test_it_says_how_many_failed_of_a_rate_that_was_asked_for_as_well():
    verdict = verdict_of(hinge(16), plan=Plan(users=1000, rate=500.0), target_rps=500.0, **failing(64))
    assert "size 64 (20% failed: 503 PoolTimeout)" in verdict.because


def test_it_does_not_advise_to_try_what_failed():
    verdict = verdict_of(hinge(16), noise=0.01, **failing(16))
    assert (verdict.shape, verdict.max_conns) == ("knee", 32)
    assert "requests/s: at 16 requests fail, and 64 gives no more" in verdict.because
    assert "try" not in verdict.because


def test_it_does_not_extend_a_rise_to_where_requests_failed():
    verdict = verdict_of(power(1), **failing(32, 64))
    assert (verdict.shape, verdict.max_conns) == ("rising", 16)
    assert "Extend" not in verdict.because
    assert "at 32 requests fail. Cure that to go on." in verdict.because
    few = verdict_of(power(1), sizes=(1, 2, 4), error=lambda size: "no server came up" if size == 4 else "")
    assert "Left out: size 4 (no server came up)" in few.because


def test_it_says_of_every_size_how_many_requests_failed_when_they_did_at_all_of_them():
    verdict = verdict_of(hinge(16), sizes=(8, 16), **failing(8, 16))
    assert (verdict.shape, verdict.cause) == ("invalid", "failures")
    assert "at 8 20% failed: 503 PoolTimeout; at 16 20% failed" in verdict.because


def test_it_says_of_the_one_size_that_carries_the_load_that_it_is_the_only_one():
    verdict = verdict_of(hinge(16), sizes=(4, 8, 16), **failing(4, 8))
    assert (verdict.shape, verdict.needs) == ("invalid", "--sizes 16,32,64")
    assert "Only size 16 carries the load without failures" in verdict.because
    assert "size 4 (20% failed" in verdict.because


PLAN = Plan(users=1000)


def spoiled(size, repeats, plan=PLAN, **fields):
    """A hinge at 16, whose trials of that size in those repeats are others."""
    trials = [
        replace(each, **fields) if each.size == size and each.repeat in repeats else each
        for each in trials_of(hinge(16), noise=0.01, p95_ms=100.0)
    ]
    return judge(plan, trials, CONDITIONS)[0]


def test_it_judges_no_size_by_the_one_repeat_that_went_well():
    accident = spoiled(16, {2}, failures=300)
    assert accident.max_conns == 16, "one of three is an accident"
    assert "Left out: size 16 in 1 of its repeats (30% failed)." in accident.because
    assert "Left out" not in spoiled(64, {2}, failures=300).because, "of what is recommended, not of the others"
    verdict = spoiled(16, {2, 3}, failures=300)
    assert verdict.max_conns == 32
    assert "Left out: size 16 (20% failed)" in verdict.because
    search = Plan(users=1000, search=True, slo=parse_slo("p95=300"))
    assert spoiled(16, {2, 3}, search, rps=0.0, target_rps=9.0, steps=(Step(9.0, 9.0, "p95"),)).max_conns == 32


def test_it_counts_the_failures_of_every_repeat_for_the_slo():
    few = spoiled(16, {2}, Plan(users=1000, slo=parse_slo("errors=0.1%")), requests=10**6, failures=30_000)
    assert few.slo.state == "missed" or few.max_conns != 16
    slow = spoiled(16, {2}, Plan(users=1000, slo=parse_slo("p95=300")), failures=300)
    assert slow.max_conns == 32, "of 3,000 requests 300 got no answer"
