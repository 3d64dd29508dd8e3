"""`manage.py sweep` as it is typed: real servers, a real Locust, real signals. Windows are short: ratios are judged."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.core.management import CommandError, call_command
from served import PATIENCE_S, ROOT, free_port, until

from pooldemo import records
from pooldemo.sweep import plan as planning
from pooldemo.sweep.analyse.judge import judge
from pooldemo.sweep.facts import Conditions, Plan, SweepResult, TrialPlan, TrialResult
from pooldemo.sweep.measure import database
from pooldemo.sweep.measure.process import dying_with_us
from pooldemo.sweep.stacks.variant import checkout

RUN_FOLDER = ROOT / ".local" / "run"
PLAN = ["--stack", "pooldemo", "--ms", "50", "--users", "8", "--duration", "1", "--repeats", "1"]


class Typed:
    """A sweep as a process of its own; its output goes to a file. As a context manager it is killed in the end."""

    def __init__(self, database_url: str, folder: Path, *arguments: str) -> None:
        self.output = folder / f"output-{len(list(folder.iterdir()))}"
        command = dying_with_us([sys.executable, "manage.py", "sweep", *arguments])
        env = os.environ | {
            "DATABASE_URL": database_url,
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "COLUMNS": "200",
        }
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=output)

    def __enter__(self) -> "Typed":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def text(self) -> str:
        return self.output.read_text()

    def children(self) -> list[int]:
        """What its ledger names: server and load of the trial under way."""
        path = RUN_FOLDER / f"sweep-{self.process.pid}.json"
        return [pid for pid, _, _ in json.loads(path.read_text())["children"]] if path.exists() else []

    def under_way(self) -> list[int]:
        """Both processes of a trial, once they are there."""
        return until(lambda: pids if len(pids := self.children()) == 2 else None)

    def ends(self) -> int:
        """Its exit code."""
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def rows(database_url: str) -> Iterator[Any]:
    """Ask the test database: a query gives its rows. Sweeps are gone afterwards."""
    connection = database.connect(database_url)
    cursor = connection.cursor()

    def ask(query: str) -> list[tuple]:
        cursor.execute(query)
        return cursor.fetchall()

    yield ask
    cursor.execute("DELETE FROM pooldemo_trial")
    cursor.execute("DELETE FROM pooldemo_sweep")
    connection.close()


def gone(pids: list[int]) -> bool:
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)


def test_it_measures_saves_and_judges_each_size(database_url: str, tmp_path: Path, rows: Any) -> None:
    path = tmp_path / "sweep.json"
    with Typed(database_url, tmp_path, *PLAN, "--sizes", "1,4", "--warmup", "1", "--json", str(path)) as sweep:
        code = sweep.ends()
        document = json.loads(path.read_text())
    small, large = sorted(document["trials"], key=lambda trial: trial["size"])
    assert [trial["peak_connections"] for trial in (small, large)] == [1, 4]
    for trial in (small, large):  # how much was carried is the machine's; how it follows from slots and times is not
        assert trial["rps"] > 0
        assert trial["hold_mean_ms"] >= 50 <= trial["query_mean_ms"]
        assert 0 < trial["efficiency"] <= 1.01
    assert small["wait_p95_ms"] > 0, "eight users, and one slot"
    assert document["sweep"]["conditions"]["max_connections"] > 0
    assert rows(
        "SELECT size, rps, status FROM pooldemo_trial t JOIN pooldemo_sweep s ON s.id = sweep_id ORDER BY size"
    ) == [
        (1, small["rps"], "done"),
        (4, large["rps"], "done"),
    ]
    # One repeat has no interval, and the verdict says so instead of guessing.
    assert (code, document["verdicts"][0]["shape"]) == (3, "invalid")
    assert "--repeats 3" in sweep.text
    assert not RUN_FOLDER.joinpath(f"sweep-{sweep.process.pid}.json").exists()


def test_it_measures_a_commit_beside_what_is_here(database_url: str, tmp_path: Path, rows: Any) -> None:
    path = tmp_path / "junit.xml"
    given = ["--sizes", "1", "--warmup", "0", "--against", "HEAD", "--junit", str(path)]
    with Typed(database_url, tmp_path, *PLAN, *given) as sweep:
        assert sweep.ends() == 3, "one repeat tells nothing"
    found = rows("SELECT stack, rps > 0, error FROM pooldemo_trial ORDER BY stack")
    (b, there, _), (a, then, _) = found
    assert (b, there, then) == ("pooldemo", True, True), found
    assert a.startswith("pooldemo@")
    assert not checkout(a).exists()
    assert f"{a}: invalid" in sweep.text
    assert 'name="B is not worse"' in path.read_text()


def test_it_measures_nothing_where_one_of_two_sides_does_not_start(
    database_url: str, tmp_path: Path, rows: Any
) -> None:
    given = ["--sizes", "1", "--against", "DEBUG=perhaps"]
    with Typed(database_url, tmp_path, *PLAN, *given) as sweep:
        assert sweep.ends() == 2
    assert "the server of pooldemo@DEBUG=perhaps ended with 3: " in sweep.text
    assert rows("SELECT id FROM pooldemo_sweep") == []


def test_it_loses_and_repeats_no_trial_when_it_is_interrupted_and_killed(
    database_url: str, tmp_path: Path, rows: Any
) -> None:
    trials = "SELECT id, size FROM pooldemo_trial ORDER BY id"
    status = "SELECT status FROM pooldemo_sweep"
    with Typed(database_url, tmp_path, *PLAN, "--sizes", "1,2", "--warmup", "0") as sweep:
        pids = sweep.under_way()
        sweep.process.send_signal(signal.SIGINT)
        assert sweep.ends() == 130
        assert "finishing this trial" in sweep.text
        assert gone(pids)
    saved = rows(trials)
    assert (len(saved), rows(status)) == (1, [("interrupted",)])
    number = str(rows("SELECT id FROM pooldemo_sweep")[0][0])

    with Typed(database_url, tmp_path, "--resume", number) as sweep:
        pids = sweep.under_way()
        sweep.process.kill()
        sweep.ends()
        until(lambda: gone(pids))
    assert rows(trials) == saved
    listed = tmp_path / "list.json"
    with Typed(database_url, tmp_path, "--list", "--json", str(listed)) as look:
        assert look.ends() == 0
    (one,) = json.loads(listed.read_text())
    assert (one["id"], one["status"], one["load"]) == (int(number), "interrupted", "slow 50 ms, 8 users")
    assert rows(status) == [("interrupted",)]

    path = tmp_path / "sweep.json"
    with Typed(database_url, tmp_path, "--resume", number, "--json", str(path)) as sweep:
        sweep.ends()
    assert rows(trials)[:1] == saved
    assert sorted(size for _, size in rows(trials)) == [1, 2]
    assert sorted(trial["size"] for trial in json.loads(path.read_text())["trials"]) == [1, 2]
    assert rows(status) == [("done",)]


def test_it_stops_at_once_when_it_is_told_twice(database_url: str, tmp_path: Path, rows: Any) -> None:
    with Typed(database_url, tmp_path, *PLAN, "--sizes", "1", "--warmup", "600") as sweep:
        pids = sweep.under_way()
        sweep.process.send_signal(signal.SIGTERM)
        until(lambda: "finishing this trial" in sweep.text)
        assert not gone(pids)
        sweep.process.send_signal(signal.SIGTERM)
        assert sweep.ends() == 130
        assert gone(pids)
    assert rows("SELECT status FROM pooldemo_sweep") == [("interrupted",)]
    assert rows("SELECT * FROM pooldemo_trial") == []


@pytest.mark.django_db
def test_it_is_done_where_it_was_stopped_in_its_last_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop let the last trial end, and then it said "interrupted; the rest: ...", of a rest that there was not."""

    def stopped_in(last: int) -> tuple[int, str, int]:
        def fake(trial: TrialPlan, *_: object) -> TrialResult:
            if (trial.size, trial.repeat) == (order[last].size, order[last].repeat):
                signal.raise_signal(signal.SIGINT)
            return TrialResult(trial.stack, trial.size, trial.repeat, rps=10.0 * trial.size, requests=100)

        monkeypatch.setattr("pooldemo.sweep.measure.trial.run", fake)
        with pytest.raises(SystemExit) as ended:
            call_command("sweep", *PLAN, "--sizes", "1,2")
        sweep = records.latest()
        assert sweep is not None
        return int(str(ended.value.code)), sweep.status, sweep.trials.count()

    order = planning.order(Plan(sizes=(1, 2), repeats=1))
    assert stopped_in(0) == (130, "interrupted", 1)
    assert stopped_in(1) == (3, "done", 2), "one repeat is invalid"


