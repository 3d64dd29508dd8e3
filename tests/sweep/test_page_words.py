"""What the words of the pages mean: each has its sentence, and the docs say the same."""

import inspect
import re
from dataclasses import replace
from pathlib import Path

from synthetic import CONDITIONS, trials_of

from benchmarks.verdicts.truth import hinge
from pooldemo.sweep.analyse import warnings
from pooldemo.sweep.analyse.judge import judge
from pooldemo.sweep.analyse.rules import RULES
from pooldemo.sweep.facts import Plan, SweepResult, Warning_
from pooldemo.sweep.report import tables, words
from pooldemo.sweep.report.comparison import MARKS
from pooldemo.sweep.report.html_report import to_html

DOCS = Path(__file__).parents[2] / "docs"


def test_it_says_of_each_doubt_what_it_means() -> None:
    of_repeats = set(re.findall(r'Warning_\(\s*"([a-z-]+)"', inspect.getsource(warnings)))
    assert {"outlier", "one-repeat", "trial-failed"} <= of_repeats
    assert words.DOUBTS.keys() == RULES.keys() | of_repeats


def test_it_says_of_each_shape_and_each_change_what_it_means() -> None:
    assert tables.SHAPES.keys() <= words.of_plans(Plan()).keys()
    assert MARKS.keys() == {name for names in words.COMPARED for name in names.split(", ")}


def test_a_report_says_what_the_doubts_mean_that_it_has_and_no_others() -> None:
    plan, trials = Plan(users=200), trials_of(hinge(16))
    doubtful = (replace(trials[0], warnings=(Warning_("queueing", "a", "b"),)), *trials[1:])
    sweep = SweepResult(plan, CONDITIONS, doubtful, judge(plan, trials, CONDITIONS), id=7)
    report = to_html(sweep)
    assert f"<dt>queueing</dt><dd>{words.DOUBTS['queueing']}</dd>" in report
    assert "<dt>knee</dt>" in report
    assert "<dt>throttled</dt>" not in report


def test_they_say_the_margin_of_each_sweep_on_the_page() -> None:
    """Of a sweep of `--margin 3` a report said that a knee carries at most 5% less."""
    plan, trials = Plan(users=200, margin=3.0), trials_of(hinge(16))
    assert "at most 3% less than the best" in to_html(SweepResult(plan, CONDITIONS, trials, id=7))
    assert "at most 3% or 12.5% less than" in words.of_plans(replace(plan, margin=12.5), plan, plan)["knee"]


def test_the_guides_say_the_margin_that_a_sweep_has_by_default() -> None:
    for file in (DOCS.parent / "README.md", DOCS / "choosing-a-size.md"):
        assert f"at most {Plan().margin:g}% less than the best" in file.read_text(), file


def test_the_docs_say_the_same_of_the_same_words() -> None:
    said = words.of_plans(Plan())
    rows = re.findall(r"^\| ([\w ]+) \| (.+) \|$", (DOCS / "design.md").read_text(), re.MULTILINE)
    same = {word: meaning.replace("`", "") for word, meaning in rows if word in said}
    assert {"slot", "knee", "hold", "efficiency"} <= same.keys()
    assert same == {word: said[word] for word in same}
