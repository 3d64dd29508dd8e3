"""Two sweeps of the same thing do not differ; two of different things do, or cannot be compared."""

import json
import math
import os
import random
from dataclasses import replace

import pytest
from django.core.management import CommandError, call_command
from synthetic import CONDITIONS, trials_of

from benchmarks.verdicts.truth import hinge
from pooldemo import records
from pooldemo.sweep.analyse.compare import NotComparable, compare_sweeps
from pooldemo.sweep.analyse.comparison import Moved
from pooldemo.sweep.analyse.document import document_of
from pooldemo.sweep.analyse.judge import judge
from pooldemo.sweep.analyse.slo import parse_slo
from pooldemo.sweep.facts import Plan, SweepResult
from pooldemo.sweep.plan import with_sizes
from pooldemo.sweep.report import comparison

PLAN = Plan(users=1000)


def _sweep(curve, *, plan=PLAN, conditions=CONDITIONS, **options):
    trials = trials_of(curve, **options)
    return SweepResult(plan, conditions, trials, judge(plan, trials, conditions))


def _day(seed, noise, blocks=0.0, scale=1.0, curve=hinge(16)):  # noqa: B008
    """A sweep of some day, whose machine is not as fast in each repeat."""
    chance = random.Random(seed)
    levels = [chance.gauss(0, blocks) for _ in range(3)]
    trials = []
    for each in trials_of(curve, noise=0, seed=seed):
        speed = scale * math.exp(chance.gauss(0, noise) + levels[each.repeat - 1])
        trials.append(replace(each, rps=each.rps * speed, p95_ms=300 / speed * math.exp(chance.gauss(0, noise))))
    return SweepResult(PLAN, CONDITIONS, tuple(trials), judge(PLAN, trials, CONDITIONS))


@pytest.mark.parametrize(("noise", "blocks"), [(0.05, 0.0), (0.02, 0.08)])
def test_it_cries_wolf_over_equal_sweeps_in_5_percent_of_the_pairs_at_most(noise, blocks):
    pairs = [compare_sweeps(_day(n, noise, blocks), _day(n + 500, noise, blocks)) for n in range(40)]
    assert sum(pair.is_worse for pair in pairs) <= 2


def test_it_finds_a_loss_of_10_percent_over_all_sizes_that_no_single_size_shows():
    pairs = [compare_sweeps(_day(n, 0.03), _day(n + 500, 0.03, scale=0.9)) for n in range(20)]
    assert sum(pair.is_worse for pair in pairs) >= 18
    (whole,) = [each for each in pairs[0].changes if each.size is None and each.metric == "rps"]
    assert (whole.kind, whole.ratio) == ("worse", pytest.approx(-0.1, abs=0.02))
    assert whole.low < whole.ratio < whole.high < -0.05


def test_it_finds_what_became_slower_and_where():
    slower = _sweep(lambda size: hinge(16)(size) * (0.8 if size == 32 else 1), noise=0.02, seed=1)
    found = compare_sweeps(_sweep(hinge(16), noise=0.02, seed=2), slower)
    assert [(change.size, change.metric, change.kind) for change in found.changes if change.kind != "same"] == [
        (32, "rps", "worse")
    ]
    assert found.is_worse
    assert not compare_sweeps(slower, _sweep(hinge(16), noise=0.02, seed=2)).is_worse


def test_it_calls_a_longer_latency_worse_and_a_shorter_one_better():
    fast, slow = _sweep(hinge(16), p95_ms=100.0), _sweep(hinge(16), p95_ms=150.0)
    assert compare_sweeps(fast, slow).is_worse
    assert {change.kind for change in compare_sweeps(slow, fast).changes if change.metric == "p95_ms"} == {"better"}


def test_it_does_not_call_a_change_within_5_percent_worse_however_sure_it_is():
    assert not compare_sweeps(
        _sweep(hinge(16), noise=0.0001), _sweep(lambda size: 0.97 * hinge(16)(size), noise=0.0001)
    ).is_worse


def test_it_knows_nothing_of_sweeps_without_repeats():
    found = compare_sweeps(_sweep(hinge(16), repeats=1), _sweep(hinge(4), repeats=1))
    assert not found.is_known
    assert not found.is_worse


def test_it_says_which_verdict_moved_and_what_else_differs():
    found = compare_sweeps(
        _sweep(hinge(16), noise=0.01), _sweep(hinge(4), noise=0.01, conditions=replace(CONDITIONS, cpus=8))
    )
    assert found.moved == (Moved("pooldemo", "knee at 16", "knee at 4", is_worse=False),)
    assert found.differences == ("cpus: 2 -> 8",)


