"""`manage.py demo` as `make demo` types it: a short one, on the test database, in a process of its own."""

import os
import re
import subprocess
import sys

import pytest
from django.contrib.auth import get_user_model
from served import ROOT

from pooldemo.management.commands.demo import Command, opened
from pooldemo.models import Sweep

EVERY = {
    "workload": "slow",
    "ms": 50,
    "think_ms": 0,
    "users": 16,
    "duration_s": 1,
    "warmup_s": 0,
    "repeats": 1,
    "seed": 1,
}


def test_it_ends_with_the_verdict_the_connections_and_the_login(transactional_db: None, database_url: str) -> None:
    command = [sys.executable, "manage.py", "demo", "--sizes", "2", "--duration", "1", "--repeats", "1"]
    env = os.environ | {"DATABASE_URL": database_url, "DJANGO_SETTINGS_MODULE": "project.settings", "COLUMNS": "200"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pooldemo never opened more connections than it was allowed (1 trials)" in done.stdout
    assert re.search(r"geventpool opened ([3-9]|1[0-6]) connections where 2 were allowed", done.stdout)
    assert re.search(r"^pooldemo: (knee|rising|flat|invalid)", done.stdout, re.MULTILINE)
    sweep = Sweep.objects.get()
    assert f"http://127.0.0.1:8000/admin/pooldemo/sweep/{sweep.pk}/change/" in done.stdout
    (password,) = re.findall(r"login admin  password (\S+)", done.stdout)
    admin = get_user_model().objects.get(username="admin")
    assert admin.check_password(password)
    assert admin.is_superuser


@pytest.mark.django_db
def test_it_leaves_the_password_of_an_admin_who_is_there() -> None:
    first = Command().login()
    (password,) = re.findall(r"password (\S+)", first)
    assert "changepassword admin" in Command().login()
    assert get_user_model().objects.get(username="admin").check_password(password)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("seen", "text"),
    [
        ([(4, 4), (8, 7)], "geventpool never opened more connections than it was allowed (2 trials)"),
        ([(4, 16), (8, 20)], "geventpool opened 16 connections where 4 were allowed"),
        ([(4, None)], "geventpool: no trial ended, so PostgreSQL saw nothing of it"),
    ],
)
def test_it_says_the_worst_that_was_opened(seen: list[tuple[int, int | None]], text: str) -> None:
    sweep = Sweep.objects.create(stacks=["geventpool"], sizes=[4, 8], workers=1, **EVERY)
    for size, peak in seen:
        sweep.trials.create(stack="geventpool", size=size, repeat=1, peak_connections=peak)
    assert opened("geventpool", sweep) == text
