"""The services' scripts, with programs that only write down how they were called."""

import subprocess
from pathlib import Path

import pytest
from served import ROOT

PROGRAMS = ("python", "pgbouncer", "prometheus-postgres-exporter", "postgres")
CALLED = '#!/bin/sh\necho "$(basename "$0") $*" >>"$CALLS"\n'
INITDB = f'{CALLED}mkdir "$2" && echo 18 >"$2/PG_VERSION"\n'
BREAKS_ONCE = f'{CALLED}if [ "$1" = --single ] && rm "$CALLS.breaks" 2>/dev/null; then exit 1; fi\n'


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


def start(service: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    needed = {
        "PATH": f"{folder / 'programs'}:/usr/bin:/bin",
        "CALLS": str(folder / "calls"),
        "SECRETS_DIR": str(folder / "secrets"),
        "STATE_DIR": str(folder),
        "PGDATA": str(folder / "data"),
    }
    command = [ROOT / "deploy/services" / service]
    return subprocess.run(command, cwd=ROOT, env=needed | environment, capture_output=True, text=True)


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines() if (folder / "calls").exists() else []


@pytest.mark.parametrize("service", ["web", "migrate", "pgbouncer", "postgres-exporter", "db"])
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


def test_it_makes_a_cluster_anew_whose_making_was_interrupted(folder: Path) -> None:
    """It was served for ever without the site's role."""
    (folder / "programs/postgres").write_text(BREAKS_ONCE)
    (folder / "calls.breaks").touch()
    assert start("db", folder).returncode != 0
    for _ in range(2):
        done = start("db", folder)
        assert done.returncode == 0, done.stderr
    programs = [f"{name} {option}" for name, option, *_ in map(str.split, calls(folder))]
    assert programs == ["initdb -D", "postgres --single"] * 2 + ["postgres -D"] * 2