def test_it_says_that_the_windows_of_one_were_as_long_as_its_requests_needed():
    """Sweeps of before and of now say both that a trial measured for 5 s; at size 1 it is 8 s now."""
    now = _sweep(hinge(8), plan=replace(PLAN, window_cycles=1.2))
    assert compare_sweeps(_sweep(hinge(8)), now).differences == ("window_cycles: 0.0 -> 1.2",)


def _judged(*trials, plan=PLAN):
    return SweepResult(plan, CONDITIONS, trials, judge(plan, trials, CONDITIONS))


def _only(found):
    return [(each.stack, each.size, each.metric, each.kind) for each in found.changes if each.is_worse]


def test_it_calls_a_lost_size_worse_however_it_was_lost():
    whole = trials_of(hinge(16), noise=0.01)
    failed = [replace(each, rps=0.0, error="no server came up") if each.size == 64 else each for each in whole]
    silent = [replace(each, rps=0.0, failures=1000) if each.size == 64 else each for each in whole]
    absent = [each for each in whole if each.size != 64]
    for after in (failed, absent):
        assert _only(compare_sweeps(_judged(*whole), _judged(*after))) == [("pooldemo", 64, "rps", "lost")]
    assert ("pooldemo", 64, "failures", "worse") in _only(compare_sweeps(_judged(*whole), _judged(*silent)))
    assert not compare_sweeps(_judged(*absent), _judged(*whole)).is_worse
    assert compare_sweeps(_judged(*whole), _judged()).is_worse, "nothing was measured at all"


def test_what_an_interrupted_sweep_has_not_measured_yet_is_not_lost():
    whole = _judged(*trials_of(hinge(16), noise=0.01))
    begun = replace(_judged(*(each for each in whole.trials if each.size == 8)), status="interrupted")
    assert not compare_sweeps(whole, begun).is_worse
    assert compare_sweeps(whole, replace(begun, status="done")).is_worse
    assert not compare_sweeps(whole, replace(_judged(), status="interrupted")).is_worse
    silent = [replace(each, rps=0.0, error="no server came up") for each in begun.trials]
    assert compare_sweeps(whole, replace(_judged(*silent), status="interrupted")).is_worse, "that was measured"


def test_it_calls_more_failures_worse_though_no_success_was_slower():
    whole = trials_of(hinge(16), noise=0.01)
    failing = [replace(each, failures=800 if each.size == 4 else 0) for each in whole]
    found = compare_sweeps(_judged(*whole), _judged(*failing))
    assert _only(found) == [("pooldemo", 4, "failures", "worse")]
    (change,) = (each for each in found.changes if each.is_worse)
    assert (change.before, change.after, change.ratio) == (0.0, 0.8, 0.8)
    assert not compare_sweeps(_judged(*failing), _judged(*whole)).is_worse
    one = [replace(each, failures=int((each.size, each.repeat) == (4, 1))) for each in whole]
    assert not compare_sweeps(_judged(*whole), _judged(*one)).is_worse, "one of 3,000 is luck"


def test_it_does_not_cry_wolf_over_failures_that_come_in_bursts():
    def day(seed):
        chance = random.Random(seed)
        return [replace(each, requests=2000, failures=chance.choice((0,) * 9 + (30,))) for each in whole]

    whole = trials_of(hinge(16), noise=0.01)
    worse = [compare_sweeps(_judged(*day(n)), _judged(*day(n + 500))).is_worse for n in range(40)]
    assert sum(worse) <= 2
    steady = [replace(each, requests=2000, failures=30) for each in whole]
    assert compare_sweeps(_judged(*day(1)), _judged(*steady)).is_worse


def test_it_does_not_cry_wolf_over_slow_requests_that_come_in_bursts():
    def day(seed):
        chance = random.Random(seed)
        for each in whole:
            slow = 300 * (chance.random() < 0.04)  # of 1,000, in one trial of 25
            p50_ms = 100 * chance.gauss(1, 0.02)
            histogram = ((p50_ms, 940 - slow), (p50_ms * 1.2, 60), (p50_ms * 4, slow))
            yield replace(each, p95_ms=p50_ms * (4 if slow else 1.2), latencies=histogram)

    whole = trials_of(hinge(16), noise=0.01)
    pairs = [compare_sweeps(_judged(*day(n)), _judged(*day(n + 500))) for n in range(40)]
    assert sum(pair.is_worse for pair in pairs) <= 2


def test_it_knows_nothing_of_a_single_repeat_that_is_held_against_several():
    once = trials_of(hinge(16), repeats=1)
    found = compare_sweeps(_judged(*trials_of(hinge(16), noise=0.01)), _judged(*once, plan=replace(PLAN, repeats=1)))
    assert (found.is_worse, found.is_known) == (False, False)


