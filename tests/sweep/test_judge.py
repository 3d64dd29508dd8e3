"""Stored trials are judged anew, by another margin and another SLO, as a function and as a command."""

import io
import json
import math
import random
import re
import sys
from dataclasses import fields, replace
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from jsonschema import Draft202012Validator
from synthetic import CONDITIONS, trials_of

from benchmarks.verdicts.truth import droop, hinge, power
from pooldemo.sweep import judge
from pooldemo.sweep.analyse import schema
from pooldemo.sweep.analyse.document import SCHEMA, document_of, judged, read_document
from pooldemo.sweep.analyse.shape import BadDocument
from pooldemo.sweep.analyse.slo import parse_slo
from pooldemo.sweep.facts import Plan, Step, SweepResult, TrialResult
from pooldemo.sweep.report import formats

DATA = Path(__file__).parents[2] / "docs" / "data"
SHAPE = json.loads(SCHEMA.read_text())
PLAN = Plan(users=1000, sizes=(1, 2, 4, 8, 16, 32, 64))


def soft(size):
    """8% of the best are lost at 16, and none at 32."""
    return hinge(32)(size) if size != 16 else 0.92 * 320


KNEE = hinge(16)


def document(curve=KNEE, plan=PLAN, **options):
    trials = [replace(each, order=n) for n, each in enumerate(trials_of(curve, noise=0.005, **options), 1)]
    return document_of(judged(SweepResult(plan, CONDITIONS, tuple(trials))))


def old(name="slow"):
    """As it was written before documents had a format, orders, sizes and margins."""
    made = json.loads((DATA / f"{name}.json").read_text())
    for gone in ("format", "sizes"):
        made.pop(gone, None)
    made["sweep"].pop("margin", None)
    for trial in made["trials"]:
        trial.pop("order", None), trial.pop("workers", None)
    for verdict in made["verdicts"]:
        for gone in ("plateau", "cause", "slo"):
            verdict.pop(gone, None)
    return made


TRIAL = {"stack": "a", "size": 1, "repeat": 1}


def valid(made):
    Draft202012Validator(SHAPE).validate(json.loads(json.dumps(made, allow_nan=False)))
    return made


def test_it_is_of_the_shape_that_its_schema_promises():
    made = valid(document(plan=replace(PLAN, slo=parse_slo("p95=300,errors=1%")), p95_ms=120.0, p50_ms=100.0))
    assert made == json.loads(json.dumps(made)), "plain lists and dicts"
    assert made["verdicts"][0]["slo"] == {"text": "p95=300,errors=1%", "state": "met"}
    assert (made["verdicts"][0]["plateau"], made["sizes"][4]["size"]) == ([16, 32, 64], 16)
    assert [trial["order"] for trial in made["trials"]] == list(range(1, 22))
    for broken in ({"format": "x"}, {"trials": [{}]}, {"sizes": None}):
        assert not Draft202012Validator(SHAPE).is_valid(made | broken)


def test_its_schema_is_the_one_that_the_facts_make():
    assert SCHEMA.read_text() == schema.text(), "python -m pooldemo.sweep.analyse.schema > the file"
    assert {each.name for each in fields(TrialResult)} == set(SHAPE["$defs"]["trial"]["required"])


@pytest.mark.parametrize("name", ["slow", "cpu"])
def test_it_judges_a_document_without_a_format(name):
    made = valid(judge(old(name)))
    assert made["format"] == "pooldemo-sweep/2"
    assert [(each["shape"], each["max_conns"]) for each in made["verdicts"]] == [
        (each["shape"], each["max_conns"]) for each in json.loads((DATA / f"{name}.json").read_text())["verdicts"]
    ]


def test_it_judges_as_the_sweep_did_and_leaves_the_document_alone():
    made = document()
    before = json.dumps(made)
    assert judge(made) == made
    assert json.dumps(made) == before


def test_it_judges_by_another_margin_and_says_that_one_everywhere():
    narrow, wide = judge(document(soft)), judge(document(soft), margin=12)
    assert [each["verdicts"][0]["max_conns"] for each in (narrow, wide)] == [32, 16]
    assert wide["sweep"]["margin"] == 12
    level = judge(document(power(0.01)), margin=8)["verdicts"][0]
    assert (level["shape"], level["max_conns"]) == ("flat", 1)
    assert "stays within 8% of" in level["because"]
    noisy = document_of(judged(SweepResult(PLAN, CONDITIONS, trials_of(hinge(16), noise=0.2))))
    assert "too much to tell 3% apart" in judge(noisy, margin=3)["verdicts"][0]["because"]
    slower = judge(document(droop(1, 0.02)), margin=3)["verdicts"][0]
    assert slower["because"].startswith("More slots make it slower")


