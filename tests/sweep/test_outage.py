"""What becomes of a sweep when PostgreSQL, its disk or its terminal fails: nothing measured is lost, no row lies."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import psutil
import psycopg2
import pytest
from django.db import DatabaseError, OperationalError, connection
from django.db.models import QuerySet
from django.test import Client
from django.urls import reverse
from own_folders import folder_of_servers
from served import ROOT, until

from pooldemo import models, records
from pooldemo.embedded import EmbeddedPostgres
from pooldemo.records import turn as turns
from pooldemo.records import unsaved
from pooldemo.sweep.facts import Conditions, Plan, TrialResult
from pooldemo.sweep.measure import database
from pooldemo.sweep.measure.process import clean_up, dying_with_us

PLAN = ["--ms", "20", "--users", "2", "--duration", "1", "--warmup", "0", "--repeats", "1"]
RUN_FOLDER = ROOT / ".local" / "run"
PATIENCE_S = 300.0  # a machine that does ten things at once starts a server in a minute
TRIAL = TrialResult("pooldemo", 4, 1, rps=79.5, latencies=((50.0, 3),))


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that may be stopped."""
    with folder_of_servers("pooldemo oütage ") as folder:
        server = EmbeddedPostgres(folder / ".local", tell=lambda sentence: None)
        server.ensure()
        with manage(server.url, "migrate", "-v", "0") as migrate:
            assert migrate.wait(PATIENCE_S) == 0
        yield server


def manage(url: str, *arguments: str, **streams: Any) -> "subprocess.Popen[bytes]":
    env = os.environ | {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "project.settings", "COLUMNS": "200"}
    command = dying_with_us([sys.executable, "manage.py", *arguments])
    return subprocess.Popen(command, cwd=ROOT, env=env, **streams)


