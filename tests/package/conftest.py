"""The package as others get it: a wheel and an sdist, environments with nothing else, and a stranger's project."""

import atexit
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn
from served import PATIENCE_S, ROOT, free_port, until
from uv import find_uv_bin

INSTALL_S = 600  # the index may be slow


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    return folder


@pytest.fixture(scope="session")
def install(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes an environment with the wheel and these extras alone, once; its Python. `psycopg2 + celery`: Celery too."""
    return cache(lambda extras: environment(tmp_path_factory.mktemp("env"), dist, extras))


def environment(folder: Path, dist: Path, extras: str) -> Path:
    """An environment at the versions that this site is pinned to; its Python."""
    (wheel,) = dist.glob("*.whl")
    asked, *more = extras.split(" + ")
    wanted = [
        *more,
        f"pooldemo[{asked}] @ {wheel.as_uri()}",
        f"-c{ROOT}/requirements.txt",
        f"-c{ROOT}/requirements/psycopg3.txt",
        f"-c{ROOT}/requirements/dev.txt",
        f"-c{ROOT}/requirements/celery.txt",
    ]
    return installed(folder, *wanted)


def installed(folder: Path, *wanted: str) -> Path:
    """Make an environment there with these; its Python. By uv, which takes a second; by pip where the index is one that
    only pip is told of."""
    python = str(folder / "bin" / "python")
    uv = find_uv_bin()
    ways = (
        ([uv, "venv", "-q", "--python", sys.executable], [uv, "pip", "install", "-q", "--python", python]),
        ([sys.executable, "-m", "venv", "--clear"], [python, "-m", "pip", "install", "-q"]),
    )
    said = ""
    for make, add in ways:
        for command in ([*make, str(folder)], [*add, *wanted]):
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S)
            said += done.stdout + done.stderr
            if done.returncode:
                break
        else:
            return Path(python)
    raise AssertionError(said)


@dataclass(frozen=True)
class Project:
    """A Django project that has never heard of this checkout, on the wheel."""

    python: Path
    folder: Path
    dsn: dict[str, str]

    def run(self, *arguments: str, fails: bool = False, **variables: str) -> str:
        """What `python ARGUMENTS` says in its folder; `variables` are added to its environment."""
        done = self.type(*arguments, **variables)
        assert bool(done.returncode) is fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    def type(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """The same, however it ends."""
        env = {"PATH": os.environ["PATH"], "PYTHONWARNINGS": "error::ResourceWarning", **variables}
        command = [str(self.python), *arguments]
        return subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=PATIENCE_S)

    def set(self, lines: str) -> None:
        """Add `lines` to its settings."""
        with (self.folder / "theirs" / "settings.py").open("a") as file:
            file.write(f"\n{lines}\n")

    @contextmanager
    def served(self, *arguments: str) -> Iterator[int]:
        """Its port while gunicorn serves it, from the moment it listens."""
        port = free_port()
        command = [str(self.python), "-m", "gunicorn", "--no-control-socket", "--bind", f"127.0.0.1:{port}"]
        with (self.folder / "gunicorn.log").open("wb") as log:
            env = {"PATH": os.environ["PATH"]}  # not the settings of these tests
            server = subprocess.Popen(
                [*command, *arguments, "theirs.wsgi"], cwd=self.folder, env=env, stdout=log, stderr=log
            )
        try:
            until(lambda: server.poll() is not None or listens(port))
            assert server.poll() is None, (self.folder / "gunicorn.log").read_text()
            yield port
        finally:
            server.terminate()
            server.wait(PATIENCE_S)


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


CELERY = """
import os
from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "theirs.settings")
app = Celery("theirs", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "queue", "polling_interval": 0.05,
}


@app.task
def work():
    from django.db import connection
    from things.models import Thing

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.2)")
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                       "AND backend_type = 'client backend'")  # autovacuum comes and goes
        Thing.objects.create(name=cursor.fetchone()[0])
"""
MODELS = """
from django.db import models


class Thing(models.Model):
    name = models.CharField(max_length=20)
"""
VIEWS = """
from django.contrib.auth.decorators import login_required
from django.db import connection
from django.http import HttpResponse
from things.models import Thing


def index(request):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.2)")
    return HttpResponse(f"{Thing.objects.count()} {connection.pool.get_stats()['pool_max']}")


@login_required
def account(request):
    return index(request)
"""
TESTS = """
from django.db import transaction
from django.test import TestCase, TransactionTestCase
from things.models import Thing


class InTransaction(TestCase):
    def test_it_asks(self):
        Thing.objects.create(name="a")
        self.assertEqual(self.client.get("/").content, b"1 2")


class OnItsOwn(TransactionTestCase):
    def test_it_rolls_back(self):
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            Thing.objects.create(name="a")
            1 / 0
        self.assertEqual(Thing.objects.count(), 0)
"""
SETTINGS = """
DATABASES = {{"default": {{
    "ENGINE": "pooldemo.postgresql", "NAME": {dbname!r}, "USER": {user!r}, "PASSWORD": {password!r},
    "HOST": {host!r}, "PORT": {port!r}, "OPTIONS": {{"MAX_CONNS": 2}},
}}}}
"""


@cache
def template() -> Path:
    """A stranger's project without a database: `startproject`, `startapp`, a model and its migration, a view."""
    folder = Path(tempfile.mkdtemp(prefix="pooldemo-project-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)

    def run(*arguments: str) -> None:
        subprocess.run([sys.executable, *arguments], cwd=folder, env={"PATH": os.environ["PATH"]}, check=True)

    run("-m", "django", "startproject", "theirs", ".")
    run("manage.py", "startapp", "things")
    (folder / "things" / "models.py").write_text(MODELS)
    (folder / "things" / "views.py").write_text(VIEWS)
    (folder / "things" / "tests.py").write_text(TESTS)
    urls = "from django.urls import path\nfrom things.views import account, index\n\n"
    urls += "urlpatterns = [path('', index), path('account/', account)]\n"
    (folder / "theirs" / "urls.py").write_text(urls)
    with (folder / "theirs" / "settings.py").open("a") as settings:
        settings.write('\nINSTALLED_APPS += ["things"]\n')
    run("manage.py", "makemigrations", "--verbosity", "0", "things")
    return folder


def make_project(python: Path, folder: Path, url: str) -> Project:
    """The project in `folder`, ENGINE set, with a database of its own beside that of `url`."""
    shutil.copytree(template(), folder)
    dsn = {"password": "", "port": ""} | parse_dsn(url)
    name = f"theirs_{folder.name.replace('-', '_')}"
    with closing(psycopg2.connect(url)) as admin:
        admin.autocommit = True
        with admin.cursor() as cursor:
            cursor.execute(f'DROP DATABASE IF EXISTS "{name}"')
            cursor.execute(f'CREATE DATABASE "{name}"')
    project = Project(python, folder, dsn | {"dbname": name})
    project.set(SETTINGS.format(**project.dsn))
    return project
