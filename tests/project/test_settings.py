"""The settings: each value from the environment is read strictly, or one sentence says what is accepted."""

import contextlib
import io
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import RequestDataTooBig
from django.core.management.base import BaseCommand
from django.core.management.commands.migrate import Command as Migrate
from django.test import Client, RequestFactory

import manage
from pooldemo import records
from pooldemo.embedded.place import make_local
from pooldemo.management.commands import demo
from project.environment import SettingError, count, database, flag, without_password, words
from project.secret import install_secret

ROOT = Path(__file__).resolve().parents[2]
URL = "postgres://me:secret@db.example:6543/shop"


def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """A command of this site in an environment with these variables besides."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, check=False)


def test_it_keeps_no_file_of_a_visitors() -> None:
    """Anybody may send one with the form of the login: it was written where the workers' snapshots are."""
    for size in (10, 3_000_000):
        request = RequestFactory().post("/admin/login/", {"a": "b", "c": io.BytesIO(size * b"x")})
        assert (request.POST["a"], request.FILES) == ("b", {})


def test_it_refuses_a_large_form_before_it_is_read() -> None:
    """So many of them at once took a container's memory, and its workers were killed."""
    with pytest.raises(RequestDataTooBig):
        RequestFactory().post("/admin/login/", {"a": 200_000 * "b"}).POST  # noqa: B018
    form = RequestFactory().post("/", 200_000 * "a", "application/x-www-form-urlencoded")
    with pytest.raises(RequestDataTooBig):
        form.POST  # noqa: B018
    assert form.read(1), "nothing of it was read"


def test_a_login_that_was_on_the_way_to_nothing_leads_to_the_admin(db: None) -> None:
    User.objects.create_superuser("admin", password="x")
    answer = Client().post("/admin/login/", {"username": "admin", "password": "x"})
    assert answer.url == "/admin/"  # type: ignore[attr-defined]


def test_it_reads_an_address() -> None:
    config = database(URL, {})
    assert (config["HOST"], config["PORT"], config["USER"], config["PASSWORD"], config["NAME"]) == (
        "db.example", 6543, "me", "secret", "shop",
    )  # fmt: skip
    assert config["OPTIONS"] == {"MAX_CONNS": 20}


def test_it_reads_pool_options_and_libpqs_from_the_query() -> None:
    options = database(f"{URL}?MAX_CONNS=7&POOL_TIMEOUT=0.5&RESET=always&sslmode=require", {})["OPTIONS"]
    assert options == {"MAX_CONNS": 7, "POOL_TIMEOUT": 0.5, "RESET": "always", "sslmode": "require"}


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("MAX_CONNS", "9", 9), ("REUSE_CONNS", "3", 3), ("POOL_TIMEOUT", "2.5", 2.5), ("MAX_WAITING", "11", 11),
        ("OVERLOAD", "shed", "shed"), ("POOL_MODE", "transaction", "transaction"),
    ],
)  # fmt: skip
def test_it_lets_a_variable_beat_the_query(name: str, given: str, value: Any) -> None:
    assert database(f"{URL}?{name}=1", {name: given})["OPTIONS"][name] == value


def test_it_takes_none_for_no_limit_and_an_empty_variable_for_none_given() -> None:
    assert database(URL, {"POOL_TIMEOUT": "none"})["OPTIONS"]["POOL_TIMEOUT"] is None
    assert "POOL_TIMEOUT" not in database(URL, {"POOL_TIMEOUT": ""})["OPTIONS"]


