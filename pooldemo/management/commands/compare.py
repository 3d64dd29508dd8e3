"""`manage.py compare A B`: what changed from one sweep to another, with an exit code for CI. `compare A` is about the
two sides of a sweep that measured both, `sweep --against`.

Exit codes: 0 nothing is worse; 1 B is worse: a size lost, more failures, less throughput, a longer p95, a verdict
turned invalid or an SLO that was met and is missed; 2 it cannot be told.
"""

from pooldemo.management.extras import sweep as needed  # noqa: F401  before what it brings

# isort: split

import sys
from argparse import ArgumentParser
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from pooldemo import records
from pooldemo.postgresql.unavailable import unavailable
from pooldemo.sweep.analyse.compare import compare_sides, compare_sweeps
from pooldemo.sweep.analyse.comparison import Comparison
from pooldemo.sweep.facts import SweepResult
from pooldemo.sweep.report import comparison, junit
from pooldemo.sweep.report.output import Lasting, write

WORSE = 1
INVALID = 2


class Command(BaseCommand):
    """Reads two sweeps, prints what changed."""

    help = "Say what changed significantly between two sweeps (numbers of sweeps, or files written by sweep --json)."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("before", metavar="A", help="number of a sweep, or a file written by sweep --json")
        parser.add_argument(
            "after",
            metavar="B",
            nargs="?",
            help="the same, to compare with A; leave it out where A is a sweep --against",
        )
        parser.add_argument("--all", action="store_true", help="show what did not change as well")
        parser.add_argument("--github", action="store_true", help="what is worse, as annotations of GitHub's CI")
        parser.add_argument("--junit", metavar="FILE", help="what is worse, as failed tests for CI")
        parser.add_argument(
            "--json", metavar="FILE|-", help="all of it; - writes it to standard output, and nothing else"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            sweeps, found = compared(options["before"], options["after"])
        except (ValueError, records.NoSuchSweep) as error:
            raise CommandError(str(error), returncode=INVALID) from error
        except DatabaseError as error:
            reason = unavailable(error)
            said = reason.message if reason else f"The database failed: {error}"
            raise CommandError(said, returncode=INVALID) from error
        told = Lasting(cast(IO[str], self.stderr if options["json"] == "-" else self.stdout))
        lines = comparison.annotations_of if options["github"] else comparison.lines_of
        for line in comparison.lines_of(found, everything=True) if options["all"] else lines(found):
            told.write(line)
        told.flush()
        if options["json"] and (lost := write(options["json"], comparison.to_json(found, *sweeps))):
            raise CommandError(lost, returncode=INVALID)
        if options["junit"] and (lost := write(options["junit"], junit.of_comparison(found))):
            raise CommandError(lost, returncode=INVALID)
        if found.is_worse:
            sys.exit(WORSE)
        if not found.is_known:
            more = found.needs or "--repeats 3"
            raise CommandError(f"too few repeats to tell: sweep with {more}", returncode=INVALID)


def compared(before: str, after: str | None) -> tuple[tuple[SweepResult, SweepResult], Comparison]:
    """A and B, two sweeps or the sides of one, and what changed. Raises ValueError, NoSuchSweep."""
    first = records.read(before)
    if after is not None:
        second = records.read(after)
        return (first, second), compare_sweeps(first, second)
    found = compare_sides(first)
    if found is None:
        raise ValueError(f"{before} compared nothing: name a second sweep, or measure one with --against")
    return (first, first), found
