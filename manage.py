#!/usr/bin/env python
"""Django's command line for this site. It has the embedded PostgreSQL running before a command that needs one."""

import io
import os
import sys
from typing import NoReturn

# These never ask the database. Any other command, of ours or of an app added later, finds it running.
WITHOUT_DATABASE = {
    "check",
    "collectstatic",
    "compilemessages",
    "diffsettings",
    "findstatic",
    "help",
    "judge",
    "makemessages",
    "makemigrations",
    "postgres",
    "startapp",
    "startproject",
    "version",
}
# These are of use while a given database does not answer, and say themselves that it does not.
WITHOUT_ANSWER = {"pool", "shell"}


def needs_database(arguments: list[str]) -> bool:
    """Whether the command line, without the program's name, is of a command that talks to the database."""
    command = arguments[0] if arguments else "help"
    if command == "check" and any(each.startswith("--database") for each in arguments):
        return True
    return not (command.startswith("-") or command in WITHOUT_DATABASE or {"-h", "--help"} & set(arguments))


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a chart's character shows a question mark
            stream.reconfigure(errors="replace")
    from django.conf import settings
    from django.core.management import execute_from_command_line

    from project import refusal

    def refuse(reason: str) -> NoReturn:
        print(reason, file=sys.stderr)
        sys.exit(2)

    url = "" if settings.EMBEDDED else settings.DATABASE_URL
    try:
        if needs_database(sys.argv[1:]):
            if settings.EMBEDDED is not None:
                settings.EMBEDDED.ensure_or_exit()
            elif sys.argv[1] not in WITHOUT_ANSWER and (reason := refusal.ask(url)):
                refuse(reason)
        execute_from_command_line(sys.argv)
    except Exception as error:
        reason = refusal.sentence(error, settings.DATABASES["default"], url)
        if reason is None or "--traceback" in sys.argv:
            raise
        refuse(reason)


if __name__ == "__main__":
    main()
