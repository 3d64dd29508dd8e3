"""The system checks."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.db import connections

from pooldemo.postgresql import budget, checks, leftovers
from pooldemo.postgresql.budget import Budget, Unknown, read_budget
from pooldemo.postgresql.room import Limits

ROOT = Path(__file__).parents[2]


def ids(found: list[CheckMessage]) -> list[str | None]:
    return [message.id for message in found]


@pytest.fixture
def settings_of_default(monkeypatch: pytest.MonkeyPatch) -> Any:
    def change(**changes: Any) -> None:
        options = changes.pop("OPTIONS", {})
        settings = connections["default"].settings_dict
        monkeypatch.setattr(
            connections["default"],
            "settings_dict",
            {**settings, **changes, "OPTIONS": {**settings["OPTIONS"], **options}},
        )

    return change


def test_it_has_nothing_to_say_about_this_site() -> None:
    assert checks.check_pools() == []


@pytest.mark.parametrize(
    ("changes", "identity"),
    [
        ({"OPTIONS": {"MAX_CONS": 4}}, "pooldemo.E001"),
        ({"OPTIONS": {"MAX_CONNS": 0}}, "pooldemo.E001"),
        ({"OPTIONS": {"max_conns": 4}}, "pooldemo.E001"),
        ({"CONN_MAX_AGE": 60}, "pooldemo.E002"),
        ({"CONN_MAX_AGE": None}, "pooldemo.E002"),
        ({"CONN_HEALTH_CHECKS": True}, "pooldemo.I003"),
        ({"ATOMIC_REQUESTS": True}, "pooldemo.W001"),
        ({"OPTIONS": {"MAX_CONNS": "abc"}}, "pooldemo.E001"),
        ({"OPTIONS": {"pool": False}}, "pooldemo.W003"),
        ({"OPTIONS": {"pool": {"max_size": 8}}}, "pooldemo.E001"),
        ({"POOL_OPTIONS": {"POOL_SIZE": 8}}, "pooldemo.W005"),
    ],
)
def test_it_finds_what_a_pool_cannot_live_with(
    settings_of_default: Callable[..., None], changes: dict[str, Any], identity: str
) -> None:
    settings_of_default(**changes)
    [message] = checks.check_pools()
    assert message.id == identity
    assert message.hint
    assert next(iter(changes.get("OPTIONS", changes))) in message.msg


@pytest.mark.parametrize("options", [None, "MAX_CONNS=4", ["MAX_CONNS", 4], {None: 4}])
def test_it_says_that_options_are_no_dictionary(monkeypatch: pytest.MonkeyPatch, options: Any) -> None:
    """As of a variable that is not set, or not parsed; it was a traceback."""
    settings = connections["default"].settings_dict | {"OPTIONS": options}
    monkeypatch.setattr(connections["default"], "settings_dict", settings)
    [message] = checks.check_pools()
    assert message.id == "pooldemo.E001"
    assert f"['OPTIONS']={options!r} is not accepted: give a dictionary" in message.msg
    assert checks.check_budget(databases=["default"]) == []


def test_it_finds_a_deadline_with_which_no_worker_would_start(settings: Any) -> None:
    settings.POOLDEMO_DEADLINE = "10"  # from the environment
    settings.POOLDEMO_DEADLINE_MAX = 0
    found = [message for message in run_checks() if message.id == "pooldemo.E004"]
    assert [message.hint for message in found] == ["POOLDEMO_DEADLINE = 10", "POOLDEMO_DEADLINE_MAX = 10"]
    assert "POOLDEMO_DEADLINE='10' is not accepted: give seconds" in found[0].msg


def test_it_names_all_that_another_pool_has_left_at_once(settings_of_default: Callable[..., None]) -> None:
    options = {"pool": {"max_size": 8}, "MAX_CONNS": "abc", "MIN_CONN": 1, "MAX_AGE": 2}
    settings_of_default(CONN_MAX_AGE=60, CONN_HEALTH_CHECKS=True, ATOMIC_REQUESTS=True, OPTIONS=options)
    found = checks.check_pools()
    assert ids(found) == ["pooldemo.E001", "pooldemo.E001", "pooldemo.E002", "pooldemo.I003", "pooldemo.W001"]
    assert all(name in found[1].msg for name in ("MAX_CONNS='abc'", "'MIN_CONN'", "'MAX_AGE'")), "each of them"


def test_it_turns_the_options_of_djangos_own_pool_into_ours(settings_of_default: Callable[..., None]) -> None:
    where = "DATABASES['default']['OPTIONS']"
    for given, ours in (
        ({"max_size": 8, "timeout": 5, "num_workers": 2}, "'MAX_CONNS': 8, 'POOL_TIMEOUT': 5"),
        ({"min_size": 10}, "'MIN_CONNS': 10, 'MAX_CONNS': 10"),  # no max_size: the pool never grows
        ({"min_size": 2, "max_size": None}, "'MIN_CONNS': 2, 'MAX_CONNS': 2"),
        ({"timeout": 5}, "'POOL_TIMEOUT': 5, 'MAX_CONNS': 4"),
    ):
        settings_of_default(OPTIONS={"pool": given})
        [error] = checks.check_pools()
        assert error.hint == f"del {where}['pool']; {where} |= {{{ours}}}"


def test_it_turns_the_options_of_django_db_connection_pool_into_ours(settings_of_default: Callable[..., None]) -> None:
    where = "DATABASES['default']"
    for given, ours in (
        (
            {"POOL_SIZE": 8, "MAX_OVERFLOW": 2, "RECYCLE": 60, "TIMEOUT": 5},
            "'MAX_CONNS': 10, 'POOL_TIMEOUT': 5, 'MAX_LIFETIME': 60",
        ),
        ({"MAX_OVERFLOW": -1, "RECYCLE": -1}, "'MAX_CONNS': 10"),
        ({"POOL_SIZE": "8", "MAX_OVERFLOW": "2"}, "'MAX_CONNS': 10"),  # from the environment
        ({"POOL_SIZE": float("inf"), "MAX_OVERFLOW": "few"}, "'MAX_CONNS': 20"),
        ({}, "'MAX_CONNS': 20"),
    ):
        settings_of_default(POOL_OPTIONS=given)
        [warning] = checks.check_pools()
        assert warning.hint == f"del {where}['POOL_OPTIONS']; {where}['OPTIONS'] |= {{{ours}}}"


def test_it_names_the_lines_of_gunicorn_conf_that_another_pool_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert leftovers.check_gunicorn() == []
    Path("gunicorn.conf.py").write_text(
        "preload_app = True\n# psycogreen was here\ndef post_fork(server, worker):\n"
        "    from psycogreen.gevent import patch_psycopg\n    patch_psycopg()\n"
    )
    found = [(each.id, each.msg.split(": ")[0], each.hint) for each in leftovers.check_gunicorn()]
    assert found == [
        ("pooldemo.W004", "gunicorn.conf.py:1", "preload_app = False"),
        (
            "pooldemo.I001",
            "gunicorn.conf.py:4",
            "delete `from psycogreen.gevent import patch_psycopg`, and a function that is empty then",
        ),
        ("pooldemo.I001", "gunicorn.conf.py:5", "delete `patch_psycopg()`, and a function that is empty then"),
    ]
    Path("gunicorn.conf.py").unlink()
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--timeout 9 --preload")
    [warning] = leftovers.check_gunicorn()
    assert (warning.id, warning.hint) == ("pooldemo.W004", "leave out --preload")


@pytest.mark.parametrize("check", [leftovers.check_gunicorn, checks.check_budget])
def test_it_does_not_wait_for_a_gunicorn_conf_that_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: Callable[..., list[CheckMessage]]
) -> None:
    """A pipe's reader waits until somebody writes; here somebody has, so that who reads it is found out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checks, "read_budget", lambda workers, alias: Budget(workers, 10, Limits(60, 3)))
    reader, writer = os.pipe()
    os.write(writer, b"workers = 90\npreload_app = True\n")
    os.close(writer)
    Path("gunicorn.conf.py").symlink_to(f"/dev/fd/{reader}")
    assert check(databases=["default"]) == []
    os.close(reader)


