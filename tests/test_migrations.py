"""The migrations on a database of a project that has the app installed, there and back: a kept sweep stops nobody from
taking the package out again. On another database than PostgreSQL too, where its tests may run."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from project.environment import database

SCRIPT = """
import json, sys
import django
from django.conf import settings
from django.core.management import call_command

settings.configure(INSTALLED_APPS=["pooldemo"], DATABASES={"default": json.loads(sys.argv[1])})
django.setup()
call_command("migrate", verbosity=0)
from pooldemo.models import Sweep

plan = dict(ms=1, think_ms=1, users=2, duration_s=1, warmup_s=0, repeats=1, seed=1, sizes=[1], workload="urls")
stack = "pooldemo@" + "POOL_MODE=transaction," * 5
sweep = Sweep.objects.create(stacks=["pooldemo", stack], workers=2, splits=[1, 2], **plan)
for workers in (1, 2):
    for name in sweep.stacks:
        sweep.trials.create(stack=name, size=1, repeat=1, workers=workers)
call_command("migrate", "pooldemo", "0002", verbosity=0)
call_command("migrate", "pooldemo", verbosity=0)
assert [(trial.stack, trial.workers) for trial in Sweep.objects.get().trials.all()] == [("pooldemo", 2)]
call_command("migrate", "pooldemo", "zero", verbosity=0)
"""


def there_and_back(config: dict[str, Any]) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, json.dumps(config)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def schema(postgresql: str) -> Iterator[str]:
    """A schema for the length of a test."""
    with closing(psycopg2.connect(postgresql)) as admin, admin.cursor() as cursor:
        admin.autocommit = True
        cursor.execute("CREATE SCHEMA there_and_back")
        yield "there_and_back"
        cursor.execute("DROP SCHEMA there_and_back CASCADE")


def test_they_go_there_and_back_with_sweeps_that_are_kept(postgresql: str, schema: str) -> None:
    options = {"options": f"-c search_path={schema}"}
    there_and_back({**database(postgresql, {}), "ENGINE": "pooldemo.postgresql", "OPTIONS": options})


def test_they_run_where_no_workload_can() -> None:
    there_and_back({"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"})
