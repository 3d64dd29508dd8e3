"""Two sweeps of the same thing do not differ; two of different things do, or cannot be compared."""

import json
from dataclasses import replace

import pytest
from django.core.management import CommandError, call_command
from synthetic import CONDITIONS, hinge, trials_of

from pooldemo import records
from pooldemo.sweep.analyse.compare import NotComparable, compare_sweeps
from pooldemo.sweep.analyse.document import document_of
from pooldemo.sweep.analyse.judge import judge
from pooldemo.sweep.facts import Plan, SweepResult

PLAN = Plan(users=1000)


def _sweep(curve, *, plan=PLAN, conditions=CONDITIONS, **options):
    trials = trials_of(curve, **options)
    return SweepResult(plan, conditions, trials, judge(plan, trials, conditions))


def test_it_finds_no_change_between_equal_sweeps_in_95_percent_of_the_pairs():
    pairs = [compare_sweeps(_sweep(hinge(16), seed=n), _sweep(hinge(16), seed=n + 500)) for n in range(200)]
    assert sum(any(change.kind != "same" for change in pair.changes) for pair in pairs) <= 10


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
    assert found.moved == (("pooldemo", "knee at 16", "knee at 4"),)
    assert found.differences == ("cpus: 2 -> 8",)


def test_it_refuses_to_compare_different_things():
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
