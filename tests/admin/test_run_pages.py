"""A sweep from the page: who may start one, that the command decides what fits, and that it outlives the request."""

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command, get_commands, load_command_class
from django.test import Client
from django.urls import reverse
from served import PATIENCE_S, until

from pooldemo import models, records
from pooldemo.admin import run_form, runs
from pooldemo.management.sweep_options import planned
from pooldemo.sweep.analyse.ending import BY_WHOM
from pooldemo.sweep.facts import Limit, Plan, SweepResult
from pooldemo.sweep.stacks.stack import FROM_PAGE

RUN, START, CHECK, STOP = (reverse(f"admin:pooldemo_run{name}") for name in ("", "_start", "_check", "_stop"))
# In place of `manage.py sweep`: says what it was asked, counts signals, and ends when it is told twice.
COMMAND = """
import signal, sys, time
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
words = sys.argv[1:]
if "--sizes=killed" in words:
    signal.raise_signal(signal.SIGKILL)
if "--sizes=x" in words:
    sys.exit("CommandError: --sizes x: 'x' is no pool size")
if "--dry-run" in words:
    print(f"{len(words)} trials, about 12 s; nothing was started")
    sys.exit()
print("sweep 12: 3 trials that PostgreSQL could not take then are saved now")
print("sweep 4711: slow 100 ms with 64 users, sizes 1, 2:", *words, flush=True)
for _ in range(6000):
    if told:
        sys.exit("interrupted; the rest: later")
    time.sleep(0.01)
"""


@pytest.fixture(autouse=True)
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    file = tmp_path / "sweep.py"
    file.write_text(COMMAND)
    monkeypatch.setattr(runs, "FOLDER", tmp_path)
    monkeypatch.setattr(runs, "PATIENCE_S", 0.5)
    monkeypatch.setattr(runs, "_command", lambda options: [sys.executable, "-S", str(file), *options])
    yield
    while runs.stop():
        until(lambda: not runs.last().lives)


@pytest.fixture
def runner(db: None) -> Client:
    user = User.objects.create_user("runner", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=("view_sweep", "run_sweep")))
    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(user)
    return client


def test_it_is_for_those_who_may_run_sweeps_and_sit_at_this_machine(viewer: Client, runner: Client) -> None:
    assert viewer.get(RUN).status_code == 403
    assert viewer.post(START, {"sizes": "1"}).status_code == 403
    assert runner.get(RUN).status_code == 200
    elsewhere: Any
    for elsewhere in (
        {"REMOTE_ADDR": "192.0.2.7"}, {"REMOTE_ADDR": ""}, {"HTTP_X_FORWARDED_FOR": "127.0.0.1"},
        {"HTTP_X_FORWARDED_PROTO": "https"}, {"HTTP_X_REAL_IP": "127.0.0.1"}, {"HTTP_VIA": "1.1 proxy"},
        {"HTTP_FORWARDED": "for=127.0.0.1"}, {"SERVER_NAME": "testserver"}, {"SERVER_PROTOCOL": "HTTP/1.0"},
        {"HTTP_ORIGIN": "https://sweeps.example.com"}, {"HTTP_ORIGIN": "null"},
    ):  # fmt: skip
        assert runner.get(RUN, **elsewhere).status_code == 403
        assert runner.post(START, {"sizes": "1"}, **elsewhere).status_code == 403
    assert not runs.last().said
    for here in (
        {"REMOTE_ADDR": "::1"},
        {"REMOTE_ADDR": "::ffff:127.0.0.1"},
        {"HTTP_HOST": "localhost:8000"},
        {"HTTP_ORIGIN": "http://127.0.0.1"},
    ):
        assert runner.get(RUN, **here).status_code == 200  # type: ignore[arg-type]