@pytest.mark.parametrize(
    ("url", "variables", "said"),
    [
        ("nonsense", {}, "DATABASE_URL='nonsense' is no PostgreSQL address. Give postgres://"),
        ("mysql://me:secret@host/shop", {}, r"DATABASE_URL='mysql://me:\*\*\*@host/shop' is no PostgreSQL address"),
        ("postgres://me:secret@host:port/shop", {}, "cannot be read. Give postgres://"),
        ("postgres://host", {}, "names no database"),
        (f"{URL}?MAX_CONNS=many", {}, "MAX_CONNS='many' is not accepted: give a whole number from 1"),
        (f"{URL}?MAX_CON=5", {}, "unknown pool option 'MAX_CON'; did you mean MAX_CONNS?"),
        (f"{URL}?max_conns=5", {}, "'max_conns' is no option of libpq; did you mean MAX_CONNS?"),
        (f"{URL}?Pool_Timeout=5", {}, "did you mean POOL_TIMEOUT?"),
        (URL, {"MAX_CONNS": "0"}, "MAX_CONNS='0' is not accepted"),
        (URL, {"POOL_TIMEOUT": "nan"}, "POOL_TIMEOUT='nan' is not accepted"),
        (URL, {"REUSE_CONNS": "30"}, "REUSE_CONNS=30 is not accepted: give at most MAX_CONNS, which is 20"),
    ],
)
def test_it_says_in_one_sentence_what_is_wrong(url: str, variables: dict[str, str], said: str) -> None:
    with pytest.raises(SettingError, match=said) as caught:
        database(url, variables)
    assert "secret" not in str(caught.value)


def test_it_never_shows_a_password() -> None:
    assert without_password(URL) == "postgres://me:***@db.example:6543/shop"
    assert without_password("postgres:///shop?port=1&password=se@cr&et") == "postgres:///shop?port=1&password=***"
    for password in ("a:b@c", "a/b", "a?b", "a://b", "a#b"):
        assert without_password(f"postgres://me:{password}@host/shop") == "postgres://me:***@host/shop"


@pytest.mark.parametrize("password", ["sec/ret", "sec%00ret"])
def test_it_says_how_to_write_a_password_that_cannot_be_read(password: str) -> None:
    with pytest.raises(SettingError, match="cannot be read|holds a NUL") as caught:
        database(f"postgres://me:{password}@127.0.0.1:5432/shop", {})
    assert "sec" not in str(caught.value)


def test_it_reads_flags_counts_and_words_strictly() -> None:
    assert flag({"DEBUG": "Yes"}, "DEBUG", default=False)
    assert not flag({"DEBUG": "0"}, "DEBUG", default=True)
    with pytest.raises(SettingError, match="DEBUG='maybe' is not accepted: give 1, true, yes, on or 0"):
        flag({"DEBUG": "maybe"}, "DEBUG", default=False)
    with pytest.raises(SettingError, match="WEB_CONCURRENCY='-1' is not accepted: give a whole number from 1"):
        count({"WEB_CONCURRENCY": "-1"}, "WEB_CONCURRENCY", default=1)
    with pytest.raises(SettingError, match="is not accepted: give a whole number from 1"):
        count({"WEB_CONCURRENCY": "9" * 5000}, "WEB_CONCURRENCY", default=1)
    assert words({"ALLOWED_HOSTS": "a.example, b.example,"}, "ALLOWED_HOSTS", default=[]) == ["a.example", "b.example"]


@pytest.mark.parametrize("variable", ["DATABASE_URL", "POOL_STACK", "MAX_CONNS", "WEB_CONCURRENCY"])
def test_it_exits_with_2_and_one_line_on_nonsense(variable: str) -> None:
    ended = run("manage.py", "check", **{variable: "nonsense"})
    assert ended.returncode == 2
    assert f"{variable}='nonsense'" in ended.stderr
    assert "asyncpg" not in ended.stderr, "a stack that is another application"
    assert len(ended.stderr.splitlines()) == 1


def test_it_starts_no_server_by_importing_the_settings() -> None:
    watch = (
        "import sys\n"
        "sys.addaudithook(lambda event, args: print(event, args) if event == 'subprocess.Popen' else None)\n"
        "import project.settings"
    )
    ended = run("-c", watch, DATABASE_URL="")
    assert (ended.returncode, ended.stdout) == (0, ""), ended


