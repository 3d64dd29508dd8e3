"""A sweep as it runs: what follows on a trial that failed, on a signal, on a knee. The trials are made up."""

import io
import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from rich.console import Console
from served import site_on

from pooldemo.site import project
from pooldemo.sweep import plan as planning
from pooldemo.sweep.facts import Conditions, Plan, TrialPlan, TrialResult
from pooldemo.sweep.measure import trial
from pooldemo.sweep.measure.observe import Holds
from pooldemo.sweep.measure.process import Ledger
from pooldemo.sweep.measure.run import Run
from pooldemo.sweep.measure.target import TrialError
from pooldemo.sweep.measure.trial import Bench, Clock, efficiencies, gone_by, mean_hold_ms, refusal, window_start
from pooldemo.sweep.report.terminal import Terminal
from pooldemo.sweep.stacks.stack import Stack

Maker = Callable[..., Run]

SITE = site_on("postgres://nowhere/site")
PLAN = Plan(sizes=(1, 2, 4), repeats=3, users=64, ms=50)


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Maker:
    """A Run whose trials are what `made` answers: requests a second, or an error's text."""

    def make(plan: Plan, made: Callable[[TrialPlan], float | str], **options: Any) -> Run:
        def fake(trial: TrialPlan, plan: Plan, stack: Stack, bench: Bench, announce: object) -> TrialResult:
            answer = made(trial)
            result = TrialResult(trial.stack, trial.size, trial.repeat)
            if isinstance(answer, str):
                return replace(result, error=answer)
            return replace(result, rps=answer, requests=int(answer), window_s=1.0, per_second=(int(answer),))

        monkeypatch.setattr("pooldemo.sweep.measure.trial.run", fake)
        bench = Bench(SITE, Ledger(tmp_path))
        return Run(plan, Conditions(max_connections=100), bench, **options)

    return make


def test_it_goes_on_after_a_trial_that_failed(trials: Maker) -> None:
    run = trials(PLAN, lambda trial: "no server" if trial.size == 2 else 20.0 * trial.size)
    assert len(list(run)) == 9
    assert [result.error for result in run.results if result.size == 2] == ["no server"] * 3


def test_it_calls_a_sweep_invalid_when_every_trial_failed(trials: Maker) -> None:
    run = trials(PLAN, lambda trial: "no server")
    list(run)
    assert [verdict.shape for verdict in run.verdicts()] == ["invalid"]


def test_it_ends_the_trial_and_no_more_when_it_is_told_to_stop(trials: Maker) -> None:
    counter = itertools.count()
    run = trials(PLAN, lambda trial: 20.0, stopping=lambda: next(counter) >= 2)
    assert len(list(run)) == 2
    assert run.left == 7


def test_it_runs_what_is_missing_and_what_failed_when_it_is_resumed(trials: Maker) -> None:
    done = [TrialResult("pooldemo", 1, 1, rps=20.0), TrialResult("pooldemo", 2, 1, error="no server")]
    run = trials(replace(PLAN, repeats=1), lambda trial: 20.0, done=done)
    assert sorted(result.size for result in run) == [2, 4]
    assert len(run.results) == 3


def test_it_adds_sizes_around_the_knee_when_it_is_adaptive(trials: Maker) -> None:
    plan = replace(PLAN, sizes=(1, 2, 4, 8, 16, 32), adaptive=True)
    run = trials(plan, lambda trial: 20.0 * min(trial.size, 12) + 0.01 * trial.repeat)
    list(run)
    assert set(run.plan.sizes) > {1, 2, 4, 8, 16, 32}
    (verdict,) = run.verdicts()
    assert verdict.shape == "knee"
    assert 11 <= (verdict.max_conns or 0) <= 13


def test_it_leaves_out_a_stack_that_cannot_run_here_and_says_how_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = Stack("lacking", "", programs=("no-such-program",), remedy="install it")
    known = {"lacking": lacking, "pooldemo": replace(lacking, name="pooldemo", programs=())}
    monkeypatch.setattr("pooldemo.sweep.stacks.get", known.__getitem__)
    plan, left_out = project.available(replace(PLAN, stacks=("lacking", "pooldemo")), SITE)
    assert plan.stacks == ("pooldemo",)
    assert left_out == ["lacking needs the program no-such-program: install it"]
    with pytest.raises(ValueError, match="no-such-program: install it"):
        project.available(replace(PLAN, stacks=("lacking",)), SITE)


