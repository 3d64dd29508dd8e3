#!/usr/bin/env python
"""Django's command line for this site. It has the embedded PostgreSQL running before a command that needs one."""

import os
import sys

# These never ask the database. Any other command, of ours or of an app added later, finds it running.
WITHOUT_DATABASE = {
    "check",
    "collectstatic",
    "compilemessages",
    "diffsettings",
    "findstatic",
    "help",
    "makemessages",
    "makemigrations",
    "postgres",
    "startapp",
    "startproject",
    "version",
}


def needs_database(arguments: list[str]) -> bool:
    """Whether the command line, without the program's name, is of a command that talks to the database."""
    command = arguments[0] if arguments else "help"
    return not (command.startswith("-") or command in WITHOUT_DATABASE or {"-h", "--help"} & set(arguments))


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    from django.core.management import execute_from_command_line

    if needs_database(sys.argv[1:]):
        from django.conf import settings

        if settings.EMBEDDED is not None:
            settings.EMBEDDED.ensure_or_exit()
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