def test_it_calls_a_verdict_that_turned_invalid_worse_but_not_by_chance():
    whole = trials_of(hinge(16), noise=0.02, seed=1)
    broken = [replace(each, generator_cpu=1.0) for each in whole]
    found = compare_sweeps(_judged(*whole), _judged(*broken))
    assert found.moved == (Moved("pooldemo", "knee at 16", "invalid", is_worse=True),)
    noisy = trials_of(hinge(16), noise=0.2, seed=2)
    assert compare_sweeps(_judged(*whole), _judged(*noisy)).is_worse
    assert not compare_sweeps(_judged(*noisy), _judged(*whole)).is_worse
    by_chance = replace(_judged(*whole), verdicts=(replace(found_invalid(), cause="noise"),))
    assert not compare_sweeps(_judged(*whole), by_chance).is_worse


def test_it_says_that_there_is_no_verdict_to_compare_where_no_number_is_worse():
    """A load generator that ran out in B made it "worse", though B carried as much."""
    whole = trials_of(hinge(16), noise=0.02, seed=1)
    before, full = (
        replace(_judged(*whole), id=1),
        replace(_judged(*[replace(each, generator_cpu=1.0) for each in whole]), id=2),
    )
    found = compare_sweeps(before, full)
    said = "Sweep 2 has no verdict to compare, and no number that is worse than in 1: pooldemo: knee at 16 -> invalid"
    assert comparison.headline(found, before, full) == said
    assert comparison.lines_of(found)[-1].startswith("B has no verdict to compare: ")
    assert comparison.to_json(found, before, full).count('"worse": true') == 1, "for CI it is as it was"
    slow = replace(full, trials=tuple(replace(each, rps=each.rps / 2) for each in full.trials))
    assert comparison.headline(compare_sweeps(before, slow), before, slow).startswith("Sweep 2 is worse than 1: ")


def found_invalid():
    return judge(PLAN, trials_of(hinge(16), noise=0.2, seed=2), CONDITIONS)[0]


def test_it_calls_an_slo_that_was_met_and_is_missed_worse():
    plan = replace(PLAN, slo=parse_slo("max=105"))
    before, after = (_sweep(hinge(16), plan=plan, noise=0.01, max_ms=ms) for ms in (100.0, 110.0))
    assert compare_sweeps(before, after).is_worse
    assert not compare_sweeps(after, before).is_worse


def test_it_counts_the_repeats_of_sizes_in_what_differs():
    """Three repeats, and three with sizes that were added, were "repeats: 3 -> 6"; a closed loop had a rate of None."""
    before = _sweep(hinge(16), noise=0.01)
    after = replace(before, plan=with_sizes(replace(PLAN, sizes=(8, 16)), "+32"))
    assert compare_sweeps(before, after).differences == ()
    with pytest.raises(NotComparable, match="rate is none in the first and 60.0 in the second"):
        compare_sweeps(before, replace(before, plan=replace(PLAN, rate=60.0)))


def test_it_holds_no_slo_against_another():
    before, after = (
        _sweep(hinge(16), plan=replace(PLAN, slo=parse_slo(text)), noise=0.01, max_ms=100.0)
        for text in ("max=105", "max=95")
    )
    found = compare_sweeps(before, after)
    assert [each.after for each in found.moved] == ["knee at 16, SLO missed"]
    assert not found.is_worse
    assert found.differences == ("slo: max=105 -> max=95",)


def test_it_calls_an_invalid_verdict_over_several_workers_worse_only_where_it_got_noisier():
    plan = replace(PLAN, splits=(1, 2), workers=2)

    def sweep(noise, seed):
        trials = [
            replace(each, workers=workers)
            for workers in plan.splits
            for each in trials_of(hinge(16), noise=noise, seed=seed + workers)
        ]
        return _judged(*trials, plan=plan)

    quiet, noisy = sweep(0.02, 1), sweep(0.2, 5)
    assert (quiet.verdicts[0].shape, noisy.verdicts[0].cause) == ("knee", "noise")
    assert any(each.is_worse for each in compare_sweeps(quiet, noisy).moved)
    lucky = replace(quiet, trials=sweep(0.2, 9).trials)
    assert not any(each.is_worse for each in compare_sweeps(lucky, noisy).moved), "it was as noisy before"


def test_it_refuses_to_compare_different_things():
    search = replace(PLAN, search=True, poisson=True, slo=parse_slo("p95=300"))
    with pytest.raises(NotComparable, match="search is False in the first and True in the second"):
        compare_sweeps(_sweep(hinge(16)), _sweep(hinge(16), plan=replace(search, poisson=False)))
    with pytest.raises(NotComparable, match="slo is p95=300 in the first and p95=200 in the second"):
        compare_sweeps(
            _sweep(hinge(16), plan=search), _sweep(hinge(16), plan=replace(search, slo=parse_slo("p95=200")))
        )
    with pytest.raises(NotComparable, match="poisson is False in the first and True in the second"):
        compare_sweeps(*(_sweep(hinge(16), plan=replace(PLAN, rate=9.0, poisson=each)) for each in (False, True)))
    with pytest.raises(NotComparable, match="workload is slow in the first and cpu in the second"):
        compare_sweeps(_sweep(hinge(16)), _sweep(hinge(16), plan=replace(PLAN, workload="cpu")))
    with pytest.raises(NotComparable, match="no stack and size in common"):
        compare_sweeps(_sweep(hinge(16), sizes=(1, 2)), _sweep(hinge(16), sizes=(4, 8)))