def test_it_says_what_the_command_says_of_the_form(runner: Client) -> None:
    assert runner.post(CHECK, {"sizes": "1,2", "users": "4"}).json() == {"fits": True, "said": "3 trials, about 12 s"}
    assert runner.post(CHECK, {"sizes": "x"}).json() == {"fits": False, "said": "--sizes x: 'x' is no pool size"}


def test_it_passes_each_value_as_one_word_and_no_option_that_the_form_has_not() -> None:
    given = {"sizes": "1 --host=http://192.0.2.7", "users": " 4 ", "ms": "", "host": "http://192.0.2.7", "wsgi": "x"}
    assert run_form.options(given) == ["--users=4", "--sizes=1 --host=http://192.0.2.7"]
    assert run_form.options({"url": "/a/ /b/?q=1", "adaptive": "on"}) == ["--url=/a/", "--url=/b/?q=1", "--adaptive"]


def test_it_says_in_words_that_the_command_was_killed(runner: Client) -> None:
    """As where the machine has no memory left: "it ended with -9 and said nothing"."""
    said = runner.post(CHECK, {"sizes": "killed"}).json()["said"]
    assert said == f"the command was killed by signal 9 (Killed), {BY_WHOM}"
    runs.start(["--sizes=killed"])
    until(lambda: not runs.last().lives)
    html = runner.get(reverse("admin:pooldemo_run_started")).content.decode()
    assert f"It said nothing, as one that was killed: {BY_WHOM}." in html


@pytest.mark.parametrize("value", ["1\x00", "1" * 3_000_000])
def test_it_refuses_what_no_command_can_be_given(value: str) -> None:
    fits, said = runs.check([f"--sizes={value}"])
    assert not fits
    assert "cannot be given to the command" in said


def test_it_writes_nothing_to_see_that_none_was_started(tmp_path: Path) -> None:
    """Where the folder can only be read the page of an interrupted sweep was a 500."""
    before = {*tmp_path.iterdir()}
    assert not runs.last().lives
    assert {*tmp_path.iterdir()} == before


def test_it_starts_one_watches_it_and_stops_it(runner: Client) -> None:
    assert runner.post(START, {"sizes": "1,2"}).url == reverse("admin:pooldemo_run_started")  # type: ignore[attr-defined]
    until(lambda: runs.last().number == 4711)
    assert runs.last().said.endswith("sizes 1, 2: --sizes=1,2")
    note = (runs.FOLDER / "page.json").read_text()
    assert os.getsid(int(note.split('"pid": ')[1].split(",")[0])) != os.getsid(0), "it outlives the site's processes"
    again = runner.post(START, {"sizes": "8"}, follow=True).content.decode()
    assert "two would measure each other" in again or "sweep/4711/change" in again
    assert "--sizes=8" not in runs.last().said
    assert not runs.stop(number=12), "a page of another one stops nothing"
    assert runs.last().lives
    assert runs.stop(number=4711)
    until(lambda: not runs.last().lives)
    assert runs.last().said.endswith("interrupted; the rest: later")


def test_it_starts_one_of_many_that_are_asked_for_at_once() -> None:
    with ThreadPoolExecutor(8) as pool:
        begun = list(pool.map(lambda place: runs.start([f"--users={place}"]), range(8)))
    assert sorted(begun) == [False] * 7 + [True]
    until(lambda: runs.last().number == 4711)
    assert runs.last().said.endswith(f"--users={begun.index(True)}"), "what it says is its own"