@pytest.mark.parametrize(
    "typed", [["manage.py", "check"], ["-c", "import project.wsgi"], ["-m", "project.start", f"{os.getpid()}"]]
)
def test_it_takes_no_settings_of_another_project_that_stand_in_the_shell(typed: list[str]) -> None:
    ended = run(*typed, DJANGO_SETTINGS_MODULE="shop.settings", DATABASE_URL="postgres://me@127.0.0.1:1/shop")
    assert ended.returncode == 0, ended.stderr


def test_it_keeps_what_libpq_reads_from_its_own_server() -> None:
    """PGSERVICE, PGOPTIONS and the rest are about another server of this user."""
    asked = "from project import settings; import os; print(*(each for each in os.environ if each.startswith('PG')))"
    others = {"PGSERVICE": "nope", "PGOPTIONS": "-c search_path=x", "PGHOSTADDR": "192.0.2.1", "PGAPPNAME": "mine"}
    assert run("-c", asked, DATABASE_URL="", **others).stdout.split() == ["PGAPPNAME"]
    assert set(run("-c", asked, DATABASE_URL=URL, **others).stdout.split()) >= set(others)


def test_it_shows_no_password_on_a_page_of_debug() -> None:
    """Neither of the settings nor of the environment, which runserver gives each request."""
    ended = run("-c", ERROR, DATABASE_URL=URL, SECRET_KEY="s3cr3t", DJANGO_SETTINGS_MODULE="project.settings")
    assert ended.stdout.count("DATABASE_URL") > 1, ended.stderr
    assert "me:secret" not in ended.stdout
    assert "s3cr3t" not in ended.stdout


ERROR = """
import sys
import django
from django.core.servers.basehttp import ServerHandler
from django.test import Client, RequestFactory
from django.views.debug import get_exception_reporter_class
django.setup()
request = RequestFactory().get("/")
request.META.update(ServerHandler.os_environ)
try:
    1 / 0
except ZeroDivisionError:
    print(get_exception_reporter_class(request)(request, *sys.exc_info()).get_traceback_html())
"""


def test_it_brings_no_server_where_an_address_is_given() -> None:
    ended = run("-c", "from project import settings; print(settings.EMBEDDED, settings.DATABASE_URL)", DATABASE_URL=URL)
    assert ended.stdout.strip() == f"None {URL}", ended
    ended = run("manage.py", "postgres", "start", DATABASE_URL=URL)
    assert ended.returncode == 2
    assert "DATABASE_URL is set" in ended.stderr


@pytest.mark.parametrize("hosts", ["", "shop.example,.shops.example"])
def test_it_passes_djangos_deployment_checks(hosts: str) -> None:
    ended = run("manage.py", "check", "--deploy", "--fail-level", "INFO", ALLOWED_HOSTS=hosts, DEBUG="", SECRET_KEY="")
    assert ended.returncode == 0, ended.stderr


