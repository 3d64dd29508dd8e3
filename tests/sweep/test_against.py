"""`sweep --against`: A and B in one run. Equal sides are not called worse, a loss is found, a commit is what it was."""

import html
import json
import math
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from django.core.management import CommandError, call_command
from synthetic import CONDITIONS

from benchmarks.verdicts.truth import NOISES, Noise, hinge, side_by_side
from pooldemo.management import checkout
from pooldemo.management.showing import show
from pooldemo.sweep import plan as planning
from pooldemo.sweep import stacks
from pooldemo.sweep.analyse.compare import compare_sides
from pooldemo.sweep.analyse.comparison import NEGLIGIBLE
from pooldemo.sweep.analyse.document import document_of, judged
from pooldemo.sweep.analyse.statistics import student_t
from pooldemo.sweep.facts import Plan, SweepResult, TrialResult
from pooldemo.sweep.measure.database import server_url
from pooldemo.sweep.measure.process import Ledger
from pooldemo.sweep.report import comparison, formats, junit, rerun
from pooldemo.sweep.report.terminal import Terminal
from pooldemo.sweep.stacks import variant

A, B = "pooldemo@1a2b3c", "pooldemo"
SIZES = (1, 2, 4, 8, 16)


def sides(
    loss: float = 0.0,
    seed: int = 0,
    noise: Noise = NOISES["normal"],
    repeats: int = 3,
    lost_at: tuple[int, ...] = SIZES,
) -> SweepResult:
    """A run in which B carries less than A."""
    chance, trials = random.Random(seed), []

    def less(size: int) -> float:
        return hinge(8)(size) * (1 - loss * (size in lost_at))

    run = side_by_side(hinge(8), less, SIZES, seed, noise, repeats)
    for order, (side, size, block, _, rps) in enumerate(run, start=1):
        ms = 300 * hinge(8)(size) / rps * math.exp(chance.gauss(0, 0.02))
        trials.append(TrialResult(A if side == "a" else B, size, block, order=order, rps=rps, p95_ms=ms, requests=1000))
    return judged(SweepResult(Plan(stacks=(B, A), sizes=SIZES, repeats=repeats), CONDITIONS, tuple(trials)))


def found(*arguments: Any, **options: Any) -> Any:
    return compare_sides(sides(*arguments, **options))


RESTLESS = Noise("10% at one size, 1% elsewhere", lambda chance, size, _: chance.gauss(0, 0.10 if size == 8 else 0.01))
TWO = Noise("10% at two sizes", lambda chance, size, _: chance.gauss(0, 0.10 if size in (8, 16) else 0.01))
BURSTS = Noise(
    "one trial of ten halved, the others 1%",
    lambda chance, *_: chance.gauss(0, 0.01) + (chance.random() < 0.1) * math.log(0.5),
)


@pytest.mark.parametrize("noise", [RESTLESS, BURSTS], ids=["restless", "bursts"])
def test_it_calls_equal_sides_worse_in_5_percent_at_most_where_trials_differ_in_their_noise(noise: Noise) -> None:
    """Judged by the noise of all sizes it was one run of five; and of bursts, by verdicts that became invalid, one of
    four."""
    assert sum(found(seed=seed, noise=noise).is_worse for seed in range(60)) <= 6


def test_it_calls_equal_sides_worse_in_5_percent_at_most_where_two_sizes_are_restless() -> None:
    """Two large ones looked like a noise that grows, and small ones like restless sizes: one run of ten was worse."""
    assert sum(found(seed=seed, noise=TWO).is_worse for seed in range(100)) <= 5


def test_it_finds_a_loss_at_one_size_by_the_repeats_of_that_size() -> None:
    assert sum(found(0.15, seed, lost_at=(4,)).is_worse for seed in range(40)) >= 38
    assert sum(found(0.15, seed, TWO, lost_at=(4,)).is_worse for seed in range(40)) >= 34


