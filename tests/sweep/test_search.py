"""The search for the highest rate that meets the SLO: it closes in on it, ends, and says what ended it."""

from dataclasses import replace

import pytest
from synthetic import CONDITIONS

from pooldemo.management.showing import SLO_MISSED, exit_code
from pooldemo.sweep import plan as planning
from pooldemo.sweep.analyse.document import asked_anew, judged
from pooldemo.sweep.analyse.judge import judge
from pooldemo.sweep.analyse.slo import parse_slo
from pooldemo.sweep.facts import Plan, SweepResult, TrialResult, Verdict
from pooldemo.sweep.measure.search import Search, missed_by
from pooldemo.sweep.report import rerun
from pooldemo.sweep.report.sweep_page import judged_by

SLO = parse_slo("p95=300,errors=1%")
PLAN = Plan(users=1000, slo=SLO, search=True, poisson=True, sizes=(1, 2, 4, 8, 16, 32))


def window(rate: float, most: float, *, generator: float = 1e9, size: int = 8, repeat: int = 1) -> TrialResult:
    """Five seconds of a server that carries `most`, whose p95 grows as a queue does."""
    busy = min(rate / most, 0.999)
    ms = 20 + 2 / (1 - busy)
    return TrialResult(
        "pooldemo", size, repeat, rps=min(rate, most), p95_ms=ms, latencies=((ms, int(5 * rate)),), window_s=5.0,
        requests=int(5 * rate), generator_cpu=min(1.0, rate / generator), target_rps=rate,
    )  # fmt: skip


def found(most: float, slo: str = "p95=60", generator: float = 1e9) -> TrialResult:
    search = Search(parse_slo(slo), window(most, most, generator=generator))
    while (rate := search.rate) is not None:
        search.tell(rate, window(rate, most, generator=generator))
    return search.found


@pytest.mark.parametrize(("limit_ms", "busy"), [(40, 0.9), (30, 0.8), (100, 0.975), (24, 0.5)])
def test_it_closes_in_on_the_highest_rate_that_meets_the_slo(limit_ms: float, busy: float) -> None:
    seen = found(200, f"p95={limit_ms}")
    assert busy - 0.06 <= seen.rps / 200 <= busy + 1e-9
    assert len(seen.steps) <= planning.SEARCH_STEPS + 1
    assert [step.rate for step in seen.steps][1:] == sorted(step.rate or 0 for step in seen.steps[1:])


def test_it_ends_where_the_rates_that_met_and_missed_are_no_further_apart_than_a_window_can_tell() -> None:
    assert [step.rate for step in found(200, "p95=5000").steps] == [None, 160, 180, 190, 195]


def test_it_carries_nothing_where_no_rate_meets_the_slo() -> None:
    seen = found(200, "p95=10")
    assert seen.rps == 0
    assert {step.missed for step in seen.steps} == {"p95"}
    assert min(step.rate for step in seen.steps if step.rate) == seen.target_rps


def test_it_asks_twice_where_a_miss_may_be_luck() -> None:
    search, tried = Search(parse_slo("p95=60"), window(200, 200)), []
    accidents = iter((150.0, 70.0))
    while (rate := search.rate) is not None:
        tried.append(rate)
        search.tell(rate, window(rate, next(accidents, 200.0)))
    assert tried[:3] == [160, 80, 80]
    assert search.found.rps > 130


def test_it_says_where_the_generator_was_late() -> None:
    seen = found(200, generator=150.0)
    assert seen.rps < 150
    assert next(step.missed for step in seen.steps if step.rate and step.rate > 135) == "generator"


def test_a_server_that_falls_behind_meets_no_limit_however_wide() -> None:
    assert missed_by(parse_slo("p95=9000"), window(200, 150), 200) == "rate"
    assert missed_by(parse_slo("p95=9000"), window(100, 150), 100) == ""
    assert missed_by(parse_slo("errors=1%"), window(100, 150), 100) == ""


def verdict(most: dict[int, float], generator: float = 1e9) -> Verdict:
    trials = []
    for repeat in (1, 2, 3):
        for size, rps in most.items():
            search = Search(PLAN.slo, window(rps, rps, generator=generator))
            while (rate := search.rate) is not None:
                search.tell(rate, window(rate, rps * (1 + repeat / 500), size=size, repeat=repeat, generator=generator))
            trials.append(search.found)
    return judge(PLAN, trials, CONDITIONS)[0]


def test_its_verdict_is_of_the_rates_that_meet_the_slo() -> None:
    seen = verdict({size: 40.0 * min(size, 8) for size in PLAN.sizes})
    assert (seen.shape, seen.max_conns, seen.slo and seen.slo.state) == ("knee", 8, "met")
    assert "the highest rate, at random, at which p95 <= 300 ms and errors <= 1% is met" in seen.because
    assert "in a closed loop 8 carries 320" in seen.because


def test_it_is_judged_by_no_other_slo() -> None:
    """By p95=1 every size met that: its rates met the SLO of the search."""
    trials = tuple(replace(found(40.0 * size), size=size, repeat=n) for n in (1, 2, 3) for size in (1, 2, 4))
    sweep = judged(SweepResult(PLAN, CONDITIONS, trials))
    for slo in ("p95=1", ""):
        with pytest.raises(ValueError, match="the highest that meet p95=300,errors=1%; for another one"):
            asked_anew(sweep, None, slo)
    same, refusal = judged_by(sweep, "", "p95=1")
    assert (same, refusal.partition(":")[0]) == (sweep, "slo")
    assert judged(asked_anew(sweep, 3.0, "errors=1%,p95=300")).verdicts[0].max_conns == sweep.verdicts[0].max_conns


def test_its_verdict_is_that_no_size_meets_the_slo() -> None:
    slow = [
        TrialResult("pooldemo", size, n, steps=found(100, "p95=5").steps, target_rps=10.0)
        for size in (1, 2)
        for n in (1, 2)
    ]
    seen = judge(PLAN, slow, CONDITIONS)[0]
    assert (seen.shape, seen.cause, seen.slo and seen.slo.state) == ("invalid", "slo", "missed")
    assert "1 missed the SLO at 10.0 requests/s still" in seen.because
    assert exit_code(seen) == SLO_MISSED


def test_it_judges_no_search_that_the_generator_ended() -> None:
    seen = verdict({size: 40.0 * min(size, 8) for size in PLAN.sizes}, generator=30.0)
    assert (seen.shape, seen.cause) == ("invalid", "generator")


def test_it_is_typed_as_arrivals_max() -> None:
    assert planning.parse_arrivals("max", None) == {"search": True, "poisson": True}
    assert planning.parse_arrivals("200", None) == {"rate": 200.0, "poisson": True}
    assert planning.parse_arrivals("200", "even") == {"rate": 200.0, "poisson": False}
    for text, spacing in (("fast", None), ("max", "even")):
        with pytest.raises(planning.PlanError, match="--arrivals"):
            planning.parse_arrivals(text, spacing)
    with pytest.raises(planning.PlanError, match="give one, as in --slo p95=300"):
        planning.check(Plan(search=True))
    assert "--arrivals max" in rerun.command(PLAN)
    assert rerun.command(Plan(rate=5.0)).endswith("--arrivals 5 --spacing even")