def test_its_cookies_are_secure_and_workloads_off_as_soon_as_it_has_a_name() -> None:
    names = ("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "WORKLOADS", "CSRF_TRUSTED_ORIGINS")
    show = f"from project import settings; print(*[getattr(settings, name) for name in {names}])"
    assert run("-c", show, ALLOWED_HOSTS="").stdout.strip() == "False False True []"
    assert run("-c", show, ALLOWED_HOSTS="", EXPOSED="yes").stdout.strip() == "False False False []", "plain HTTP"
    named = run("-c", show, ALLOWED_HOSTS="localhost,.shop.example").stdout.strip()
    assert named == "True True False ['https://*.shop.example']"


def test_its_secret_is_one_for_all_who_ask_at_once_and_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / ".local" / "secret_key"
    make_local(path.parent)
    with ThreadPoolExecutor(8) as threads:
        secrets = set(threads.map(install_secret, [path] * 8))
    assert len(secrets) == 1
    assert len(secrets.pop()) >= 50
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["secret_key"]


@pytest.mark.parametrize(
    ("line", "needed"),
    [
        ("migrate", True),
        ("sweep --sizes 1,2", True),
        ("shell", True),
        ("check --database default", True),
        ("postgres stop", False),
        ("pool", False),
        ("check --deploy", False),
        ("judge sweep.json", False),
        ("", False),
        ("--help", False),
        ("sweep --help", False),
        ("sweep --userz 3", False),
        ("migrate --nope", False),
        ("swep", False),
        ("help sweep", False),
    ],
)
def test_its_command_line_starts_the_server_for_commands_that_need_one(
    line: str, needed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    class Embedded:
        def ensure_or_exit(self) -> None:
            started.append(line)

        turn = contextlib.nullcontext

    monkeypatch.setattr(settings, "EMBEDDED", Embedded())
    monkeypatch.setattr(sys, "argv", ["manage.py", *line.split()])
    monkeypatch.setattr(BaseCommand, "execute", lambda self, *arguments, **options: "")
    with contextlib.suppress(SystemExit):
        manage.main()
    assert started == [line] * needed


@pytest.mark.parametrize("line", ["migrate", "demo"])
def test_its_command_line_makes_tables_while_no_other_process_does(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `make run` beside `make sweep`, in a new checkout: one of them ended with a traceback."""
    came: list[str] = []

    class Embedded:
        def ensure_or_exit(self) -> None:
            came.append("started")

        @contextlib.contextmanager
        def turn(self) -> Iterator[None]:
            came.append("its turn")
            yield
            came.append("the next one's")

    monkeypatch.setattr(settings, "EMBEDDED", Embedded())
    monkeypatch.setattr(sys, "argv", ["manage.py", line])
    monkeypatch.setattr(Migrate, "execute", lambda self, *arguments, **options: came.append("migrated"))
    monkeypatch.setattr(records, "latest", lambda: sys.exit(5))  # it goes no further
    monkeypatch.setattr(demo, "leave_nothing_running", lambda: None)
    with contextlib.suppress(SystemExit):
        manage.main()
    assert came == ["started", "its turn", "migrated", "the next one's"]


def test_it_says_what_helps_where_its_folder_cannot_be_written(tmp_path: Path) -> None:
    refuse = (
        "import project.secret as s\n"
        "def install(path): raise PermissionError(13, 'Permission denied', str(path))\n"
        "s.install_secret = install\n"
        "import project.settings"
    )
    ended = run("-c", refuse, DATABASE_URL=URL, SECRET_KEY="")
    assert ended.returncode == 2
    for part in (
        "secret_key cannot be written (Permission denied)",
        "set SECRET_KEY",
        "A sweep",
        "copy of this folder",
    ):
        assert part in ended.stderr
    assert "Errno" not in ended.stderr


def test_its_command_line_hears_ctrl_c_before_it_imports() -> None:
    """A traceback of pathlib and typing is no answer to it."""
    done = run("-c", "import sys; before = {*sys.modules}; import manage; print(*sorted({*sys.modules} - before))")
    assert done.stdout.split() == ["__future__", "manage"]


def test_its_command_line_goes_on_in_the_environment_that_make_has_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / ".venv" / "bin" / "python"
    entered: list[Any] = []
    monkeypatch.setattr(manage, "__file__", str(tmp_path / "manage.py"))
    monkeypatch.setattr(sys, "argv", ["manage.py", "sweep"])

    def enter(*given: Any) -> None:
        entered.append(given)
        sys.exit()

    monkeypatch.setattr(os, "execv", enter)
    manage.enter_environment()
    monkeypatch.setitem(sys.modules, "django", None)
    with pytest.raises(SystemExit, match="Type: make environment && . .venv/bin/activate"):
        manage.enter_environment()
    python.parent.mkdir(parents=True)
    python.touch()
    with pytest.raises(SystemExit):
        manage.enter_environment()
    assert entered == [(python, [str(python), "manage.py", "sweep"])]
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    with pytest.raises(SystemExit, match="make environment"):  # and not for ever
        manage.enter_environment()