def test_it_knows_the_connections_of_a_document_that_was_written_before_it_kept_them():
    made = document()
    for name in ("room", "room_limit"):
        del made["sweep"]["conditions"][name]
    assert read_document(made).conditions == CONDITIONS


def test_it_names_no_size_that_the_narrowest_limit_refuses():
    made = document()
    assert made["verdicts"][0]["max_conns"] == 16
    made["sweep"]["conditions"] |= {"room": 12, "room_limit": "the database's CONNECTION LIMIT (ALTER DATABASE)"}
    assert judge(made)["verdicts"][0]["max_conns"] == 8


def test_it_judges_by_another_slo_or_its_own_or_none():
    made = document(plan=replace(PLAN, slo=parse_slo("p95=300")), p95_ms=lambda size: 20.0 * size)
    assert made["verdicts"][0]["max_conns"] == 8
    assert judge(made)["verdicts"][0]["max_conns"] == 8
    tight = judge(made, slo="p95=100")["verdicts"][0]
    assert (tight["max_conns"], tight["slo"]) == (4, {"text": "p95=100", "state": "met"})
    none = judge(made, slo="")["verdicts"][0]
    assert (none["max_conns"], none["slo"]) == (16, None)
    assert judge(made, slo="p95=10")["verdicts"][0]["slo"]["state"] == "missed"


def test_it_judges_what_another_program_wrote_as_far_as_it_goes():
    """No plan but the load, no histograms, no order."""
    made = document()
    sweep = {name: made["sweep"][name] for name in ("workload", "users")}
    trials = [{name: trial[name] for name in ("stack", "size", "repeat", "rps")} for trial in made["trials"]]
    verdict = valid(judge({"sweep": sweep | {"slo": None}, "trials": trials}))["verdicts"][0]
    assert (verdict["shape"], verdict["max_conns"]) == ("knee", 16)