def test_it_leaves_the_lines_of_gunicorn_conf_that_another_pool_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without psycogreen django-db-geventpool blocks all greenlets: who only tries the sweep must not lose it."""
    monkeypatch.chdir(tmp_path)
    Path("gunicorn.conf.py").write_text("def post_fork(server, worker):\n    patch_psycopg()\n")
    assert ids(leftovers.check_gunicorn()) == ["pooldemo.I001"]
    monkeypatch.setattr(type(connections), "all", lambda self: [object()])
    assert leftovers.check_gunicorn() == []


def test_it_counts_the_workers_that_stand_in_gunicorn_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """gunicorn takes them before WEB_CONCURRENCY, and "no issues" would be heard as: they fit."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    monkeypatch.setattr(checks, "read_budget", lambda workers, alias: Budget(workers, 10, Limits(60, 3)))

    def found(line: str) -> list[tuple[str | None, str]]:
        Path("gunicorn.conf.py").write_text(f"bind = ':8000'\n{line}\nworker_class = 'gevent'\n")
        return [(each.id, str(each.hint)) for each in checks.check_budget(databases=["default"])]

    assert found("workers = 5  # each with its pool") == []
    assert [each for each, _ in found("workers = 20")] == ["pooldemo.W002"]
    assert found("workers = 90") == [("pooldemo.W002", "gunicorn.conf.py:2: 57 workers at most")]
    assert [each for each, _ in found("workers = cpu_count() * 2 + 1")] == ["pooldemo.I004"]
    assert found('workers = int(os.environ.get("WEB_CONCURRENCY") or 1)') == []
    assert found("from settings import *\nworkers = 2\ndef when_ready(server):\n    workers = server.cfg.workers") == []
    many = (
        'int(os.environ.get("WEB_CONCURRENCY", 20))',
        'getenv("WEB_CONCURRENCY", "20")',
        '2 * int(environ["CORES"])',
    )
    monkeypatch.setenv("CORES", "10")
    for each in many:
        assert [each for each, _ in found(f"workers = {each}")] == ["pooldemo.W002"], each
    for unknown in (
        'if "STAGING" not in os.environ:\n    workers = 20',
        "workers = 2\nif True:\n    workers = 20",
        "workers: int = 20",
        "from settings import workers",
        "workers = 2\nfrom settings import *",
        'workers = int(os.environ["NOT_SET"])',
        "workers = 0",
        "workers = 9**9**9",
        "workers = (lambda: 20)()",
        "workers = ().__class__.__base__.__subclasses__() and 20",
        "workers = os.environ.get.__globals__ and 20",
    ):
        assert [each for each, _ in found(unknown)] == ["pooldemo.I004"], unknown
    # How deep an expression may be is Python's own: one that it cannot read, gunicorn cannot read either.
    assert {each for each, _ in found(f"workers = {'-' * 5000}90")} <= {"pooldemo.I004"}
    Path("gunicorn.conf.py").write_text("workers = 20", encoding="utf-8-sig")
    assert ids(checks.check_budget(databases=["default"])) == ["pooldemo.W002"], "as Windows may write it"
    monkeypatch.setenv("WEB_CONCURRENCY", "6")
    assert [each for each, _ in found("workers = cpu_count() * 2 + 1")] == ["pooldemo.W002"]
    assert [each for each, _ in found(f"workers = {many[0]}")] == ["pooldemo.W002"]
    assert found("workers = 2") == [], "gunicorn does not look at WEB_CONCURRENCY then"
    [(_, hint)] = found('workers = int(os.environ["WEB_CONCURRENCY"]) * 10')
    assert hint == "gunicorn.conf.py:2: 57 workers at most", "it counts sixty, and not six"