def test_a_restless_size_hides_no_loss_of_5_percent_at_all_the_others() -> None:
    """Of a mean over sizes that counts them alike it was not found in every fifth run."""
    assert sum(found(0.05, seed, RESTLESS).is_worse for seed in range(40)) >= 38


def test_it_seldom_says_not_worse_where_a_restless_size_alone_carries_a_fifth_less() -> None:
    """By what a loss at all sizes shows, which the others decide, it said so in three of four runs."""
    runs = [found(0.2, seed, RESTLESS, lost_at=(8,)) for seed in range(40)]
    assert sum(run.is_known and not run.is_worse for run in runs) <= 10
    assert all(found(seed=seed, noise=NOISES["outlier"]).is_known for seed in range(20)), "by one accident nobody can"


@pytest.mark.parametrize("noise", ["blocks and drift", "normal", "following"])
def test_it_calls_equal_sides_worse_in_5_percent_of_the_runs_at_most(noise: str) -> None:
    assert sum(found(seed=seed, noise=NOISES[noise]).is_worse for seed in range(40)) <= 3


@pytest.mark.parametrize("noise", ["blocks and drift", "normal"])
def test_it_finds_a_loss_of_5_percent_in_95_percent_of_the_runs(noise: str) -> None:
    assert sum(found(0.05, seed, NOISES[noise]).is_worse for seed in range(40)) >= 38


def test_it_says_that_it_cannot_tell_where_a_loss_would_be_missed_and_with_how_many_repeats_it_could() -> None:
    unsure = found(noise=NOISES["noisy"])
    assert (unsure.is_worse, unsure.is_known) == (False, False)
    assert unsure.finds > 0.05
    assert 4 <= int(unsure.needs.removeprefix("--repeats ")) <= 20
    *_, total = comparison.lines_of(unsure)
    assert total.startswith("nobody can tell: ")
    assert total.endswith(f"for one of 5%: {unsure.needs}")
    sure = found(noise=NOISES["noisy"], repeats=int(unsure.needs.removeprefix("--repeats ")))
    assert (sure.is_known, sure.needs) == (True, "")
    assert not found(repeats=1).is_known


def test_the_loss_that_it_finds_is_that_which_all_its_comparisons_together_would_show() -> None:
    seen = found(noise=NOISES["noisy"])
    (whole,) = (each for each in seen.changes if each.size is None and each.metric == "rps")
    half = math.log1p(whole.high) - math.log1p(whole.ratio)
    beyond = -math.log1p(-seen.finds) - NEGLIGIBLE - half  # so that it is seen in 95% of the runs
    freedom = 30 - 10 - 2
    assert beyond / half == pytest.approx(student_t(0.95, freedom) / student_t(1 - 0.05 / 4, freedom), rel=0.01)


def test_it_knows_of_a_side_that_is_shown_to_carry_more_that_it_is_not_worse() -> None:
    """Whatever loss it would have found: of 30% more it said that nobody can tell."""
    seen = found(-0.3)
    assert seen.finds > seen.wanted
    assert (seen.is_worse, seen.is_known, seen.needs) == (False, True, "")
    assert comparison.lines_of(seen)[-1].startswith("B is not worse: ")


def test_it_knows_that_of_one_size_as_well() -> None:
    run = sides(-0.5, noise=NOISES["noisy"])
    trials = tuple(each for each in run.trials if each.size == 8)
    seen = compare_sides(replace(run, plan=replace(run.plan, sizes=(8,)), trials=trials))
    assert seen
    assert seen.finds is None or seen.finds > 0.05
    assert (seen.is_worse, seen.is_known, seen.needs) == (False, True, "")


def test_it_advises_no_more_repeats_than_there_may_be() -> None:
    unsure = found(noise=NOISES["noisy"])
    assert replace(unsure, repeats=99).needs == "--repeats 100"
    assert replace(unsure, repeats=100).needs == ""


