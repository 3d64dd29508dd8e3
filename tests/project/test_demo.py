"""`manage.py demo` as `make demo` types it: a short one, on the test database, in a process of its own."""

import os
import re
import signal
import subprocess
import sys
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from rich.console import Console
from served import PATIENCE_S, ROOT

from pooldemo import records
from pooldemo.management.commands.demo import Command, answer, chart, load, opened, panel
from pooldemo.models import Sweep
from pooldemo.sweep import plan as planning
from pooldemo.sweep.analyse.judge import judge
from pooldemo.sweep.facts import Conditions, Plan, TrialResult
from pooldemo.sweep.report.terminal import Terminal

EVERY = {
    "workload": "slow",
    "ms": 50,
    "think_ms": 0,
    "users": 16,
    "duration_s": 1,
    "warmup_s": 0,
    "repeats": 1,
    "seed": 1,
}


def test_it_ends_with_the_verdict_the_connections_and_the_login(transactional_db: None, database_url: str) -> None:
    command = [sys.executable, "manage.py", "demo", "--sizes", "2", "--duration", "1", "--repeats", "1"]
    env = os.environ | {"DATABASE_URL": database_url, "DJANGO_SETTINGS_MODULE": "project.settings", "COLUMNS": "200"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pooldemo never opened more connections than it was allowed (1 trial)" in done.stdout
    told = r"^geventpool (opened \d+ connections where 2 were|never opened more connections than it was) allowed"
    assert re.search(told, done.stdout, re.MULTILINE), done.stdout  # how many in a second is its luck
    assert re.search(r"^pooldemo: (knee|rising|flat|invalid)", done.stdout, re.MULTILINE)
    assert "No answer this time" in done.stdout, "one size has no knee"
    assert "make demo ARGS='--sizes 1,2,4'" in done.stdout
    sweep = Sweep.objects.get()
    assert f"http://127.0.0.1:8000/admin/pooldemo/sweep/{sweep.pk}/change/" in done.stdout
    (password,) = re.findall(r"login admin  password (\S+)", done.stdout)
    admin = get_user_model().objects.get(username="admin")
    assert admin.check_password(password)
    assert admin.is_superuser


@pytest.mark.django_db
def test_it_leaves_the_password_of_an_admin_who_is_there() -> None:
    first = Command().login()
    (password,) = re.findall(r"password (\S+)", first)
    assert "changepassword admin" in Command().login()
    assert get_user_model().objects.get(username="admin").check_password(password)


@pytest.mark.django_db
@pytest.mark.parametrize(("needs", "more"), [("--repeats 5", True), ("--sizes 2,4", False), (None, False)])
def test_it_goes_on_for_a_minute_where_more_repeats_would_decide(
    monkeypatch: pytest.MonkeyPatch, needs: str | None, more: bool
) -> None:
    invalid = {"shape": "invalid", "max_conns": None, "because": "Repeats differ.", "needs": needs}
    ran: list[dict[str, Any]] = []

    def sweep(command: Command, plan: dict[str, Any]) -> int:
        ran.append(plan)
        if len(ran) == 1:
            verdicts = [VERDICT | (invalid if needs else {})]
            Sweep.objects.create(stacks=["pooldemo"], sizes=[2], workers=1, verdicts=verdicts, **EVERY)
        return 0

    monkeypatch.setattr(Command, "sweep", sweep)
    monkeypatch.setattr("pooldemo.management.commands.demo.leave_nothing_running", lambda: None)
    Command(stdout=StringIO()).handle(sizes=None, duration=2.0, repeats=2)
    assert ran[1:] == ([{"resume": Sweep.objects.get().pk, "until_sure": 1.0}] if more else [])


@pytest.mark.django_db
@pytest.mark.parametrize("where", ["call_command", "Command.check"])
def test_it_stops_what_runs_whatever_comes_meanwhile(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    stopped: list[str] = []

    def stop() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.raise_signal(number)
        stopped.append("all")

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"pooldemo.management.commands.demo.{where}", interrupted)
    monkeypatch.setattr("pooldemo.management.commands.demo.leave_nothing_running", stop)
    with pytest.raises((SystemExit, KeyboardInterrupt)) as end:
        call_command(Command(stderr=StringIO()), skip_checks=False)
    assert (getattr(end.value, "code", None), stopped) == (130 if where == "call_command" else None, ["all"])
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("seen", "text"),
    [
        ([(4, 4), (8, 7)], "geventpool never opened more connections than it was allowed (2 trials)"),
        ([(4, 16), (8, 20)], "geventpool opened 16 connections where 4 were allowed"),
        ([(4, None)], "geventpool: no trial ended, so PostgreSQL saw nothing of it"),
    ],
)
def test_it_says_the_worst_that_was_opened(seen: list[tuple[int, int | None]], text: str) -> None:
    sweep = Sweep.objects.create(stacks=["geventpool"], sizes=[4, 8], workers=1, **EVERY)
    for size, peak in seen:
        sweep.trials.create(stack="geventpool", size=size, repeat=1, peak_connections=peak)
    assert opened("geventpool", sweep) == text


