"""What a verdict advises to measure next, and what a sweep repeats until it is sure."""

from dataclasses import replace

from synthetic import CONDITIONS, trials_of, verdict_of

from benchmarks.verdicts.truth import POWERS, flat, hinge
from pooldemo.sweep.analyse.judge import weigh
from pooldemo.sweep.analyse.slo import parse_slo
from pooldemo.sweep.facts import Plan
from pooldemo.sweep.measure.adaptive import deciding_sizes


def test_it_says_where_between_two_sizes_the_knee_lies_and_which_to_try():
    between = verdict_of(hinge(12), noise=0.002, sizes=(4, 8, 16, 32)).because
    assert " The knee lies between 8 and 16: try 12 to save connections." in between
    for knee, sizes in ((16, (4, 8, 16, 32)), (15.5, (4, 8, 16, 32)), (8.2, (4, 8, 9, 32))):
        assert "lies between" not in verdict_of(hinge(knee), noise=0.002, sizes=sizes).because


def test_it_says_of_a_flat_curve_that_begins_above_one_slot_what_was_not_measured():
    assert verdict_of(flat, noise=0.01, sizes=(8, 16, 32)).because.endswith(" Fewer than 8 were not measured.")
    assert "not measured" not in verdict_of(flat, noise=0.01).because


def test_of_sizes_that_were_measured_once_each_decides():
    once = weigh(Plan(users=1000), trials_of(hinge(16), repeats=1), CONDITIONS)
    assert deciding_sizes(once) == POWERS
    assert deciding_sizes(weigh(Plan(users=1000), trials_of(hinge(16), noise=0.01), CONDITIONS)) == ()


def test_the_size_decides_whose_repeats_differ_far_more_than_the_others():
    """Those above it alone were repeated, to the end of the time: they say nothing about it."""
    odd = {1: 1.0, 2: 0.6, 3: 0.9}
    carried = {1: 10, 2: 20, 4: 90, 8: 90, 16: 100, 32: 100, 64: 100}
    trials = [
        replace(each, rps=each.rps * odd[each.repeat]) if each.size == 4 else each
        for each in trials_of(carried.__getitem__, noise=0.005)
    ]
    judgement = weigh(Plan(users=1000), tuple(trials), CONDITIONS)
    assert [*judgement.knee.restless] == [4]
    assert deciding_sizes(judgement) == (2, 4, 8, 16, 32, 64)


def test_no_further_repeat_decides_an_slo_that_wants_a_longer_warm_up():
    """With --until-sure it repeated what began too early, to the end of the time."""
    plan = Plan(users=256, workload="urls", urls=("/",), sizes=(1, 2, 4), warmup_s=1.0, slo=parse_slo("p95=5000"))
    trials = trials_of(hinge(2), sizes=plan.sizes, noise=0.01, mean_ms=2000.0, p95_ms=2900.0)
    judgement = weigh(plan, trials, CONDITIONS)
    assert (judgement.slo, judgement.slo_needs[:8]) == ("undecided", "--warmup")
    assert deciding_sizes(judgement) == ()