def test_it_takes_a_plan_of_nothing_for_what_was_measured():
    """It had no verdict where `stacks` was empty, and ended with a traceback where `sizes` was."""
    made = document_of(judged(SweepResult(PLAN, CONDITIONS, trials_of(hinge(16), noise=0.2))))
    same = judge(made | {"sweep": made["sweep"] | {"stacks": [], "sizes": []}})
    assert same["verdicts"] == made["verdicts"]
    assert same["verdicts"][0]["needs"].startswith("--repeats ")


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ([], "is an object with sweep and trials, not list"),
        ({}, "has no sweep"),
        ({"format": "pooldemo-sweep/9"}, "the format 'pooldemo-sweep/9' is not known: pooldemo-sweep/2 is"),
        ({"sweep": {}, "trials": {}}, "has no sweep (an object) and trials (a list)"),
        ({"sweep": {}, "trials": [{"size": 1, "repeat": 1}]}, "trial 1 is no object that names its stack"),
        ({"sweep": {}, "trials": [{"stack": "a", "repeat": 1}]}, "trial 1 has no size"),
        ({"sweep": {}, "trials": [{"stack": "a", "size": "4", "repeat": 1}]}, "trial 1 has size '4': a whole number"),
        (
            {"sweep": {}, "trials": [{"stack": "a", "size": 0, "repeat": 1}]},
            "trial 1 has size 0: a whole number from 1 is",
        ),
        ({"sweep": {}, "trials": [{"stack": "a", "size": 1, "repeat": 1, "rps": float("nan")}]}, "rps nan: a number"),
        ({"sweep": {"users": "many"}, "trials": []}, "the sweep has users 'many'"),
        ({"sweep": {"conditions": []}, "trials": []}, None),
        ({"sweep": {"conditions": [1]}, "trials": []}, "conditions is list: an object is accepted"),
        ({"sweep": {"slo": "p42=1"}, "trials": []}, "'p42=1' is no clause"),
        ({"sweep": {"slo": [{"p95": 1}]}, "trials": []}, "the sweep has an SLO of None: accepted are p50"),
        ({"sweep": {"margin": 100}, "trials": []}, "the sweep has --margin 100 is out of range"),
        ({"sweep": {"rate": 0}, "trials": []}, "the sweep has rate 0: a number above 0, or null"),
        ({"sweep": {"stacks": "a"}, "trials": []}, "the sweep has stacks 'a': a list as"),
        ({"sweep": {}, "trials": [], "verdicts": [{"stack": "a"}]}, "it is not as sweep --json writes it"),
        ({"sweep": {}, "trials": [], "verdicts": {"a": 1}}, "verdicts is dict: a list is accepted"),
        ({"sweep": {}, "trials": [], "verdicts": [{"stack": "a"}]}, "a verdict has no shape, max_conns, rps, rps_low"),
        ({"sweep": {}, "trials": [TRIAL | {"warnings": [{"code": "a"}]}]}, "a warning has no cause, cure"),
        ({"sweep": {"started_at": "now"}, "trials": []}, "the sweep has started_at 'now': one as 2026-01-31T12:00"),
        ({"sweep": {}, "trials": [TRIAL | {"stack": "\ud800"}]}, "trial 1 has stack '\\ud800': a text is accepted"),
        ({"sweep": {}, "trials": [TRIAL | {"size": 10**400}]}, "trial 1 has size 1000"),
        (
            {"sweep": {}, "trials": [TRIAL | {"repeat": 10**9}]},
            "trial 1 has repeat 1000000000: up to 10000 are accepted",
        ),
        ({"sweep": {}, "trials": [TRIAL | {"failures": 3, "requests": 2}]}, "trial 1 has more failures than requests"),
        ({"sweep": {}, "trials": [TRIAL | {"latencies": [["a", 1]]}]}, "trial 1 has latencies [['a', 1]]: a list as"),
        ({"sweep": {}, "trials": [TRIAL | {"window_s": -5}]}, "trial 1 has window_s -5: 0 or more is accepted"),
    ],
)
def test_it_refuses_what_is_no_document_in_a_sentence(broken, said):
    if said is None:
        assert judge(broken)["verdicts"][0]["shape"] == "invalid"
        return
    with pytest.raises(ValueError) as refused:
        judge(broken)
    assert said in str(refused.value)


def test_it_judges_or_refuses_in_a_sentence_whatever_stands_at_a_key():
    """Each key of a small document holds something else, once; what is missing or null is left at its default."""
    plan = replace(PLAN, sizes=(2, 4), slo=parse_slo("p95=300,errors=1%"))
    whole = json.dumps(document(sizes=(2, 4), repeats=2, plan=plan, p95_ms=90.0, latencies=((90.0, 9),), steps=STEPS))
    chance, judged_, refusals = random.Random(7), 0, []
    for path in paths(json.loads(whole)):
        made = json.loads(whole)
        *first, last = path
        place = reduce(getitem, first, made)
        if chance.random() < 0.1:
            del place[last]
        else:
            place[last] = chance.choice(JUNK)
        try:
            judged_ += bool(json.dumps(judge(made), allow_nan=False))
            html = formats.FORMATS["html"].write(read_document(made))
            assert html.encode()
        except BadDocument as refused:
            refusals.append(str(refused))
    assert min(judged_, len(refusals)) > 10
    assert not [each for each in refusals if re.search(r"math domain|divi|argument|Error\(", each)], "of a traceback"


JUNK: Any = (
    None, 0, -1, 3.5, 1e308, 10**400, math.nan, "x", "", [], {}, [None], [[1.0, 0]], {"a": "b"}, True, "\ud800",
)  # fmt: skip
STEPS = (Step(None, 90.0, "p95"),)