@pytest.mark.parametrize("cores", [1, 2, 8])
def test_its_load_has_its_knee_in_the_middle_of_its_sizes_on_any_machine(cores: int) -> None:
    """From what its sizes can carry, at 50 ms and a little more held, comes a knee at four slots a core."""
    asked = load(cores)
    sizes = planning.parse_sizes(asked["sizes"])
    plan = Plan(
        stacks=("pooldemo",), sizes=sizes, workload="slow", ms=50, users=asked["users"], rate=float(asked["arrivals"])
    )
    for held_s in (0.051, 0.064):  # quiet; beside others
        trials = [
            TrialResult("pooldemo", size, repeat, rps=min(size / held_s, float(asked["arrivals"])), query_mean_ms=50)
            for size in sizes
            for repeat in (1, 2)
        ]
        (verdict,) = judge(plan, trials, Conditions(cpus=cores, max_connections=100))
        assert (verdict.shape, verdict.max_conns) == ("knee", 4 * cores), verdict


VERDICT = {
    "stack": "pooldemo", "shape": "knee", "max_conns": 8, "because": "8 slots carry 120.", "warnings": [],
    "rps": 120.0, "rps_low": None, "rps_high": None,
}  # fmt: skip


def test_it_says_in_one_line_what_to_use() -> None:
    assert answer(Sweep(verdicts=[VERDICT])) == ("Use MAX_CONNS=8", "8 slots carry 120.")


def test_it_says_what_disturbed_it_and_what_to_type_where_nobody_can_tell() -> None:
    doubts = [{"code": "other-load", "cause": "something else used 1.7 cores"}, {"code": "queueing", "cause": "queues"}]
    invalid = {"shape": "invalid", "max_conns": None, "because": "Repeats differ.", "warnings": doubts}
    title, why = answer(Sweep(pk=7, verdicts=[invalid | {"needs": "--repeats 98"}], repeats=2))
    assert title == "No answer this time"
    assert why.splitlines() == [
        "Repeats differ.",
        "What disturbed it: something else used 1.7 cores.",
        "Type when the machine is quieter: make demo",
        "Or add repeats now, for up to 20 minutes: make sweep ARGS='--resume 7 --until-sure 20'",
    ]
    assert answer(Sweep(verdicts=[invalid], repeats=2))[1].endswith("quieter: make demo"), "no option helps"


@pytest.mark.django_db
def test_the_readme_shows_its_end_as_it_is_printed() -> None:
    """The sentence for each stack, and the frame, made again from the README's own numbers and words."""
    (block,) = re.findall(
        r"```\n(pooldemo, requests/s by MAX_CONNS\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    bars, corner, framed = block.partition("╭")
    sweep = Sweep.objects.create(stacks=["pooldemo", "geventpool"], sizes=[2, 4, 8, 16], workers=1, **EVERY)
    for stack, lines in re.findall(r"^(\S+), requests/s by MAX_CONNS\n((?:  .*\n)+)", bars, re.MULTILINE):
        for size, peak in re.findall(r"^ +(\d+) .*opened +(\d+)", lines, re.MULTILINE):
            for repeat in (1, 2):
                sweep.trials.create(stack=stack, size=size, repeat=repeat, peak_connections=peak)
    assert bars.endswith("".join(f"{opened(stack, sweep)}\n" for stack in sweep.stacks))
    title, why = (" ".join(re.sub("[│╭╮╰╯─]", "", part).split()) for part in framed.split(f"│{' ' * 78}│")[1:3])
    frame = StringIO()
    Console(file=frame, width=80).print(panel(title, why))
    assert corner + framed == frame.getvalue()


@pytest.mark.django_db
def test_it_draws_a_bar_for_each_size_and_marks_the_one_to_use() -> None:
    stacks = ["pooldemo", "geventpool"]
    sweep = Sweep.objects.create(stacks=stacks, sizes=[4, 8], workers=1, verdicts=[VERDICT], **EVERY)
    for stack, size, rps, peak in (("pooldemo", 4, 60, 4), ("pooldemo", 8, 120, 8), ("geventpool", 4, 90, 12)):
        sweep.trials.create(stack=stack, size=size, repeat=1, rps=rps, peak_connections=peak)
    assert [line.split() for line in chart(sweep)] == [
        ["pooldemo,", "requests/s", "by", "MAX_CONNS"],
        ["4", "█" * 20, "60.0", "opened", "4"],
        ["8", "█" * 40, "120", "opened", "8", "<-", "use", "this"],
        ["geventpool,", "requests/s", "by", "MAX_CONNS"],
        ["4", "█" * 30, "90.0", "opened", "12", "more", "than", "allowed"],
    ]
    for size, rps in ((4, 50), (8, 121)):
        sweep.trials.create(stack="pooldemo", size=size, repeat=2, rps=rps, peak_connections=size)
    out = StringIO()
    Terminal(out).tables(records.result(sweep))
    table = {cells[1]: cells[2] for cells in map(str.split, out.getvalue().splitlines()) if cells[0] == "pooldemo"}
    drawn = dict(line.split()[::2][:2] for line in chart(sweep)[1:3])
    assert drawn == table == {"4": "55", "8": "120"}, "one rounding, with the digits that repeats allow"
