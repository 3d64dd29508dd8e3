"""A command that cannot do its work here says why in one sentence, with what to type, and no traceback."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, ProgrammingError
from served import PATIENCE_S, ROOT, free_port

from project.environment import database
from project.refusal import sentence

URL = "postgres://me:secret@db.example:6543/shop"
FATAL = 'connection to server at "db.example", port 6543 failed: FATAL:  '


def said(error: BaseException, url: str = URL) -> str | None:
    return sentence(error, database(URL, {}), url)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ('could not translate host name "db.example" to address', "no machine named db.example is known: mend"),
        ("failed: Connection refused", "no PostgreSQL listens on db.example port 6543: start it there"),
        ("received invalid response to SSL negotiation: H", "what listens on db.example port 6543 is no PostgreSQL"),
        (
            "SSL error: certificate verify failed",
            "its certificate has expired, or sslrootcert does not trust it: renew",
        ),
        (
            'server certificate for "shop" (and 1 other name) does not match host name "db.example"',
            "its certificate is for another name: mend the host",
        ),
        ("timeout expired", "db.example port 6543 does not answer: mend host and port"),
        ("failed: No such file or directory\n\tIs the server running", "start it, or mend the host"),
        (f'{FATAL}password authentication failed for user "me"', "or ALTER ROLE me PASSWORD"),
        ("fe_sendauth: no password supplied", "give it, as in postgres://me:password@"),
        (
            f'{FATAL}database "shop" does not exist',
            'createdb -h db.example -p 6543 -U me "shop"',
        ),
        (f'{FATAL}role "me" does not exist', "it knows no role me: createuser -h db.example -p 6543 --createdb me"),
        (f"{FATAL}sorry, too many clients already", "set a smaller MAX_CONNS, or raise its max_connections"),
        (f'{FATAL}too many connections for role "me"', "raise the limit (ALTER ROLE me CONNECTION LIMIT)."),
        (
            f'{FATAL}too many connections for database "shop"',
            'raise the limit (ALTER DATABASE "shop" CONNECTION LIMIT).',
        ),
        (f"{FATAL}no more connections allowed (max_client_conn)", "or raise its max_client_conn."),
        (f"{FATAL}the database system is starting up", "the same command again, in some seconds"),
        (f"{FATAL}the database system is in recovery mode", "the same command again, in some seconds"),
        ("server closed the connection unexpectedly\n\tThis probably means the server", "the same command again"),
        (
            "terminating connection due to administrator command\nserver closed the connection unexpectedly\n",
            "it has ended this connection: the same command again",
        ),
        ("permission denied for schema public", "ALTER DATABASE shop OWNER TO me"),
        ("cannot execute CREATE TABLE in a read-only transaction", "name the primary"),
    ],
)
def test_it_says_what_a_refusal_of_the_database_means_and_what_to_do(text: str, means: str) -> None:
    told = said(OperationalError(text))
    assert told
    assert told.startswith("DATABASE_URL=postgres://me:***@db.example:6543/shop: ")
    assert means in told
    assert "\n" not in told


def test_it_names_no_address_where_none_was_given() -> None:
    told = said(ProgrammingError('relation "pooldemo_sweep" does not exist\nLINE 1: ...'), url="")
    assert told == "PostgreSQL refuses: its tables are missing: python manage.py migrate."


@pytest.mark.parametrize(("secret", "advised"), [("", True), ("given to a container", False)])
def test_it_advises_the_embedded_server_but_not_where_the_site_is_deployed(
    secret: str, advised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", secret)
    told = said(OperationalError("Connection refused"))
    assert told
    assert told.endswith(". Unset it to use the embedded PostgreSQL." if advised else "or mend host and port.")


def test_it_looks_through_a_pools_timeout_at_the_connect_that_failed() -> None:
    error = OperationalError("no connection within 30.0 s")
    error.__cause__ = OperationalError("Connection refused")
    assert "no PostgreSQL listens" in (said(error) or "")


@pytest.mark.parametrize(
    ("number", "means"), [(errno.ENOSPC, "make room (df -h"), (errno.EROFS, "chown"), (errno.EACCES, "chown")]
)
def test_it_names_the_file_that_cannot_be_written(number: int, means: str) -> None:
    told = said(OSError(number, os.strerror(number), "/site/.local/run"))
    assert told
    assert told.startswith("/site/.local/run cannot be written (")
    assert means in told


@pytest.mark.parametrize(
    "error", [ValueError("bug"), FileNotFoundError(errno.ENOENT, "no such file"), OperationalError("?")]
)
def test_it_leaves_every_other_error_alone(error: Exception) -> None:
    assert said(error) is None


@pytest.mark.parametrize("line", ["migrate", "sweep --duration 1", "demo", "check --database default", "compare 1 2"])
def test_each_command_says_it_in_one_line(line: str) -> None:
    url = f"postgres://me:secret@127.0.0.1:{free_port()}/shop"
    done = manage(line, url)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "no PostgreSQL listens on 127.0.0.1" in done.stderr
    assert "secret" not in done.stderr


def test_a_shell_is_of_use_without_the_database() -> None:
    done = manage("shell --command print(6*7)", f"postgres://me:secret@127.0.0.1:{free_port()}/shop")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "42"), done.stderr


@pytest.mark.parametrize("buffered", ["", "1"])
def test_it_ends_in_silence_where_nobody_reads_on(buffered: str) -> None:
    """As in `manage.py compare 1 2 | head -1`."""
    read, write = os.pipe()
    os.close(read)
    env = os.environ | {"PYTHONUNBUFFERED": buffered}
    command = [sys.executable, "manage.py", "help"]
    done = subprocess.run(command, cwd=ROOT, env=env, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("fails", "code", "said"),
    [
        ("1/0", 1, "ZeroDivisionError"),
        ("raise OSError(28, 'No space left on device', 'sweep.json')", 2, "sweep.json cannot be written"),
        ("raise SystemExit(3)", 3, ""),
    ],
)
def test_it_says_what_failed_also_where_nobody_reads_on(fails: str, code: int, said: str) -> None:
    """Its last line, in a buffer until then, was the one error that counted."""
    read, write = os.pipe()
    os.close(read)
    done = shell(f"print('the last line'); {fails}", stdout=write)
    os.close(write)
    assert (done.returncode, said in done.stderr, "BrokenPipe" in done.stderr) == (code, True, False)


@pytest.mark.parametrize(
    ("then", "code", "said"),
    [
        ("", 2, "cannot be written (No space left on device): make room"),
        ("raise SystemExit(0)", 2, "cannot be written (No space left on device): make room"),
        ("raise SystemExit(3)", 3, ""),
        ("1/0", 1, "ZeroDivisionError"),
    ],
)
def test_it_says_once_that_the_disk_of_its_output_is_full_and_hides_no_error_by_it(
    then: str, code: int, said: str
) -> None:
    """Python's own flush failed once more at the end, and made 120 of each code."""
    with Path("/dev/full").open("w") as full:
        done = shell(f"print('the last line'); {then}", stdout=full.fileno())
    assert (done.returncode, said in done.stderr, done.stderr.count("No space")) == (code, True, int(code == 2))


def test_it_takes_no_other_broken_pipe_for_that_of_its_output() -> None:
    done = shell("import os; read, write = os.pipe(); os.close(read); os.write(write, b'x')", stdout=subprocess.PIPE)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "BrokenPipeError: [Errno 32] Broken pipe")


def shell(command: str, stdout: int) -> Any:
    env = os.environ | {"DATABASE_URL": f"postgres://127.0.0.1:{free_port()}/shop", "PYTHONUNBUFFERED": ""}
    line = [sys.executable, "manage.py", "shell", "--no-imports", "--command", command]
    return subprocess.run(line, cwd=ROOT, env=env, stdout=stdout, stderr=subprocess.PIPE, text=True)


def manage(line: str, url: str) -> Any:
    command = [sys.executable, "manage.py", *line.split()]
    env = os.environ | {"DATABASE_URL": url}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