def test_it_goes_on_with_one_whose_process_is_just_about_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row says before that it has ended, and who pressed "Go on with it" at once read that another one runs."""
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        time.sleep(seconds)

    assert runs.start([])
    until(lambda: runs.last().number == 4711)
    monkeypatch.setattr(runs, "PATIENCE_S", PATIENCE_S)
    monkeypatch.setattr(runs, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    with ThreadPoolExecutor(1) as pool:
        again = pool.submit(runs.start, ["--resume=4711"])
        until(lambda: sum(slept) > 1 or again.done())
        runs.stop()
        assert again.result()


def test_it_knows_that_one_was_killed_whatever_the_clock_and_the_numbers_of_processes_say() -> None:
    assert runs.start([])
    until(lambda: runs.last().number == 4711)
    pid = int(re.findall(r'"pid": (\d+)', (runs.FOLDER / "page.json").read_text())[0])
    os.kill(pid, signal.SIGKILL)
    until(lambda: not runs.last().lives)
    (runs.FOLDER / "page.json").write_text(f'{{"pid": {os.getpid()}, "log": "{runs.FOLDER}/page.log"}}')
    assert not runs.stop(), "the number is somebody else's now"
    assert runs.start([])


def test_it_takes_no_sweep_of_another_database_for_one_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert runs.start([])
    until(lambda: runs.last().number == 4711)
    monkeypatch.setattr(runs, "_database", lambda: ["", "5432", "another"])
    assert (runs.last().lives, runs.last().number) == (True, None)
    assert not runs.stop(number=4711)
    assert not runs.start([]), "they would measure each other"


def test_it_stops_the_sweep_whose_page_said_so(runner: Client, measured: SweepResult) -> None:
    ended, killed = records.store(measured), records.begin(measured.plan, measured.conditions)
    assert runs.start([])
    until(lambda: runs.last().number == 4711)
    for row in (killed, ended):
        html = runner.post(STOP, {"number": row.pk}, follow=True).content.decode()
        assert "It has ended already." in html
    assert runs.last().lives
    for odd in ("", "x", "4711", "9" * 5000):
        assert runner.post(STOP, {"number": odd}).status_code == 404


def test_a_login_that_comes_between_leads_back_to_the_page_of_the_form(runner: Client, row: models.Sweep) -> None:
    share = reverse("admin:pooldemo_sweep_share", args=[row.pk])
    pages = {START: RUN, STOP: reverse("admin:pooldemo_run_started"), share: f"/admin/pooldemo/sweep/{row.pk}/change/"}
    for address, page in pages.items():
        login = Client(SERVER_NAME="127.0.0.1").post(address, {"number": row.pk})
        assert login.url == f"/admin/login/?next={address}"  # type: ignore[attr-defined]
        assert runner.get(address).url == page  # type: ignore[attr-defined]


def test_it_keeps_what_was_typed_when_the_command_refuses(runner: Client) -> None:
    html = runner.post(START, {"sizes": "x", "users": "77"}, follow=True).content.decode()
    assert "&#x27;x&#x27; is no pool size" in html
    assert 'name="users" value="77"' in html
    assert not runs.last().lives


def test_it_goes_on_with_an_interrupted_sweep(runner: Client, measured: SweepResult) -> None:
    row = records.store(replace(measured, status="interrupted", trials=measured.trials[:5]))
    page = reverse("admin:pooldemo_sweep_change", args=[row.pk])
    assert f'name="resume" value="{row.pk}"' in runner.get(page).content.decode()
    runner.post(START, {"resume": row.pk})
    until(lambda: f"--resume={row.pk}" in runs.last().said)


@pytest.mark.parametrize("from_page", [True, False])
def test_one_from_a_page_leaves_no_postgresql_behind(
    db: None, monkeypatch: pytest.MonkeyPatch, from_page: bool
) -> None:
    """It outlives the site, which finds the server in use as it ends: nobody stopped it when the sweep had ended."""
    left: list[str] = []
    monkeypatch.setattr("pooldemo.management.commands.sweep.leave_nothing_running", lambda: left.append("nothing"))
    for name in runs._environment().keys() & {FROM_PAGE} if from_page else ():
        monkeypatch.setenv(name, "1")
    call_command("sweep", "--list")
    assert left == ["nothing"] * from_page


def test_it_starts_nothing_in_place_of_a_sweep_that_was_deleted(runner: Client) -> None:
    assert runner.post(START, {"resume": "999999"}).status_code == 404
    assert not runs.last().lives


PLANS = (
    Plan(),
    Plan(("pooldemo", "geventpool"), (1, 3), "think", ms=100.0, think_ms=7.5, users=3, workers=2, seed=-5, margin=7.5),
    Plan(workload="hold", duration_s=1.5, warmup_s=2.0, repeats=7, slo=(Limit("p95", 250.0), Limit("errors", 0.001))),
    Plan(rate=5.0, poisson=False, processes=2, adaptive=True, sizes=(1, 2, 4, 8, 16), splits=(1, 2, 4), workers=4),
    Plan(search=True, poisson=True, slo=(Limit("max", 1000.0),), warmup_cycles=1.2),
    Plan(workload="urls", urls=("/orders/", "/search/?q=x'%20y"), stacks=("pooldemo",), ms=100.0),
)


@pytest.mark.parametrize("plan", PLANS)
def test_its_form_is_filled_with_all_of_the_sweep_to_run_again(
    runner: Client, measured: SweepResult, plan: Plan
) -> None:
    row = records.store(replace(measured, plan=plan, trials=(), verdicts=()))
    html = runner.get(RUN, {"again": row.pk}).content.decode()
    given = dict(re.findall(r'<input name="([\w-]+)" value="([^"]*)"', html))
    given |= dict.fromkeys(re.findall(r'<input type="checkbox" name="(\w+)" checked', html), "on")
    for name, choices in re.findall(r'<select name="(\w+)">(.*?)</select>', html):
        given[name] = "".join(re.findall(r" selected>(\w+)<", choices))
    given = {name: unescape(value) for name, value in given.items()}
    command = load_command_class(get_commands()["sweep"], "sweep")
    options = command.create_parser("manage.py", "sweep").parse_args(run_form.options(given))
    assert planned(None, vars(options))[0] == plan


def test_its_form_shows_the_commands_own_defaults(runner: Client) -> None:
    html = runner.get(RUN).content.decode()
    shown = dict(re.findall(r'name="([\w-]+)" value="" placeholder="([^"]*)"', html))
    numbers = {
        name: shown[name] for name in ("ms", "think-ms", "users", "workers", "duration", "warmup", "repeats", "seed")
    }
    plan = Plan()
    wanted = (plan.ms, plan.think_ms, plan.users, plan.workers, plan.duration_s, plan.warmup_s, plan.repeats, plan.seed)
    assert tuple(map(float, numbers.values())) == wanted
    assert shown["sizes"] == ",".join(map(str, plan.sizes))
    assert f'<option value="">{plan.workload} (default)</option>' in html
    assert '<option data-ms="5">think</option>' in html


@pytest.mark.parametrize(
    "odd", [{"locustfile": "/tmp/x.py"}, {"host": "http://192.0.2.7"}, {"stacks": ("pooldemo@X=1",)}]
)
def test_it_repeats_nothing_that_the_form_cannot_say(runner: Client, measured: SweepResult, odd: Any) -> None:
    row = records.store(replace(measured, plan=replace(measured.plan, **odd), trials=(), verdicts=()))
    html = runner.get(reverse("admin:pooldemo_sweep_change", args=[row.pk])).content.decode()
    assert "Run again</a>" not in html
    assert "python manage.py sweep " in html


def test_it_compares_with_the_sweep_before_it_of_the_same_load(
    viewer: Client, row: models.Sweep, measured: SweepResult
) -> None:
    records.store(replace(measured, plan=replace(measured.plan, users=measured.plan.users + 1)))
    records.store(replace(measured, status="failed"))  # with which there is nothing to compare
    later = records.store(measured)
    html = viewer.get(reverse("admin:pooldemo_sweep_change", args=[later.pk])).content.decode()
    assert f"?sweeps={row.pk},{later.pk}" in html
    assert "Run again" not in html, "a viewer starts nothing"
