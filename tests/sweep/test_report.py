"""The reports say the same numbers, in the shape that was promised, and need nothing from outside."""

import csv
import html
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from synthetic import CONDITIONS, trials_of

from benchmarks.verdicts.truth import hinge
from pooldemo.sweep.analyse.judge import judge
from pooldemo.sweep.analyse.slo import parse_slo
from pooldemo.sweep.facts import Plan, SweepResult, TrialPlan, TrialResult, Warning_
from pooldemo.sweep.report.formats import FORMATS, to_csv, to_json, to_markdown
from pooldemo.sweep.report.html_report import to_html
from pooldemo.sweep.report.tables import rows_of
from pooldemo.sweep.report.terminal import Terminal


def _sweep(**fields):
    plan = Plan(stacks=("pooldemo", "<other>"), users=200, slo=parse_slo("p95=300"))
    trials = [
        replace(trial, stack=stack, **fields)
        for stack, knee in (("pooldemo", 16), ("<other>", 4))
        for trial in trials_of(hinge(knee), p95_ms=123.4, hold_mean_ms=100.0, peak_connections=lambda size: size)
    ]
    return SweepResult(plan, CONDITIONS, tuple(trials), judge(plan, trials, CONDITIONS), id=7)


SWEEP = _sweep()


def test_it_writes_json_in_the_shape_of_the_contract():
    document = json.loads(to_json(SWEEP))
    assert set(document) == {"format", "sweep", "trials", "sizes", "verdicts"}
    assert {
        *("id", "stacks", "workload", "ms", "users", "workers", "duration_s", "warmup_s", "repeats", "seed"),
        "conditions",
    } <= set(document["sweep"])
    assert {
        *("stack", "size", "repeat", "rps", "p50_ms", "p95_ms", "p99_ms", "max_ms", "requests", "failures"),
        *("wait_p95_ms", "hold_mean_ms", "peak_connections", "efficiency", "warnings"),
    } <= set(document["trials"][0])
    assert {"stack", "shape", "max_conns", "rps", "rps_low", "rps_high", "because"} <= set(document["verdicts"][0])
    assert SweepResult.from_dict(document) == SWEEP


def test_it_writes_a_csv_row_for_each_trial_with_its_numbers_whole():
    rows = list(csv.DictReader(io.StringIO(to_csv(_sweep(warnings=(Warning_("failures", "a", "b"),))))))
    assert len(rows) == len(SWEEP.trials)
    assert float(rows[0]["rps"]) == SWEEP.trials[0].rps
    assert rows[0]["warnings"] == "failures"


def test_it_writes_markdown_with_the_verdict_and_the_recommended_row_in_bold():
    text = to_markdown(SWEEP)
    assert "export MAX_CONNS=16" in text
    assert re.search(r"^\| \*\*16\*\* \|", text, re.MULTILINE)
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert len(widths) == 1


class _Page(HTMLParser):
    """Which tags stand in a page, whether they are closed, and what they refer to."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.references = [], set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.references += [value for name, value in attrs if name in ("src", "href", "action")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_it_writes_one_html_file_that_needs_no_network_and_no_script():
    text = to_html(SWEEP)
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert page.references == []
    assert "script" not in page.tags
    assert {"svg", "table", "dl"} <= page.tags
    assert not re.search(r"url\(|@import", text)
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_it_escapes_what_others_have_written():
    assert "<other>" not in to_html(SWEEP)
    assert "&lt;other&gt;" in to_html(SWEEP)
    prose = re.sub("```.*?```", "", to_markdown(SWEEP), flags=re.DOTALL)
    assert "<other>" not in prose
    assert "&lt;other>" in prose


@pytest.mark.parametrize("write", [to_html, to_markdown])
def test_it_says_why_all_failed_and_the_command_to_repeat_it(write):
    plan = Plan(users=8, sizes=(1, 2))
    trials = tuple(TrialResult("pooldemo", size, 1, error="no module named 'mysite'") for size in plan.sizes)
    sweep = SweepResult(plan, CONDITIONS, trials, judge(plan, trials, CONDITIONS), id=7, status="failed")
    text = html.unescape(write(sweep))
    assert "No answer: every trial failed" in text
    assert "no module named 'mysite'" in text
    assert "python manage.py sweep --stack pooldemo --sizes 1,2 --workload slow --users 8" in text


def test_it_shows_the_same_throughput_in_every_table():
    printed = rows_of(SWEEP, "pooldemo")[4].cells[1]
    assert printed in to_markdown(SWEEP)
    assert printed in to_html(SWEEP)


def test_it_writes_failures_alike_in_the_terminal_and_in_the_reports():
    sweep, out = _sweep(requests=9000, failures=4000), io.StringIO()
    Terminal(out).tables(sweep)
    assert rows_of(sweep, "pooldemo")[0].cells[-1] == "12,000"
    assert " 12,000 " in out.getvalue()


def test_it_shows_no_number_where_nobody_counted_connections():
    """A site that runs already, whose connections have no name of their own."""
    for peak, shown in ((None, "-"), (0, "0")):
        sweep, out = _sweep(peak_connections=peak), io.StringIO()
        Terminal(out).tables(sweep)
        opened = {line.split()[-1] for line in out.getvalue().splitlines() if line.startswith("pooldemo")}
        assert opened == {shown}
        assert (rows_of(sweep, "pooldemo")[0].cells[-3] == "-") is (peak is None)


@pytest.mark.parametrize("is_terminal", [False, True])
def test_it_shows_what_looks_like_markup_as_it_is(is_terminal, monkeypatch):
    """A stack that is measured against a setting has that in its name."""
    monkeypatch.setenv("FORCE_COLOR", "1" if is_terminal else "")
    monkeypatch.delenv("NO_COLOR", raising=False)
    name = "pooldemo PATTERN=[/a]:heart:"
    plan = replace(SWEEP.plan, stacks=(name,), urls=("/[b]/",), workload="url")
    trials = [replace(each, stack=name) for each in SWEEP.trials if each.stack == "pooldemo"]
    sweep, out = (
        replace(SWEEP, plan=plan, trials=tuple(trials), verdicts=judge(plan, trials, CONDITIONS)),
        io.StringIO(),
    )
    terminal = Terminal(out)
    with terminal:
        terminal.announce(TrialPlan(name, 8, 1), "measuring", 1, 1)
        terminal.kept(sweep)
        terminal.tables(sweep)
        terminal.verdicts(sweep.verdicts)
    assert out.getvalue().count(name) >= 2
    assert "/[b]/" in out.getvalue()


@pytest.mark.parametrize("name", FORMATS)
def test_it_reports_a_sweep_without_a_single_success(name):
    plan = Plan()
    for trials in ((), (TrialResult("pooldemo", 8, 1, error="gunicorn did not start"),)):
        text = FORMATS[name].write(SweepResult(plan, CONDITIONS, trials, judge(plan, trials, CONDITIONS)))
        assert "pooldemo" in text or not trials
        assert "NaN" not in text
        assert "Infinity" not in text