def children(sweep: "subprocess.Popen[bytes]") -> list[int]:
    """Server and load of its trial, once both are there."""
    path = RUN_FOLDER / f"sweep-{sweep.pid}.json"

    def both() -> list[int] | None:
        pids = [pid for pid, _, _ in json.loads(path.read_text())["children"]] if path.exists() else []
        return pids if len(pids) == 2 else None

    return until(both, PATIENCE_S)


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    with closing(database.connect(url)) as asked, asked.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_it_goes_on_after_a_restart_of_postgresql_and_has_its_turn_again(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    held = f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = {records.SWEEP_LOCK & 0xFFFFFFFF}"
    with (tmp_path / "said").open("wb") as said:  # it is not over before anybody looks
        sweep = manage(server.url, "sweep", *PLAN, "--sizes", "1,2,3", "--repeats", "99", stdout=said, stderr=said)
    try:
        children(sweep)
        server.stop(force=True)
        server.ensure()
        until(lambda: ask(server.url, held) == [(1,)], PATIENCE_S)
        until(lambda: ask(server.url, "SELECT count(*) > 1 FROM pooldemo_trial WHERE rps > 0") == [(True,)], PATIENCE_S)
        sweep.send_signal(signal.SIGINT)
        assert sweep.wait(PATIENCE_S) == 130
    finally:
        sweep.kill()
        sweep.wait()
    [(number, status)] = ask(server.url, "SELECT id, status FROM pooldemo_sweep ORDER BY id DESC LIMIT 1")
    assert status == "interrupted"
    trials = f"SELECT bool_and(rps > 0 OR error <> '') FROM pooldemo_trial WHERE sweep_id = {number}"
    assert ask(server.url, trials) == [(True,)]
    assert "Traceback" not in (tmp_path / "said").read_text()


def test_it_keeps_in_a_file_what_a_postgresql_that_is_gone_cannot_take(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    with (tmp_path / "said").open("wb") as output:
        sweep = manage(server.url, "sweep", *PLAN, "--sizes", "1,2", stdout=output, stderr=output)
    try:
        children(sweep)
        server.stop(force=True)
        until(lambda: "PostgreSQL does not answer" in (tmp_path / "said").read_text(), PATIENCE_S)
        sweep.send_signal(signal.SIGTERM)
        assert sweep.wait(PATIENCE_S) == 130
    finally:
        sweep.kill()
        sweep.wait()
        server.ensure()
    said = (tmp_path / "said").read_text()
    assert "is kept in" in said
    assert "Traceback" not in said
    [(number, status)] = ask(server.url, "SELECT id, status FROM pooldemo_sweep ORDER BY id DESC LIMIT 1")
    assert status == "running"  # nobody could say otherwise, and nobody has looked yet
    look = manage(server.url, "sweep", "--list", "--json", "-", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    listed, told = look.communicate(timeout=PATIENCE_S)
    assert (json.loads(listed)[0]["id"], json.loads(listed)[0]["status"]) == (number, "interrupted")
    assert f"sweep {number}: 1 trials that PostgreSQL could not take then are saved now" in told.decode()
    assert ask(server.url, f"SELECT count(*) FROM pooldemo_trial WHERE sweep_id = {number}") == [(1,)]


def test_it_loses_no_trial_for_a_full_disk_behind_its_output_or_its_report(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    path = tmp_path / "sweep.json"
    with Path("/dev/full").open("wb") as full, (tmp_path / "errors").open("wb") as errors:
        sweep = manage(
            server.url, "sweep", *PLAN, "--sizes", "1", "--json", str(path), "--csv", "/dev/full",
            stdout=full, stderr=errors,
        )  # fmt: skip
    assert sweep.wait(PATIENCE_S) == 2
    number = json.loads(path.read_text())["sweep"]["id"]
    said = (tmp_path / "errors").read_text()
    assert "the report /dev/full could not be written: No space left on device" in said
    assert f"--resume {number}" in said
    assert ask(server.url, f"SELECT status FROM pooldemo_sweep WHERE id = {number}") == [("done",)]


def test_it_ends_with_its_terminal(server: EmbeddedPostgres) -> None:
    sweep = manage(
        server.url, "sweep", *PLAN, "--sizes", "1-9", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )  # fmt: skip
    pids = children(sweep)
    assert sweep.stdout
    sweep.stdout.close()
    sweep.send_signal(signal.SIGHUP)
    assert sweep.wait(PATIENCE_S) == 130
    assert all(map(gone, pids))
    [(status, trials)] = ask(
        server.url,
        "SELECT status, (SELECT count(*) FROM pooldemo_trial WHERE sweep_id = sweep.id) FROM pooldemo_sweep AS sweep "
        "ORDER BY id DESC LIMIT 1",
    )
    assert status == "interrupted"
    assert 1 <= trials < 9


class Lost:
    """A turn whose connection is gone."""

    def keep(self) -> bool:
        raise OperationalError("server closed the connection")


@pytest.mark.django_db
def test_it_takes_up_what_was_measured_into_the_sweep_it_belongs_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "close", lambda: None)  # this one is well, and in the test's transaction
    row = records.begin(Plan(), Conditions())
    keeper = unsaved.Keeper(row, Lost(), tmp_path, lambda: True, lambda text: None)  # type: ignore[arg-type]
    with pytest.raises(unsaved.Gone, match="is kept in"):
        keeper.trial(TRIAL)
    [file] = tmp_path.iterdir()
    kept = file.read_text()
    row.delete()
    other = records.begin(Plan(), Conditions())
    models.Sweep.objects.filter(pk=other.pk).update(id=json.loads(kept)["sweep"])  # the number, not the start
    assert unsaved.take_up(tmp_path) == []
    row = models.Sweep.objects.get(pk=json.loads(kept)["sweep"])
    file.write_text(json.dumps(json.loads(kept) | {"started_at": row.started_at.isoformat()}))
    assert len(unsaved.take_up(tmp_path)) == 1
    assert records.result(row).trials == (TRIAL,)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.django_db
def test_it_leaves_the_files_of_a_running_sweep_to_that_sweep(tmp_path: Path) -> None:
    with records.Turn():
        row = records.begin(Plan(), Conditions())
        file = tmp_path / f"unsaved-{row.pk}-1.json"
        file.write_text(
            json.dumps({"sweep": row.pk, "started_at": row.started_at.isoformat(), "trials": [asdict(TRIAL)]})
        )
        assert unsaved.take_up(tmp_path) == []
        assert file.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["[]", "{}", '{"sweep": 1, "started_at": "yesterday", "trials": []}', "x"])
def test_a_file_that_is_not_ours_stops_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "unsaved-1-1.json").write_text(text)
    (tmp_path / "sweep-1.json").write_text(text)
    assert unsaved.take_up(tmp_path) == []
    assert clean_up(tmp_path) == []


@pytest.mark.django_db
def test_a_trial_that_somebody_else_has_saved_is_saved_once(tmp_path: Path) -> None:
    row = records.begin(Plan(), Conditions())
    records.save_trial(row, TRIAL)
    records.save_trial(row, TRIAL)
    assert records.result(row).trials == (TRIAL,)


class TakenAnew:
    """A Turn that had to be taken anew once."""

    def __init__(self) -> None:
        self._answers = iter([True])

    def keep(self) -> bool:
        return next(self._answers, False)


def crashed() -> DatabaseError:
    """What psycopg2 raises where the server ended this connection for the crash of another's process."""
    error = DatabaseError("server closed the connection unexpectedly")
    error.__cause__ = psycopg2.DatabaseError(*error.args)
    return error


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("lost", [OperationalError("the connection ended"), crashed()])
def test_it_says_running_again_though_the_first_attempt_to_say_so_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: DatabaseError
) -> None:
    row = records.begin(Plan(), Conditions())
    keeper = unsaved.Keeper(row, TakenAnew(), tmp_path, lambda: False, lambda text: None)  # type: ignore[arg-type]
    models.Sweep.objects.filter(pk=row.pk).update(status="interrupted")  # somebody looked
    save, failing = QuerySet.update, iter([lost])

    def update(rows: Any, **values: Any) -> int:
        for error in failing:
            raise error
        return save(rows, **values)

    monkeypatch.setattr(QuerySet, "update", update)
    keeper.trial(TRIAL)
    monkeypatch.undo()
    row.refresh_from_db()
    assert row.status == "running"


