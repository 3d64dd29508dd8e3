"""`manage.py demo`: the shortest way to a result. Tables, a short sweep of this pool beside the one users have today, a
login for the admin where it can be looked at. What a sweep is lives in `sweep`.

Nothing stays running: neither servers nor load, and the embedded PostgreSQL only where a user started it.
"""

import secrets
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connections
from django.urls import reverse

from pooldemo import models, records
from pooldemo.postgresql import pools

ADDRESS = "http://127.0.0.1:8000"  # where `make run` serves
USER = "admin"
INTERRUPTED = 130

# Up to 16 users the throughput follows the size, a bound that everybody can check: 16 users / 50 ms = 320 a second. The
# baseline opens a connection for each user whatever the size: it counts after it has connected.
LOAD = {"stack": "pooldemo,geventpool", "workload": "slow", "ms": 50.0, "users": 16, "warmup": 0.5}


class Command(BaseCommand):
    """Each step says what it does before it takes time."""

    help = "See in two minutes what a sweep finds: this pool beside django-db-geventpool, and where to look at it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--sizes", default="4,8,16,32", help="MAX_CONNS to try (default %(default)s)")
        parser.add_argument("--duration", type=float, default=2.0, help="seconds of a trial (default %(default)s)")
        parser.add_argument("--repeats", type=int, default=3, help="of each stack and size (default %(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        measured = {name: options[name] for name in ("sizes", "duration", "repeats")}
        code = 0
        try:
            self.say("1/3  Making the tables")
            call_command("migrate", verbosity=0, interactive=False)
            before = records.latest()
            self.say("2/3  Sweeping pool sizes on this machine")
            code = self.sweep(measured)
            if code != INTERRUPTED:
                self.show(before)
        except KeyboardInterrupt:
            code = INTERRUPTED
        finally:
            self.leave_nothing_running()
        if code == INTERRUPTED:
            self.stderr.write("interrupted; `make demo` begins again, what was measured is kept")
            raise SystemExit(INTERRUPTED)

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()  # the sweep writes to the same stream past this wrapper

    def sweep(self, measured: dict[str, Any]) -> int:
        """The sweep's exit code. A verdict of `invalid` is a result too: it says what to do on so busy a machine."""
        try:
            call_command("sweep", **LOAD, **measured)
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    def show(self, before: models.Sweep | None) -> None:
        """What was opened in one sentence, and the way into the admin."""
        sweep = records.latest()
        if sweep is None or sweep == before:
            return
        for stack in sweep.stacks:
            self.say(opened(stack, sweep))
        page = reverse("admin:pooldemo_sweep_change", args=[sweep.pk])
        self.say(f"\n3/3  Look at it: make run, then {ADDRESS}{page}")
        self.say(f"     login {self.login()}")
        self.say(
            "\nGo on:  make run             the site with its workloads, on this pool"
            "\n        make sweep           a longer sweep, your sizes: make sweep ARGS='--users 64 --sizes 8,16,32,64'"
            "\n        docs/moving-from-geventpool.md, docs/options.md   the pool in a project of yours"
        )

    def login(self) -> str:
        """The admin's name and password. A user who is there keeps the password of then, which nobody can read back."""
        users = get_user_model().objects
        if users.filter(**{get_user_model().USERNAME_FIELD: USER}).exists():
            return f"{USER}, password as first shown (forgotten: .venv/bin/python manage.py changepassword {USER})"
        password = secrets.token_urlsafe(12)
        users.create_superuser(USER, password=password)
        return f"{USER}  password {password}"

    def leave_nothing_running(self) -> None:
        connections.close_all()
        for pool in pools():
            pool.close()
        if settings.EMBEDDED is not None:
            settings.EMBEDDED.stop(unless_asked=True)


def opened(stack: str, sweep: models.Sweep) -> str:
    """The worst that PostgreSQL saw of a stack: connections open beside connections allowed."""
    seen = [
        (trial.peak_connections, trial.size * sweep.workers)
        for trial in sweep.trials.filter(stack=stack, error="")
        if trial.peak_connections is not None
    ]
    if not seen:
        return f"{stack}: no trial ended, so PostgreSQL saw nothing of it"
    worst, allowed = max(seen, key=lambda pair: pair[0] / pair[1])
    if worst <= allowed:
        return f"{stack} never opened more connections than it was allowed ({len(seen)} trials)"
    return f"{stack} opened {worst} connections where {allowed} were allowed"