def paths(value, path=()):
    """The way to each key and element, but of long lists the first alone."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for name, each in pairs:
        yield (*path, name)
        yield from paths(each, (*path, name))


@pytest.mark.parametrize(("given", "said"), [({"margin": 0}, "--margin 0 is out"), ({"slo": "p95"}, "is no clause")])
def test_it_refuses_a_margin_and_an_slo_that_cannot_be(given, said):
    with pytest.raises(ValueError, match=said):
        judge(document(), **given)


def test_it_reads_back_what_it_wrote():
    made = document()
    assert document_of(read_document(json.loads(json.dumps(made)))) == made


# -- the command ---------------------------------------------------------------------------------------------------


def typed(*arguments):
    """The exit code of `manage.py judge`."""
    try:
        call_command("judge", *map(str, arguments))
    except SystemExit as end:
        return end.code
    return 0


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps(document(p95_ms=lambda size: 20.0 * size)))
    return path


def test_it_ends_with_the_exit_code_of_the_verdict(file, capsys):
    assert typed(file) == 0
    assert "16 slots carry" in capsys.readouterr().out
    assert typed(file, "--slo", "p95=300") == 0
    assert "8" in capsys.readouterr().out
    assert typed(file, "--slo", "p95=1") == 1
    assert "✗ p95 <= 1 ms: missed" in capsys.readouterr().out
    assert typed(file, "--slo", "p95=20") == 3, "exactly the limit: nobody knows"
    assert "undecided" in capsys.readouterr().out
    file.write_text(json.dumps(document(repeats=1)))
    assert typed(file) == 3


def test_it_takes_the_margin_of_the_sweep_where_none_is_given(tmp_path, capsys):
    """A sweep of --margin 12 named 16; judged again without an option it named 32, by 5%."""
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps(document(soft, replace(PLAN, margin=12.0))))
    assert typed(path, "--json", "-") == 0
    written = json.loads(path.read_text())
    assert json.loads(capsys.readouterr().out) == judge(written, margin=None) == written
    assert typed(path, "--margin", "5") == 0
    assert "32 slots carry" in capsys.readouterr().out


def test_it_writes_the_document_to_standard_output_with_nothing_else(file, capsys):
    assert typed(file, "--margin", "12", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["sweep"]["margin"] == 12


def test_it_reads_standard_input(file, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(file.read_text()))
    assert typed("-") == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["absent.json"],
            "absent.json cannot be read (No such file or directory): give a file written by sweep --json",
        ),
        (["docs"], "docs cannot be read (Is a directory): give a file"),
        (["README.md"], "README.md is no sweep: it is no JSON"),
        (["deep.json"], "deep.json is no sweep: it is no JSON (maximum recursion depth"),
        (["docs/data/slow.json", "--margin", "99"], "--margin 99 is out of range"),
        (["docs/data/slow.json", "--slo", "p95"], "'p95' is no clause"),
        (["docs/data/slow.json", "--json", "no/such/folder.json"], "no report can be written"),
    ],
)
def test_it_refuses_bad_arguments_with_2(arguments, said, monkeypatch, tmp_path):
    monkeypatch.chdir(Path(__file__).parents[2])
    deep = tmp_path / "deep.json"
    deep.write_text("[" * 100_000)
    with pytest.raises(CommandError) as refusal:
        typed(*(deep if each == "deep.json" else each for each in arguments))
    assert said in str(refusal.value)
    assert refusal.value.returncode == 2


def test_it_reads_back_what_it_wrote_however_far_two_repeats_lie_apart():
    """A stall in one of two: the interval of its p95 ended at 1e+30 ms, where no number of a sweep is."""
    trials = [
        replace(each, p95_ms=1.0 if each.repeat == 1 else 60_000.0, mean_ms=None)
        for each in trials_of(hinge(2), sizes=(1, 2), repeats=2, noise=0.001)
    ]
    plan = replace(PLAN, sizes=(1, 2), repeats=2, slo=parse_slo("p95=300"))
    made = document_of(judged(SweepResult(plan, CONDITIONS, tuple(trials))))
    assert [(check["low"], check["high"]) for check in made["verdicts"][0]["checks"]] == [(None, None)]
    assert document_of(read_document(json.loads(json.dumps(made)))) == made


def test_four_times_as_many_trials_cost_about_four_times_as_much():
    """Each trial was compared with each other: a sweep of 10,000 was judged in minutes."""

    def calls(repeats: int) -> int:
        trials, count = trials_of(hinge(8), (1, 2, 4, 8, 16), repeats=repeats, noise=0.01), 0

        def counted(_frame: object, event: str, _arg: object) -> None:
            nonlocal count
            count += event == "call"

        before = sys.getprofile()
        sys.setprofile(counted)
        try:
            judged(SweepResult(PLAN, CONDITIONS, trials))
        finally:
            sys.setprofile(before)
        return count

    assert calls(80) < 6 * calls(20)