def test_it_says_that_the_database_is_down(tmp_path: Path) -> None:
    with Typed(f"postgres://nobody@127.0.0.1:{free_port()}/site", tmp_path, *PLAN) as sweep:
        assert sweep.ends() == 2
        assert "no PostgreSQL listens on 127.0.0.1" in sweep.text
        assert "Traceback" not in sweep.text


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--sizes", "0"], "give whole numbers from 1"),
        (["--sizes", "4,x"], "'x' is no pool size"),
        (["--sizes", "99999"], "PostgreSQL takes"),
        (["--users", "0"], "--users 0 is out of range"),
        (["--stack", "nope"], "unknown stack 'nope': known are pooldemo"),
        (["--slo", "p42=1"], "accepted are p50"),
        (["--workload", "nope"], "known are slow"),
        (["--resume", "987654"], "there is no sweep 987654"),
        (["--seed", "9" * 20], "--seed .* is out of range"),
        (["--stack", "persistent", "--sizes", "9999999999"], "--sizes .* is out of range"),
        (["--html", "docs"], "docs is a folder; give a file"),
        (["--json", "x", "--csv", "x"], "x is given for another report as well"),
        (["--list", "--users", "5"], "leave out --users"),
        (["--list", "--against", "main"], "leave out --against"),
        (["--csv", "no/such/folder/x.csv"], r"no/such/folder/x.csv \(No such file or directory\): give a file"),
        (["--json", "no/such/folder/x.json", "--dry-run"], "no report can be written to no/such/folder/x.json"),
    ],
)
def test_it_refuses_what_it_cannot_run_in_one_sentence(arguments: list[str], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence) as refusal:
        call_command("sweep", *arguments)
    assert refusal.value.returncode == 2


