"""The migrations on another database than PostgreSQL: whoever has the app installed may test on SQLite."""

import subprocess
import sys

SCRIPT = """
import django
from django.conf import settings
from django.core.management import call_command

databases = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
settings.configure(INSTALLED_APPS=["pooldemo"], DATABASES=databases)
django.setup()
call_command("migrate", verbosity=0)
from pooldemo.models import Sweep
assert not Sweep.objects.exists()
call_command("migrate", "pooldemo", "zero", verbosity=0)
"""


def test_they_run_where_no_workload_can() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