@pytest.mark.django_db
def test_it_says_that_rows_may_be_of_another_time_zone(
    settings_of_default: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """This project's is UTC, and a server's may be anything: so the other way round."""
    monkeypatch.setattr(type(connections["default"]), "timezone_name", "Asia/Kathmandu")
    assert leftovers.check_time_zone(databases=None) == [], "it asks the database only when told to"
    [info] = leftovers.check_time_zone(databases=["default"])
    assert (info.id, "this project's Asia/Kathmandu" in info.msg) == ("pooldemo.I002", True)
    assert "close_connection" in str(info.hint), "who keeps that one cannot uninstall the package"
    monkeypatch.setattr(leftovers, "find_spec", lambda name: None)
    assert leftovers.check_time_zone(databases=["default"]) == []


def test_it_warns_when_all_slots_are_more_than_postgresql_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "9")
    monkeypatch.setattr(checks, "read_budget", lambda workers, alias: Budget(workers, 20, Limits(100, 3)))
    assert checks.check_budget(databases=None) == [], "it asks the database only when told to"
    [warning] = checks.check_budget(databases=["default"])
    assert warning.id == "pooldemo.W002"
    assert warning.hint is not None
    assert warning.hint.startswith("DATABASES['default']['OPTIONS']['MAX_CONNS'] = 10,"), "any project's line"
    monkeypatch.setattr(checks, "read_budget", lambda workers, alias: Budget(workers, 20, Limits(10, 3)))
    [warning] = checks.check_budget(databases=["default"])
    assert warning.hint == "export WEB_CONCURRENCY=7", "no size fits"