def test_it_resumes_no_sweep_without_all_of_its_stacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its plan would lose one for good, and with it what was measured."""
    lacking = Stack("lacking", "", programs=("no-such-program",), remedy="install it")
    monkeypatch.setattr(
        "pooldemo.sweep.stacks.get", lambda name: replace(lacking, programs=()) if name == "ok" else lacking
    )
    plan = replace(PLAN, stacks=("ok", "lacking"))
    with pytest.raises(ValueError, match="--resume 7 needs every stack of that sweep: lacking .*: install it"):
        project.available(plan, SITE, resumed=7)


def test_it_shows_plain_lines_where_there_is_no_terminal(trials: Maker) -> None:
    stream = io.StringIO()
    run = trials(replace(PLAN, repeats=1), lambda trial: "no server" if trial.size == 2 else 20.0 * trial.size)
    with Terminal(stream) as terminal:
        terminal.begin(run.plan, 7, run.left)
        for number, result in enumerate(run, start=1):
            terminal.trial(result, run.plan, number, 3)
        terminal.table(run.plan, run.results)
        terminal.verdicts(run.verdicts())
    said = stream.getvalue()
    assert "\x1b" not in said
    assert "sweep 7: slow of 50 ms with 64 users, sizes 1, 2, 4, 1 repeat, 1 worker: 3 trials" in said
    assert "failed: no server" in said
    assert "pooldemo: " in said


def test_it_counts_no_trials_of_a_plan_that_has_all_of_its_own() -> None:
    """`--resume 7 --until-sure 20` began with "0 trials, about 0 s"."""
    stream = io.StringIO()
    with Terminal(stream) as terminal:
        terminal.begin(PLAN, 7, 0)
    assert stream.getvalue().endswith("repeats, 1 worker\n")


def test_it_keeps_what_goes_on_to_one_line_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pooldemo.sweep.report.terminal.duration", lambda _: "10 min 15 s")
    for columns in (40, 80, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        stream = io.StringIO()
        console = Console(file=stream, force_terminal=True, width=columns)
        terminal = Terminal(io.StringIO())
        terminal.announce(TrialPlan("dbutils-persistent", 128, 10), "warming up", 5, 600)
        console.print(terminal._progress.get_renderable())
        (line,) = stream.getvalue().splitlines()
        assert ("10 min 15 s left, until" in line) == (columns > 40), line


def test_it_shows_once_what_the_processes_of_failed_trials_said(trials: Maker) -> None:
    stream = io.StringIO()
    run = trials(replace(PLAN, repeats=1), lambda _: "gunicorn did not start: Traceback\n  File x\nOSError: in use")
    with Terminal(stream) as terminal:
        for result in run:
            terminal.trial(result, run.plan, 1, 3)
    said = stream.getvalue()
    assert said.count("failed: gunicorn did not start: OSError: in use\n") == 3
    assert said.count("      File x\n") == 1


def test_it_says_the_verdicts_alone_when_it_is_quiet(trials: Maker) -> None:
    stream = io.StringIO()
    run = trials(PLAN, lambda trial: 20.0)
    with Terminal(stream, quiet=True) as terminal:
        terminal.begin(run.plan, 7, run.left)
        for result in run:
            terminal.trial(result, run.plan, 1, 9)
        terminal.table(run.plan, run.results)
        terminal.verdicts(run.verdicts())
    assert stream.getvalue().startswith("pooldemo: flat\n")


def test_it_takes_the_efficiency_from_the_time_that_slots_were_held() -> None:
    """A hold that began before the window counts by its part, so no slot is ever held more than all the time."""
    before = Holds(5, 4.0, {1: (100.0, 4.9), 2: (100.5, 1.0)})
    after = Holds(15, 13.0, {1: (105.0, 14.9), 2: (104.5, 5.0)})
    assert efficiencies(before, after, 2) == pytest.approx([0.5, 1.0])
    assert efficiencies(before, replace(after, by_worker={3: (105.0, 1.0)}), 2) == [], "a new worker"
    assert efficiencies(before, replace(after, by_worker={1: (105.0, 0.5), 2: (104.5, 5.0)}), 2) == [], "a new pool"
    assert efficiencies(None, after, 2) == []
    assert mean_hold_ms(before, after) == pytest.approx(900)


@pytest.mark.parametrize(
    "after",
    [
        Holds(15, 3.0, {1: (105.0, 4.9), 2: (104.5, 0.1)}),
        Holds(15, 13.0, {1: (105.0, 14.9), 3: (104.5, 5.0)}),
        Holds(5, 4.0, {1: (105.0, 14.9), 2: (104.5, 5.0)}),
    ],
)
def test_it_tells_no_hold_where_workers_began_anew_or_held_nothing(after: Holds) -> None:
    """Less than nothing is in no record that can be read again."""
    assert mean_hold_ms(Holds(5, 4.0, {1: (100.0, 4.9), 2: (100.5, 1.0)}), after) is None


def test_no_trial_tells_of_less_than_no_cpu() -> None:
    """Nobody could read its sweep again."""
    assert (gone_by(3.0, 1.0), gone_by(0.5, 1.0), gone_by(None, 1.0)) == (2.0, 0.0, None)


def test_it_begins_the_window_with_the_second_next_to_the_end_of_the_warm_up() -> None:
    assert window_start(100.3, 2.0) == 102
    assert window_start(100.7, 2.0) == 103
    assert window_start(100.3, 0.0) == 101  # never in the past


@pytest.mark.parametrize("by_s", [4.0, -4.0])
def test_a_trial_fails_when_the_machines_clock_is_set_meanwhile(by_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its window had seconds that never were, or waited for one that was over."""
    now_s = [0.0, 1e9]
    monkeypatch.setattr("time.monotonic", lambda: now_s[0])
    monkeypatch.setattr("time.time", lambda: now_s[1])
    clock = Clock()
    now_s[:] = 600.0, 1e9 + 600.3
    clock.check()
    now_s[1] += by_s
    with pytest.raises(TrialError, match=rf"clock of this machine was set by \{by_s + 0.3:+.1f} s meanwhile, or it"):
        clock.check()