def test_its_page_and_its_reports_begin_with_what_it_was_run_for() -> None:
    """They said which size to use, and nowhere whether B is worse."""
    worse, same, better = sides(0.1), sides(repeats=9), sides(-0.1)
    unsure = sides(noise=NOISES["noisy"])
    assert comparison.of_sweep(worse).startswith("Worse than 1a2b3c: pooldemo at all sizes: ")
    assert comparison.of_sweep(same) == "No worse than 1a2b3c"
    assert comparison.of_sweep(better).startswith("Better than 1a2b3c: pooldemo at all sizes: ")
    assert comparison.of_sweep(unsure).startswith(
        "Nobody can tell whether it is worse than 1a2b3c: it takes --repeats "
    )
    for sweep in (worse, same, better, unsure):
        changed = compare_sides(sweep)
        assert changed
        *_, total = comparison.lines_of(changed)
        for name in ("html", "markdown"):
            text = html.unescape(formats.FORMATS[name].write(sweep)).replace("\N{NO-BREAK SPACE}", " ")
            assert text.index(comparison.of_sweep(sweep)) < text.index(total), name
    begun = replace(worse, verdicts=(), status="interrupted")
    assert comparison.of_sweep(begun).startswith("No answer yet")


def test_it_ends_with_what_the_comparison_says(capsys: pytest.CaptureFixture[str]) -> None:
    codes = [show(Terminal(sys.stdout), sides(loss, noise=NOISES[noise]), {}) for loss, noise in
             ((0.0, "blocks"), (0.1, "blocks"), (0.0, "noisy"))]  # fmt: skip
    assert codes == [0, 1, 3]
    text = capsys.readouterr().out
    assert "- pooldemo at all sizes: " in text
    assert "B is worse: " in text


def test_it_is_kept_in_the_document_and_compared_again_from_there(tmp_path: Path) -> None:
    path, tests = tmp_path / "sweep.json", tmp_path / "junit.xml"
    path.write_text(json.dumps(document_of(sides(0.1))))
    with pytest.raises(SystemExit) as ended:
        call_command("compare", str(path), "--junit", str(tests))
    assert ended.value.code == 1
    suite = ET.parse(tests).getroot()
    assert int(suite.get("failures", "0")) == len(suite.findall("testcase/failure")) > 0
    assert any(case.get("name") == "pooldemo at all sizes" for case in suite)
    path.write_text(json.dumps(document_of(sides(noise=NOISES["blocks"]))))
    call_command("compare", str(path), "--junit", str(tests))
    assert (ET.parse(tests).getroot().get("failures"), ET.parse(tests).getroot().get("errors")) == ("0", "0")
    path.write_text(json.dumps(document_of(replace(sides(), plan=Plan(stacks=(B,))))))
    with pytest.raises(CommandError, match="compared nothing: name a second sweep"):
        call_command("compare", str(path))


def test_its_tests_for_ci_can_be_read_whatever_a_server_said() -> None:
    broken = replace(sides(), trials=tuple(replace(each, error="\x1b[31mno\x00 server") for each in sides().trials))
    suite = ET.fromstring(junit.of_sweep(judged(broken)))
    said = [error.get("message", "") for error in suite.iter("error")]
    assert any("[31mno  server" in each for each in said)


def test_it_knows_nothing_where_one_side_failed_throughout() -> None:
    whole = sides()
    failed = [replace(each, rps=0.0, error="no server came up") if each.stack == A else each for each in whole.trials]
    run = judged(replace(whole, trials=tuple(failed)))
    seen = compare_sides(run)
    assert seen is not None
    assert (seen.is_worse, seen.is_known, seen.finds, seen.needs) == (False, False, None, "")
    assert comparison.lines_of(seen)[-1] == "nobody can tell: nothing was measured on both sides"
    assert comparison.of_sweep(run).endswith("worse than 1a2b3c: nothing was measured on both sides"), "no more repeats"


