"""`manage.py compare A B`: what changed from one sweep to another, with an exit code for CI."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from pooldemo import records
from pooldemo.sweep.analyse.compare import Change, Comparison, NotComparable, compare_sweeps
from pooldemo.sweep.analyse.document import BadDocument
from pooldemo.sweep.analyse.statistics import digits

WORSE = 1
INVALID = 2

MARKS = {"better": "+", "worse": "-", "same": "=", "unknown": "?"}
UNITS = {"rps": "requests/s", "p95_ms": "ms p95"}


class Command(BaseCommand):
    """Reads two sweeps, prints what changed. Exit code 0: nothing is worse; 1: something is; 2: it cannot be told."""

    help = "Say what changed significantly between two sweeps (numbers of sweeps, or files written by sweep --json)."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("before", metavar="A", help="number of a sweep, or a file written by sweep --json")
        parser.add_argument("after", metavar="B", help="the same, of the sweep to compare with A")
        parser.add_argument("--all", action="store_true", help="show what did not change as well")

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            found = compare_sweeps(records.read(options["before"]), records.read(options["after"]))
        except (NotComparable, BadDocument, records.NoSuchSweep, OSError) as error:
            raise CommandError(str(error), returncode=INVALID) from error
        except DatabaseError as error:
            raise CommandError(f"The database failed: {error}", returncode=INVALID) from error
        for line in lines_of(found, everything=options["all"]):
            self.stdout.write(line)
        if not found.is_known:
            raise CommandError("each size was measured once: repeat both sweeps (--repeats 3)", returncode=INVALID)
        if found.is_worse:
            raise SystemExit(WORSE)


def lines_of(found: Comparison, *, everything: bool = False) -> list[str]:
    """The comparison as lines of text: conditions, changes, verdicts, a sum."""
    lines = [f"differs: {each}" for each in found.differences]
    shown = [change for change in found.changes if everything or change.kind in ("better", "worse")]
    lines += [_line(change) for change in shown]
    lines += [f"verdict: {stack}: {before} -> {after}" for stack, before, after in found.moved]
    kinds = [change.kind for change in found.changes]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in MARKS if kind in kinds)
    return [*lines, f"{len(kinds)} comparisons at 95% confidence for all together: {counts}"]


def _line(change: Change) -> str:
    uncertain = f" ± {change.half_width:.1%}" if change.kind != "unknown" else ""
    return (
        f"{MARKS[change.kind]} {change.stack} at {change.size}: {digits(change.before)} -> {digits(change.after)} "
        f"{UNITS[change.metric]} ({change.ratio:+.1%}{uncertain})"
    )