def test_a_trial_says_in_one_line_why_looking_on_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several lines, as libpq's, a verdict named the last: "before or while processing the request"."""
    for name in ("Probe", "Poll", "observe", "Window"):
        monkeypatch.setattr(trial, name, MagicMock())
    monkeypatch.setattr(trial, "trouble", lambda *_: "")
    monkeypatch.setattr(trial, "mean_hold_ms", lambda *_: 0.001)
    lost = OSError("server closed the connection\n\tThis probably means")
    look_on = trial._LookOn(*[MagicMock(error=lost, **{"workers.return_value": set()})] * 6)
    with pytest.raises(TrialError, match="^looking on failed: server closed the connection This probably means$"):
        look_on.window(Plan(duration_s=1, warmup_s=0, processes=1), MagicMock())


def test_the_load_goes_on_behind_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else who is served at its end never counts."""
    window, poll = MagicMock(), MagicMock()
    poll.return_value.__enter__.return_value.error = None
    for name, mock in (("Probe", MagicMock()), ("observe", MagicMock()), ("Poll", poll), ("Window", window)):
        monkeypatch.setattr(trial, name, mock)
    for name, value in (("trouble", ""), ("refusal", ""), ("mean_hold_ms", 80.0)):
        monkeypatch.setattr(trial, name, lambda *_, value=value: value)
    monkeypatch.setattr(trial._LookOn, "_result", MagicMock())
    monkeypatch.setattr(planning, "last_s", lambda plan, size, hold_ms: hold_ms / 200)
    asked_s = list[float]()
    load = MagicMock(check=lambda: asked_s.append(time.time()))
    look_on = trial._LookOn(*[MagicMock(error=None, **{"workers.return_value": set()})] * 6)
    look_on.window(Plan(duration_s=1, warmup_s=0, processes=1), load)
    _, start_s, seconds, after_s = window.cut.call_args.args
    assert after_s == 0.4
    assert max(asked_s) > start_s + seconds + after_s - 0.1, "it was still there"


def test_a_trial_fails_when_its_only_generator_stood_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its numbers were those of a window with a hole."""
    for name in ("Probe", "Poll", "observe"):
        monkeypatch.setattr(trial, name, MagicMock())
    monkeypatch.setattr(trial, "mean_hold_ms", lambda *_: 0.001)
    ticks = {str(int(time.time()) + second): 1.0 for second in (-1, 0, 30)}
    load = MagicMock(finish=lambda: {"generators": {"one": {"cpu_percent": ticks}}})
    look_on = trial._LookOn(*[MagicMock(**{"workers.return_value": set()})] * 6)
    with pytest.raises(TrialError, match="the load generator one stood still"):
        look_on.window(Plan(duration_s=1, warmup_s=0, processes=1), load)


def test_it_fails_a_trial_in_which_a_worker_ended() -> None:
    """Its requests were lost, and no failure said so: Locust's client sends a request again that was not answered."""
    target = MagicMock(url="http://127.0.0.1:1", pool=None, probe_path=None, said="Worker (pid:7) was sent SIGKILL!")
    target.workers.side_effect = [{7, 8}, {8, 9}]
    planned = TrialPlan("pooldemo", 2, 1, 2)
    look_on = trial._LookOn(planned, MagicMock(), target, MagicMock(postmaster=None), MagicMock(), MagicMock())
    with pytest.raises(TrialError, match="a worker of pooldemo ended meanwhile: Worker .pid:7. was sent SIGKILL!"):
        look_on.window(replace(PLAN, duration_s=1, warmup_s=0), MagicMock())


def test_a_trial_whose_pools_were_refused_connections_is_none_of_its_size():
    """A role with CONNECTION LIMIT 5, of which the sweep has 3: "from 2 to 5 slots throughput stays within 5%: the pool
    is not your bottleneck"."""
    before, after = Holds(5, 4.0, refused=1), Holds(15, 13.0, refused=4)
    assert "2 of their 5 connections (3 connects failed)" in refusal(before, after, 2, 5)
    assert refusal(before, after, 5, 5) == ""
    assert refusal(after, after, 2, 5) == ""
    assert refusal(None, after, 2, 5) == refusal(before, None, 2, 5) == refusal(before, after, None, 5) == ""
