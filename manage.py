#!/usr/bin/env python3
"""Django's command line for this site. Has the embedded PostgreSQL running before a command that needs it begins."""

from __future__ import annotations  # an older Python must come as far as `enter_environment`

# No more than Python itself has imported: Ctrl-C meanwhile would be a traceback.
import io
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
    "judge",
    "makemessages",
    "makemigrations",
    "pool",
    "postgres",
    "startapp",
    "startproject",
    "version",
}
# These are of use while a given database does not answer, and say themselves that it does not.
WITHOUT_ANSWER = {"pool", "shell"}
UNREAD = 141  # as of a program that SIGPIPE has ended


def needs_database(command: str, options: dict[str, object]) -> bool:
    """Whether the command of that name, with these options as it has read them, talks to the database."""
    return bool(options.get("databases")) if command == "check" else command not in WITHOUT_DATABASE


def enter_environment() -> None:
    """Go on in the environment that make has made, where this Python has no Django; or say how to have one."""
    try:
        import django  # noqa: F401
    except ImportError:
        from pathlib import Path

        environment = Path(__file__).resolve().parent / ".venv"
        python = environment / "bin" / "python"
        if python.exists() and Path(sys.prefix).resolve() != environment.resolve():
            os.execv(python, [str(python), *sys.argv])  # noqa: S606  this program again
        sys.exit("Django is not installed for this Python. Type: make environment && . .venv/bin/activate")


def main() -> None:
    enter_environment()
    os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"  # one in the shell is another project's
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a chart's character shows a question mark
            stream.reconfigure(errors="replace")
    from contextlib import nullcontext

    from django.conf import settings
    from django.core.management import BaseCommand, ManagementUtility

    from project import refusal

    url = "" if settings.EMBEDDED else settings.DATABASE_URL

    def have_database(command: str) -> None:
        if settings.EMBEDDED is not None:
            settings.EMBEDDED.ensure_or_exit()
        elif command not in WITHOUT_ANSWER and (reason := refusal.ask(url)):
            sys.exit(refused(reason))

    class Utility(ManagementUtility):
        """Has the database running when a command is about to be executed: it exists, and its options are read."""

        def fetch_command(self, subcommand: str) -> BaseCommand:
            command = super().fetch_command(subcommand)
            execute = command.execute

            def execute_with_database(*arguments: object, **options: object) -> str | None:
                if needs_database(subcommand, options):
                    have_database(subcommand)
                embedded = settings.EMBEDDED if subcommand == "migrate" else None
                with embedded.turn() if embedded else nullcontext():  # gunicorn's start makes the tables too
                    return execute(*arguments, **options)

            command.execute = execute_with_database  # type: ignore[method-assign]
            return command

    lost = None
    try:
        try:
            Utility(sys.argv).execute()
        except SystemExit as end:
            if end.code:
                raise
        finally:
            lost = lost_output()
        if lost is not None:
            raise lost
    except BrokenPipeError:
        if not isinstance(lost, BrokenPipeError):  # another pipe, or a socket
            raise
        sys.exit(UNREAD)
    except Exception as error:
        reason = refusal.sentence(error, settings.DATABASES["default"], url)
        if reason is None or "--traceback" in sys.argv:
            raise
        ended = settings.EMBEDDED.ended() if settings.EMBEDDED is not None else ""
        sys.exit(refused(f"PostgreSQL ended meanwhile. {ended}".strip() if ended else reason))


def lost_output() -> OSError | None:
    """Why the output is not written to its end: nobody reads it any more, as after `... | head`, or its disk is full.
    What is left of it then goes nowhere: Python's own flush at the end would fail, in the place of an error that
    somebody does read."""
    import select

    lost: OSError | None = None
    look = select.poll()
    look.register(1, 0)  # what `gone` is, is told unasked
    try:
        print(end="", flush=True)
    except OSError as error:
        lost = error
    gone = select.POLLERR | select.POLLHUP
    if any(event & gone for _, event in look.poll(0)):
        lost = BrokenPipeError()
    if lost is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return lost


def refused(reason: str) -> int:
    """Say why, and the code to exit with."""
    print(reason, file=sys.stderr)
    return 2


def hear_all_as_ctrl_c() -> None:
    """SIGTERM and a terminal that is closed end a command as Ctrl-C does: what it has started is ended first."""
    import signal

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # what nohup has made deaf stays so
            signal.signal(number, signal.default_int_handler)


if __name__ == "__main__":
    try:
        hear_all_as_ctrl_c()
        main()
    except KeyboardInterrupt:
        sys.exit(130)