def test_it_knows_nothing_where_no_size_was_measured_on_both_sides_yet() -> None:
    whole = sides()
    begun = [each for each in whole.trials if (each.stack, each.size) in ((A, 1), (B, 2))]
    seen = compare_sides(judged(replace(whole, trials=tuple(begun), status="interrupted")))
    assert seen is not None
    assert (seen.is_worse, seen.is_known, seen.finds, seen.needs) == (False, False, None, "")
    assert comparison.lines_of(seen)[-1] == "nobody can tell: nothing was measured on both sides"


def test_a_stack_with_other_settings_has_them_in_its_environment_and_its_pool() -> None:
    made = stacks.get("pooldemo@RESET=always,FEATURE=on")
    assert (made.env, made.options) == ({"RESET": "always", "FEATURE": "on"}, {"RESET": "always"})
    assert made.database == stacks.get("pooldemo").database
    assert stacks.get("pooldemo@FEATURE={on}").env["FEATURE"].format(on="never") == "{on}", "no field of ours"
    url = server_url("postgres://me@/site?RESET=never&sslmode=disable", made.options)
    assert url.endswith("?sslmode=disable&RESET=always")
    plan = Plan(stacks=planning.against(("pooldemo", "geventpool"), "RESET=always"))
    assert planning.pairs(plan.stacks) == {"pooldemo@RESET=always": "pooldemo", "geventpool@RESET=always": "geventpool"}
    assert "--stack pooldemo,geventpool --against RESET=always" in rerun.command(plan)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("MAX_CONNS=9", "is what a trial sets by itself"),
        ("POOL_MOD=request", "did you mean POOL_MODE"),
        ("POOL_MODE=sometimes", "POOL_MODE"),
        ("RESET=always,now", "'now' is no setting"),
        ("RESET=always,RESET=never", "RESET is given twice"),
    ],
)
def test_it_refuses_settings_that_would_compare_nothing(text: str, said: str) -> None:
    with pytest.raises(ValueError, match="--against ") as refused:
        checkout.label(text)
    assert said in str(refused.value)


def test_a_stack_that_is_named_for_a_setting_is_measured_with_no_other() -> None:
    assert stacks.get("pooldemo@POOL_MODE=transaction").options == {"POOL_MODE": "transaction"}
    with pytest.raises(ValueError, match="pooldemo-transaction is named for its POOL_MODE; give --stack pooldemo"):
        stacks.get("pooldemo-transaction@POOL_MODE=request")


def test_a_commit_stands_in_a_folder_of_its_own_while_it_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> None:
        own = ("-c", "user.name=x", "-c", "user.email=x@y", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *own, *words], cwd=tmp_path, check=True, capture_output=True)

    project = tmp_path / "project"
    project.mkdir()
    git("init", "-q")
    (project / "manage.py").write_text("before")
    git("add", ".")
    git("commit", "-qm", "one")
    (project / "manage.py").write_text("after")
    for module in (checkout, variant):
        monkeypatch.setattr(module, "ROOT", project)
    monkeypatch.setattr(variant, "CHECKOUTS", tmp_path / "against")
    commit = checkout.label("HEAD")
    stack = stacks.get(f"pooldemo@{commit}")
    with checkout.checked_out(["pooldemo", stack.name]):
        assert (stack.root / "manage.py").read_text() == "before", "of this project, not of the whole repository"
    assert not stack.root.exists()
    assert not variant.CHECKOUTS.exists()
    with pytest.raises(ValueError, match="git knows no such commit; give a commit"):
        checkout.label("nowhere")


def test_commits_of_sweeps_that_were_killed_are_removed_and_those_of_others_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkout, "RUN_FOLDER", tmp_path / "run")
    monkeypatch.setattr(variant, "CHECKOUTS", tmp_path / "against" / "1")
    with Ledger(tmp_path / "run"):
        for name in (str(os.getpid()), "999999999", "1a2b3c4d5e6f"):
            (tmp_path / "against" / name / "project").mkdir(parents=True)
        checkout.clean_up()
        assert [each.name for each in (tmp_path / "against").iterdir()] == [str(os.getpid())]
    checkout.clean_up()
    assert list((tmp_path / "against").iterdir()) == []
