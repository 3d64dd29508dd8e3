"""The services' scripts, with programs that only write down how they were called."""

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from served import ROOT

PROGRAMS = ("python", "pgbouncer", "prometheus-postgres-exporter", "postgres")
CALLED = '#!/bin/sh\necho "$(basename "$0") $*" >>"$CALLS"\n'
INITDB = f'{CALLED}mkdir -p "$2/base" && echo 18 >"$2/PG_VERSION"\n'
HEARS = f'{CALLED}[ "$1" != --single ] || cat >>"$CALLS.heard"\n'
BREAKS_ONCE = f'{CALLED}if [ "$1" = --single ] && rm "$CALLS.breaks" 2>/dev/null; then exit 1; fi\n'
MOVES_LATER = (
    '#!/bin/sh\ncase $1 in */PG_VERSION) rm "$CALLS.breaks" 2>/dev/null && exit 1 ;; esac\nexec /bin/mv "$@"\n'
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the programs, and the secrets."""
    (tmp_path / "programs").mkdir()
    for name in (*PROGRAMS, "initdb"):
        path = tmp_path / "programs" / name
        path.write_text(INITDB if name == "initdb" else CALLED)
        path.chmod(0o755)
    subprocess.run([ROOT / "deploy/secrets", tmp_path / "secrets"], check=True)
    return tmp_path


def start(service: str, folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    needed = {
        "PATH": f"{folder / 'programs'}:/usr/bin:/bin",
        "CALLS": str(folder / "calls"),
        "SECRETS_DIR": str(folder / "secrets"),
        "STATE_DIR": str(folder),
        "PGDATA": str(folder / "data"),
    }
    command = [str(ROOT / "deploy/services" / service), *arguments]
    return subprocess.run(command, cwd=ROOT, env=needed | environment, capture_output=True, text=True)


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines() if (folder / "calls").exists() else []


@pytest.mark.parametrize("service", ["web", "migrate", "manage", "pgbouncer", "postgres-exporter", "db"])
@pytest.mark.parametrize("secret", [None, ""])
def test_it_starts_nothing_without_its_secret(service: str, secret: str | None, folder: Path) -> None:
    """Without a word of it the site had a secret of its own, and the role no password."""
    file = folder / "secrets/postgres_password"
    file.unlink()
    if secret is not None:
        file.write_text(secret)
    done = start(service, folder)
    assert (done.returncode, calls(folder)) == (2, [])
    assert done.stderr == f"{file} is missing or empty: deploy/secrets makes it\n"


def test_it_starts_no_site_by_a_way_that_there_is_not(folder: Path) -> None:
    """It served an empty PostgreSQL of its own."""
    done = start("web", folder, DATABASE_BY="pgBouncer")
    assert (done.returncode, calls(folder)) == (2, [])
    assert done.stderr == "DATABASE_BY=pgBouncer is not accepted: give straight or pgbouncer\n"
    assert start("web", folder, DATABASE_BY="pgbouncer").returncode == 0
    assert calls(folder) == ["python deploy/drain.py 0.0.0.0 8000 gunicorn -k gevent project.wsgi"]


def test_it_gives_a_command_of_the_site_what_the_secrets_say(folder: Path) -> None:
    """In the containers the environment has them not: each command looked for a PostgreSQL of its own."""
    (folder / "programs/python").write_text(f'{CALLED}echo "$DATABASE_URL $SECRET_KEY" >>"$CALLS"\n')
    secret, password = ((folder / "secrets" / name).read_text() for name in ("secret_key", "postgres_password"))
    for service, way, host, typed in (
        ("manage", "straight", "db:5432/pooldemo", "pool --server"),
        ("manage", "pgbouncer", "pgbouncer:6432/pooldemo?DISABLE_SERVER_SIDE_CURSORS=True", "pool --server"),
        ("migrate", "pgbouncer", "db:5432/pooldemo", "migrate --no-input"),
    ):
        (folder / "calls").unlink(missing_ok=True)
        arguments = typed.split() if service == "manage" else []
        assert start(service, folder, *arguments, DATABASE_BY=way).returncode == 0
        assert calls(folder) == [f"python manage.py {typed}", f"postgres://pooldemo:{password}@{host} {secret}"]


def test_it_makes_a_cluster_anew_whose_making_was_interrupted(folder: Path) -> None:
    """It was served for ever without the site's role."""
    (folder / "programs/postgres").write_text(BREAKS_ONCE)
    (folder / "calls.breaks").touch()
    assert start("db", folder).returncode != 0
    for _ in range(2):
        done = start("db", folder)
        assert done.returncode == 0, done.stderr
    assert programs(folder) == ["initdb -D", "postgres --single"] * 2 + ["postgres --single", "postgres -D"] * 2


def test_it_makes_a_cluster_in_a_volume_of_its_own(folder: Path) -> None:
    """A folder that is one can be neither removed nor replaced; a file system has a folder of its own in it."""
    (folder / "data/lost+found").mkdir(parents=True)
    volume = (folder / "data").stat().st_ino
    (folder / "programs/mv").write_text(MOVES_LATER)
    (folder / "programs/mv").chmod(0o755)
    (folder / "calls.breaks").touch()
    assert start("db", folder).returncode != 0
    done = start("db", folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "data").stat().st_ino == volume
    assert (folder / "data").stat().st_mode & 0o777 == 0o700
    assert {each.name for each in (folder / "data").iterdir()} == {"PG_VERSION", "base", "lost+found", "pg_hba.conf"}
    assert programs(folder) == ["initdb -D", "postgres --single", "postgres --single", "postgres -D"]


def test_it_gives_a_cluster_that_is_older_its_roles_and_the_passwords_of_now(folder: Path) -> None:
    """Without `monitor` it was called down for ever; with new secrets nobody was let in."""
    (folder / "programs/postgres").write_text(HEARS)
    (folder / "data").mkdir()
    (folder / "data/PG_VERSION").write_text("18\n")
    for _ in range(2):
        password = (folder / "secrets/postgres_password").read_text()
        assert start("db", folder).returncode == 0
        heard = (folder / "calls.heard").read_text()
        assert "DO $$ BEGIN CREATE ROLE monitor; EXCEPTION" in heard
        for role in ("pooldemo", "monitor"):
            assert f"ALTER ROLE {role} LOGIN PASSWORD '{password}';\n\n" in heard
        (folder / "secrets/postgres_password").unlink()
        subprocess.run([ROOT / "deploy/secrets", folder / "secrets"], check=True)
    assert programs(folder) == ["postgres --single", "postgres -D"] * 2
    for setting in ("log_statement=none", "log_min_error_statement=panic", "log_min_duration_statement=-1"):
        assert f" -c {setting} " in calls(folder)[0], "the log has the password"


def test_it_mixes_no_cluster_with_what_it_finds(folder: Path) -> None:
    (folder / "data/base").mkdir(parents=True)
    done = start("db", folder)
    assert (done.returncode, calls(folder)) == (2, [])
    assert done.stderr == f"{folder / 'data'} holds something, and no whole cluster: empty it, or mend it\n"
    assert [each.name for each in (folder / "data").iterdir()] == ["base"]


def programs(folder: Path) -> list[str]:
    return [f"{name} {option}" for name, option, *_ in map(str.split, calls(folder))]


class Well(BaseHTTPRequestHandler):
    """Whoever answers 200."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(("service", "variable"), [("web", "WEB_PORTS"), ("locust", "LOAD_PAGE_PORT")])
def test_it_is_healthy_also_where_a_proxy_is_given(service: str, variable: str) -> None:
    """Docker gives each container the proxy that its own configuration has."""

    def code(port: int) -> int:
        given = {"http_proxy": "http://127.0.0.1:1", variable: str(port)}
        command = [sys.executable, str(ROOT / "deploy/healthy.py"), service]
        return subprocess.run(command, env=given, capture_output=True).returncode

    with HTTPServer(("127.0.0.1", 0), Well) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert code(server.server_port) == 0
        server.shutdown()
    assert code(server.server_port) == 1