def _run(capsys, *arguments):
    """What `manage.py compare` prints and the code it ends with."""
    try:
        call_command("compare", *map(str, arguments))
        code = 0
    except SystemExit as end:
        code = end.code
    except CommandError as error:
        return str(error), error.returncode
    return capsys.readouterr().out, code


@pytest.fixture
def saved(tmp_path):
    def save(name, curve, **options):
        (tmp_path / name).write_text(json.dumps(document_of(_sweep(curve, **options))))
        return tmp_path / name

    return save


def test_it_ends_with_0_when_nothing_is_worse_and_1_when_something_is(saved, capsys):
    fast, slow = saved("fast", hinge(16)), saved("slow", hinge(8), seed=1)
    assert _run(capsys, fast, fast)[1] == 0
    text, code = _run(capsys, fast, slow)
    assert code == 1
    assert "- pooldemo at 32: " in text
    assert "verdict: pooldemo: knee at 16 -> knee at 8" in text
    assert _run(capsys, slow, fast)[1] == 0


def test_it_writes_what_it_found_as_json(saved, tmp_path, capsys):
    fast, slow = saved("fast", hinge(16)), saved("slow", hinge(8), seed=1)
    text, code = _run(capsys, fast, slow, "--json", "-")
    document = json.loads(text)
    assert (code, document["format"], document["worse"]) == (1, "pooldemo-compare/1", True)
    worse = {each["size"] for each in document["changes"] if each["kind"] == "worse"}
    assert worse >= {16, 32, 64}
    assert document["verdicts"][0]["after"] == "knee at 8"
    assert _run(capsys, fast, slow, "--json", tmp_path / "no" / "file")[1] == 2


def test_it_writes_its_files_also_where_nobody_reads_its_lines(saved, tmp_path, monkeypatch):
    """As in `manage.py compare A B --json found.json | head -1`: the file was missing, and 1 was 141."""
    read, write = os.pipe()
    os.close(read)
    reports = {"json": str(tmp_path / "found.json"), "junit": str(tmp_path / "found.xml")}
    sweeps = map(str, (saved("fast", hinge(16)), saved("slow", hinge(8), seed=1)))
    with os.fdopen(write, "w", buffering=1) as pipe, pytest.raises(SystemExit) as end:
        call_command("compare", *sweeps, stdout=pipe, **reports)
    assert end.value.code == 1
    assert json.loads((tmp_path / "found.json").read_text())["worse"]
    assert "<failure" in (tmp_path / "found.xml").read_text()


def test_it_annotates_what_is_worse_for_ci(saved, capsys):
    fast, slow = saved("fast", hinge(16)), saved("slow", hinge(8), seed=1)
    text, code = _run(capsys, fast, slow, "--github")
    *errors, total = text.splitlines()
    assert code == 1
    assert total.startswith("::notice title=sweep::B is worse: ")
    assert all(line.startswith("::error title=sweep::pooldemo at ") for line in errors)
    assert any(" at 32: " in line and "%25" in line for line in errors)
    text, code = _run(capsys, fast, fast, "--github")
    assert (code, text.count("::")) == (0, 2)


@pytest.mark.django_db
def test_it_reads_sweeps_by_their_numbers(saved, capsys):
    before, after = (records.store(_sweep(curve, seed=seed)).pk for seed, curve in enumerate((hinge(16), hinge(8))))
    text, code = _run(capsys, before, after)
    assert code == 1
    assert "verdict: pooldemo: knee at 16 -> knee at 8" in text
    assert _run(capsys, saved("fast", hinge(16)), before)[1] == 0
    text, code = _run(capsys, before, after + 1)
    assert code == 2
    assert f"there is no sweep {after + 1}: the last ones are {after}, {before}" in text


def test_it_ends_with_2_when_the_sweeps_cannot_be_compared(saved, tmp_path, capsys):
    (tmp_path / "broken").write_text("{}")
    sweep, once = saved("sweep", hinge(16)), saved("once", hinge(16), repeats=1)
    assert _run(capsys, sweep, tmp_path / "absent")[1] == 2
    assert _run(capsys, sweep, tmp_path / "broken")[1] == 2
    assert "it has no sweep (an object) and trials (a list)" in _run(capsys, sweep, tmp_path / "broken")[0]
    assert _run(capsys, once, once)[1] == 2