def test_its_line_to_change_is_for_all_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "read_budget", lambda workers, alias: Budget(2, 20, Limits(100, 3), hosts=4))
    [warning] = checks.check_budget(databases=["default"])
    assert (warning.hint or "").startswith("DATABASES['default']['OPTIONS']['MAX_CONNS'] = 12,")
    monkeypatch.setenv("WEB_HOSTS", "many")
    [error] = checks.check_budget(databases=["default"])
    assert (error.id, "WEB_HOSTS='many'" in error.msg) == ("pooldemo.E003", True)


@pytest.mark.parametrize(("said", "hint"), [("refused", "answer"), ("too many clients already", "smaller MAX_CONNS")])
def test_it_says_why_it_cannot_know_the_budget(said: str, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(alias: str) -> None:
        from django.db import OperationalError

        raise OperationalError(said)

    monkeypatch.setattr(budget, "plain_connection", refuse)
    with pytest.raises(Unknown, match=said):
        read_budget(1)
    [warning] = checks.check_budget(databases=["default"])  # "no issues" would be heard as: it fits
    assert (warning.id, warning.msg.endswith(said)) == ("pooldemo.W006", True)
    assert hint in str(warning.hint)


def test_it_reports_what_would_stop_it_from_reading_the_budget(
    settings_of_default: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check of the settings tells of these."""
    settings_of_default(OPTIONS={"MAX_CONNS": "abc"})
    assert checks.check_budget(databases=["default"]) == []
    monkeypatch.setenv("WEB_CONCURRENCY", "two")
    [error] = checks.check_budget(databases=["default"])
    assert (error.id, "WEB_CONCURRENCY='two'" in error.msg) == ("pooldemo.E003", True)


SITE = """
import sys, django
from django.conf import settings
settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "pooldemo.postgresql", "NAME": "any", "CONN_MAX_AGE": 60, "OPTIONS": {"MAX_CONNS": "abc"},
        }
    },
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
)
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", "check"])
"""


def test_engine_alone_brings_the_checks() -> None:
    """No app of ours is installed, and nothing has asked for a connection."""
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run([sys.executable, "-c", SITE], env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode != 0
    assert "pooldemo.E001" in done.stderr
    assert "pooldemo.E002" in done.stderr
