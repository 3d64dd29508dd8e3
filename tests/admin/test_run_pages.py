"""A sweep from the page: who may start one, that the command decides what fits, and that it outlives the request."""

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from served import until

from pooldemo import models, records
from pooldemo.admin import runs
from pooldemo.admin.run_pages import typed_plan
from pooldemo.sweep.facts import SweepResult

RUN, START, CHECK, STOP = (reverse(f"admin:pooldemo_run{name}") for name in ("", "_start", "_check", "_stop"))
# In place of `manage.py sweep`: says what it was asked, counts signals, and ends when it is told twice.
COMMAND = """
import signal, sys, time
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
words = sys.argv[1:]
if "--sizes=x" in words:
    sys.exit("CommandError: --sizes x: 'x' is no pool size")
if "--dry-run" in words:
    print(f"{len(words)} trials, about 12 s; nothing was started")
    sys.exit()
print("sweep 4711: of", *words, flush=True)
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
    monkeypatch.setattr(runs, "_command", lambda options: [sys.executable, "-S", str(file), *options])
    yield
    while runs.stop():
        until(lambda: not runs.last().lives)


@pytest.fixture
def runner(db: None) -> Client:
    user = User.objects.create_user("runner", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=("view_sweep", "run_sweep")))
    client = Client()
    client.force_login(user)
    return client


def test_it_is_for_those_who_may_run_sweeps_and_sit_at_this_machine(viewer: Client, runner: Client) -> None:
    assert viewer.get(RUN).status_code == 403
    assert viewer.post(START, {"sizes": "1"}).status_code == 403
    assert runner.get(RUN).status_code == 200
    elsewhere: Any
    for elsewhere in ({"REMOTE_ADDR": "192.0.2.7"}, {"REMOTE_ADDR": ""}, {"HTTP_X_FORWARDED_FOR": "192.0.2.7"}):
        assert runner.get(RUN, **elsewhere).status_code == 403
        assert runner.post(START, {"sizes": "1"}, **elsewhere).status_code == 403
    assert not runs.last().said


def test_it_says_what_the_command_says_of_the_form(runner: Client) -> None:
    assert runner.post(CHECK, {"sizes": "1,2", "users": "4"}).json() == {"fits": True, "said": "3 trials, about 12 s"}
    assert runner.post(CHECK, {"sizes": "x"}).json() == {"fits": False, "said": "--sizes x: 'x' is no pool size"}


def test_it_passes_each_value_as_one_word_and_no_option_that_the_form_has_not() -> None:
    given = {"sizes": "1 --host=http://192.0.2.7", "users": " 4 ", "ms": "", "host": "http://192.0.2.7", "wsgi": "x"}
    assert runs.arguments(given) == ["--users=4", "--sizes=1 --host=http://192.0.2.7"]


def test_it_starts_one_watches_it_and_stops_it(runner: Client) -> None:
    assert runner.post(START, {"sizes": "1,2"}).url == reverse("admin:pooldemo_run_started")  # type: ignore[attr-defined]
    until(lambda: runs.last().number == 4711)
    assert "sweep 4711: of --sizes=1,2" in runs.last().said
    note = (runs.FOLDER / "page.json").read_text()
    assert os.getsid(int(note.split('"pid": ')[1].split(",")[0])) != os.getsid(0), "it outlives the site's processes"
    again = runner.post(START, {"sizes": "8"}, follow=True).content.decode()
    assert "two would measure each other" in again or "sweep/4711/change" in again
    assert "--sizes=8" not in runs.last().said
    runner.post(STOP)
    until(lambda: not runs.last().lives)
    assert runs.last().said.endswith("interrupted; the rest: later")


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


def test_it_takes_a_process_of_the_same_number_for_another(runner: Client, tmp_path: Path) -> None:
    (tmp_path / "page.log").write_text("sweep 3: gone")
    (tmp_path / "page.json").write_text(f'{{"pid": {os.getpid()}, "began": 1.0, "log": "{tmp_path}/page.log"}}')
    assert not runs.last().lives
    assert not runs.stop()


def test_its_form_is_filled_with_the_sweep_to_run_again(runner: Client, row: models.Sweep) -> None:
    html = runner.get(RUN, {"again": row.pk}).content.decode()
    for name, value in typed_plan(records.result(row).plan).items():
        wanted = f"<option selected>{value}<" if name == "workload" else f'name="{name}" value="{value}"'
        assert wanted in html


def test_it_compares_with_the_sweep_before_it_of_the_same_load(
    viewer: Client, row: models.Sweep, measured: SweepResult
) -> None:
    records.store(replace(measured, plan=replace(measured.plan, users=measured.plan.users + 1)))
    later = records.store(measured)
    html = viewer.get(reverse("admin:pooldemo_sweep_change", args=[later.pk])).content.decode()
    assert f"?sweeps={row.pk},{later.pk}" in html
    assert "Run again" not in html, "a viewer starts nothing"
