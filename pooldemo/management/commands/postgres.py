"""`manage.py postgres`: the embedded PostgreSQL by hand. What it does lives in the settings' `EMBEDDED`."""

import os
import shutil
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    """Each action is a method of its name."""

    help = "The PostgreSQL that this install brings (unused while DATABASE_URL is set)."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("start", help="start it; it then stays until `stop`")
        stop = actions.add_parser("stop", help="stop it, unless another process uses it")
        stop.add_argument("--force", action="store_true", help="stop it all the same, ending connections")
        stop.add_argument(
            "--unless-asked", action="store_true", help="leave it, without an error, when started by `start` or in use"
        )
        actions.add_parser("status", help="what runs and who uses it; exit code 3 when it does not run")
        actions.add_parser("url", help="print DATABASE_URL")
        psql = actions.add_parser("psql", help="open psql on it, starting it if need be")
        psql.add_argument("arguments", nargs="*", metavar="-- argument", help="passed to psql")
        reset = actions.add_parser("reset", help="stop it and delete its data")
        reset.add_argument("--yes", action="store_true", help="do not ask")
        reset.add_argument("--force", action="store_true", help="also while other processes use it")

    def handle(self, *args: Any, **options: Any) -> None:
        if not hasattr(settings, "EMBEDDED"):
            raise CommandError("This project has no embedded PostgreSQL: it uses that of its settings", returncode=2)
        server: Any = settings.EMBEDDED  # what it is belongs to the site, which the app knows nothing of
        if options["action"] == "url":
            self.stdout.write(settings.DATABASE_URL)
        elif server is None:
            raise CommandError(
                "DATABASE_URL is set, so the embedded PostgreSQL is not used: unset it first", returncode=2
            )
        else:
            try:
                getattr(self, options["action"])(server, options)
            except server.Error as error:
                raise CommandError(str(error)) from error

    def start(self, server: Any, options: dict[str, Any]) -> None:
        started = server.ensure(asked=True)
        self.stdout.write(f"{'started' if started else 'already running'}: {settings.DATABASE_URL}")

    def stop(self, server: Any, options: dict[str, Any]) -> None:
        stopped = server.stop(force=options["force"], unless_asked=options["unless_asked"])
        if stopped:
            self.stdout.write("PostgreSQL stopped")
        elif not options["unless_asked"]:
            self.stdout.write("it was not running")

    def status(self, server: Any, options: dict[str, Any]) -> None:
        status = server.status()
        state = f"running, pid {status.pid}" if status.running else "not running"
        self.stdout.write(f"PostgreSQL  {state}")
        self.stdout.write(f"data        {status.data} (version: {status.version})")
        self.stdout.write(f"url         {status.url}")
        self.stdout.write(f"users       {', '.join(status.users) or 'none connected'}")
        if not status.running:
            raise SystemExit(3)  # as pg_ctl's

    def psql(self, server: Any, options: dict[str, Any]) -> None:
        server.ensure()
        own = server.programs().folder / "psql"
        program = str(own) if own.exists() else shutil.which("psql") or "psql"
        self.stdout.flush()
        os.execv(program, ["psql", settings.DATABASE_URL, *options["arguments"]])  # noqa: S606  psql takes the terminal over

    def reset(self, server: Any, options: dict[str, Any]) -> None:
        if not options["yes"]:
            try:
                answer = input(f"Delete all data in {server.status().data}? Type yes: ")
            except EOFError:
                raise CommandError("nothing was deleted: nobody is here to say yes. Without asking: --yes") from None
            if answer.strip().lower() != "yes":
                raise CommandError("nothing was deleted")
        server.reset(force=options["force"])
        self.stdout.write("deleted; the next start makes an empty one")