@pytest.mark.django_db
def test_it_starts_nothing_on_a_dry_run(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("sweep", "--sizes", "1,2", "--repeats", "2", "--stack", "pooldemo,persistent", "--dry-run")
    said = capsys.readouterr().out
    assert said.count(" pooldemo at ") == said.count(" persistent at ") == 4
    assert "8 trials, about 1 min" in said


@pytest.mark.django_db
def test_it_leaves_a_sweep_that_is_done_as_it_was_when_it_is_resumed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = Plan(sizes=(2, 4), repeats=2, users=64)
    then = Conditions(cpus=64, max_connections=5000, versions={"python": "3.11.0"})
    row = records.begin(plan, then)
    for trial in planning.order(plan):
        records.save_trial(row, TrialResult(trial.stack, trial.size, trial.repeat, rps=40.0 * trial.size))
    verdicts = judge(plan, records.result(row).trials, then)
    records.end(row, "done", verdicts)
    ended_at = records.get(row.pk).ended_at
    monkeypatch.setattr(database, "conditions", lambda *_: pytest.fail("it asks for today's conditions"))
    path = tmp_path / "sweep.json"
    call_command("sweep", "--resume", str(row.pk), "--json", str(path))
    now = records.get(row.pk)
    assert (now.status, now.ended_at) == ("done", ended_at)
    written = SweepResult.from_dict(json.loads(path.read_text()))
    assert (written.conditions, written.verdicts) == (then, verdicts)


@pytest.mark.django_db
def test_it_says_in_a_sentence_that_its_folder_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(options["dir"]))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(CommandError) as refusal:
        call_command("sweep", *PLAN)
    assert "Errno" not in str(refusal.value)
    assert f"{RUN_FOLDER} cannot be used (Permission denied): a sweep writes to" in str(refusal.value)
    assert records.listing() == []


@pytest.mark.django_db
def test_it_lets_one_sweep_at_a_time_run_on_a_database(database_url: str, tmp_path: Path) -> None:
    other = database.connect(database_url)
    other.cursor().execute("SELECT pg_advisory_lock(%s)", [records.SWEEP_LOCK])
    path = tmp_path / "sweep.json"
    with pytest.raises(CommandError, match="another sweep is running") as refusal:
        call_command("sweep", *PLAN, "--json", str(path))
    other.close()
    assert refusal.value.returncode == 2
    assert not path.exists()