@pytest.mark.django_db(transaction=True)
def test_a_sweep_that_was_deleted_ends_in_a_sentence(tmp_path: Path) -> None:
    row = records.begin(Plan(), Conditions())
    keeper = unsaved.Keeper(row, TakenAnew(), tmp_path, lambda: False, lambda text: None)  # type: ignore[arg-type]
    models.Sweep.objects.filter(pk=row.pk).delete()
    with pytest.raises(unsaved.Gone, match="was deleted while it ran"):
        keeper.trial(TRIAL)
    with pytest.raises(unsaved.Gone, match="was deleted while it ran"):
        keeper.end("done", ())


@pytest.mark.django_db
def test_it_leaves_a_persons_notes_alone(tmp_path: Path) -> None:
    row = records.begin(Plan(), Conditions())
    models.Sweep.objects.filter(pk=row.pk).update(notes="the quiet machine")
    records.start(row, Plan())
    records.change_plan(row, Plan(users=5))
    records.end(row, "done", ())
    row.refresh_from_db()
    assert (row.notes, row.users, row.status) == ("the quiet machine", 5, "done")


@pytest.mark.django_db
def test_a_turn_that_could_not_be_taken_anew_is_taken_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection without the lock answered instead: the sweep went on, and another one could begin beside it."""
    query = (
        "FROM pg_locks JOIN pg_database AS d ON d.oid = database WHERE datname = current_database()"
        f" AND objid = {records.SWEEP_LOCK & 0xFFFFFFFF}"
    )
    with records.Turn() as turn:
        with connection.cursor() as cursor, monkeypatch.context() as away:
            cursor.execute(f"SELECT pg_terminate_backend(pid) {query}")
            away.setattr(turn._connection, "get_new_connection", Mock(side_effect=OperationalError("shutting down")))
            with pytest.raises(OperationalError):
                turn.keep()
        assert turn.keep()
        assert not turn.keep()
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) {query}")
            assert cursor.fetchone() == (1,)


@pytest.mark.django_db(transaction=True)
def test_nobody_calls_interrupted_what_lives_while_postgresql_was_restarted(
    admin_client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its turn ends with PostgreSQL, and is taken anew when its trial has ended: until then "nothing of it runs"."""
    monkeypatch.setattr(turns, "RUN_FOLDER", tmp_path)
    page = reverse("admin:pooldemo_sweep_change", args=[(row := records.begin(Plan(), Conditions())).pk])
    other = records.begin(Plan(), Conditions())
    turns.mark_of(other).touch()  # of one that was killed
    with records.Turn() as turn:
        turn.of(row)
        turn._connection.close()
        for look in (records.listing, records.latest, lambda: records.get(row.pk), lambda: unsaved.take_up(tmp_path)):
            look()
            assert models.Sweep.objects.get(pk=row.pk).status == "running"
        assert "Running, begun" in admin_client.get(page).content.decode()
        other.refresh_from_db()
        assert other.status == "interrupted"
    assert records.get(row.pk).status == "interrupted"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.django_db(transaction=True)
def test_it_shows_what_a_killed_sweep_left_also_where_it_may_remove_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service whose system shows it its folder to read alone: each page of the sweeps was a 500."""

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(turns, "RUN_FOLDER", tmp_path)
    row = records.begin(Plan(), Conditions())
    turns.mark_of(row).touch()
    monkeypatch.setattr(Path, "unlink", refused)
    assert records.get(row.pk).status == "interrupted"
