"""The ready probe: it asks PostgreSQL, one question at a time, and never hangs."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.db import OperationalError, connection
from django.db.utils import ConnectionHandler
from served import until

from pooldemo.monitor import readiness
from pooldemo.monitor.readiness import Answer, Question, Readiness
from pooldemo.postgresql.unpooled import APPLICATION_NAME, plain_connection


@pytest.mark.django_db
def test_it_has_no_trouble_with_a_database_that_answers() -> None:
    assert Readiness().trouble() == ""


@pytest.mark.django_db
def test_it_asks_past_the_pool_under_a_name_of_its_own() -> None:
    plain = plain_connection()
    try:
        with plain.cursor() as cursor:
            cursor.execute("SELECT current_setting('application_name'), current_database()")
            assert cursor.fetchone() == (APPLICATION_NAME, connection.settings_dict["NAME"])
    finally:
        plain.close()
    assert not getattr(plain, "pool", None)


WRONG_PASSWORD = 'FATAL: password authentication failed for user "shop"'


def test_it_says_what_the_trouble_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(alias: str) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(readiness, "plain_connection", refuse)
    assert Readiness().trouble() == "connection refused"


@pytest.mark.parametrize(
    ("said", "has_connections", "trouble"),
    [
        ("FATAL: sorry, too many clients already", True, ""),
        ('FATAL: too many connections for role "shop"', True, ""),
        ("FATAL: sorry, too many clients already", False, "FATAL: sorry, too many clients already"),
        (WRONG_PASSWORD, True, ""),
        (WRONG_PASSWORD, False, WRONG_PASSWORD),
        ("SSL error: certificate verify failed", True, ""),
        ("connection refused", True, "connection refused"),
    ],
)
def test_it_is_ready_on_a_server_that_takes_no_more_with_the_connections_that_its_pool_has(
    said: str, has_connections: bool, trouble: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A balancer that asked otherwise would take away every host for a limit that they live with, or a password that
    has changed. The log says it: their connections end one day."""

    def refuse(alias: str) -> None:
        raise OperationalError(said)

    monkeypatch.setattr(readiness, "plain_connection", refuse)
    monkeypatch.setattr(
        readiness,
        "pools",
        lambda: [
            SimpleNamespace(name="default", get_stats=lambda: {"pool_size": int(has_connections)}),
            SimpleNamespace(name="other", get_stats=lambda: {"pool_size": 9}),
        ],
    )
    assert Readiness().trouble() == trouble
    assert caplog.messages == [f"{'not ready' if trouble else 'ready by the open connections alone'}: {said}"]


def test_it_gives_up_on_a_server_that_never_answers_and_asks_it_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answered = [], threading.Event()

    def hang(alias: str) -> None:
        asked.append(alias)
        answered.wait(240)
        raise OperationalError("too late")

    monkeypatch.setattr(readiness, "plain_connection", hang)
    monkeypatch.setattr(readiness, "PATIENCE_S", 0.1)
    probe = Readiness()
    try:
        with ThreadPoolExecutor(5) as probes:
            answers = list(probes.map(lambda _: probe.trouble(), range(5)))
        assert answers == ["PostgreSQL did not answer within 0.1 s"] * 5
        assert asked == ["default"]
    finally:
        answered.set()
    until(lambda: probe.trouble() == "too late")


def test_it_is_patient_with_a_database_that_answered_a_moment_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [Answer([], "away"), Answer([(1,)]), Answer([], "away")]
    probe = Readiness()
    monkeypatch.setattr(probe._question, "answer", lambda: answers[0])
    assert probe.trouble(60) == "away", "it never answered"
    del answers[0]
    assert probe.trouble(60) == ""
    del answers[0]
    assert (probe.trouble(60), probe.trouble()) == ("", "away")
    probe._answered_at_s -= 61
    assert probe.trouble(60) == "away"


def test_it_shares_an_answer_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(alias: str) -> None:
        asked.append(alias)
        raise OperationalError("no")

    monkeypatch.setattr(readiness, "plain_connection", refuse)
    probe = Readiness()
    assert [probe.trouble() for _ in range(3)] == ["no"] * 3
    assert len(asked) == 1
    monkeypatch.setattr(readiness, "FRESH_S", 0.0)
    probe.trouble()
    assert len(asked) == 2


def test_it_logs_each_reason_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Who asks may not be told, and a balancer shows the status alone."""
    probe, answers = Readiness(), iter(["away\nfor long", "full", "away\nfor long", "", "full"])
    monkeypatch.setattr(probe._question, "answer", lambda: Answer([], next(answers)))
    for _ in range(5):
        probe.trouble()
    assert caplog.messages == ["not ready: away for long", "not ready: full", "not ready: full"]


@pytest.mark.django_db
def test_it_asks_another_database_than_postgresql_as_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A project may have our addresses, and SQLite. In a file: Django closes no connection to its memory."""
    sqlite = ConnectionHandler({"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": tmp_path / "sqlite"}})
    monkeypatch.setattr(readiness, "plain_connection", sqlite.create_connection)
    assert Question("SELECT 1").answer() == Answer([(1,)])
