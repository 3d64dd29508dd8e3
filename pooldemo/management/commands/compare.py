"""`manage.py compare A B`: what changed from one sweep to another, with an exit code for CI.

Exit codes: 0 nothing is worse; 1 B is worse: a size lost, more failures, less throughput, a longer p95, a verdict
turned invalid or an SLO that was met and is missed; 2 it cannot be told.
"""

from pooldemo.management.extras import sweep as needed  # noqa: F401  before what it brings

# isort: split

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from pooldemo import records
from pooldemo.sweep.analyse.compare import Change, Comparison, compare_sweeps
from pooldemo.sweep.analyse.statistics import digits
from pooldemo.sweep.report import formats
from pooldemo.sweep.report.output import write

WORSE = 1
INVALID = 2

MARKS = {"better": "+", "worse": "-", "lost": "-", "same": "=", "unknown": "?"}
UNITS = {"rps": "requests/s", "p95_ms": "ms p95", "failures": "of the requests failed"}


class Command(BaseCommand):
    """Reads two sweeps, prints what changed."""

    help = "Say what changed significantly between two sweeps (numbers of sweeps, or files written by sweep --json)."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("before", metavar="A", help="number of a sweep, or a file written by sweep --json")
        parser.add_argument("after", metavar="B", help="the same, of the sweep to compare with A")
        parser.add_argument("--all", action="store_true", help="show what did not change as well")
        parser.add_argument("--github", action="store_true", help="what is worse, as annotations of GitHub's CI")
        parser.add_argument("--json", metavar="FILE|-", help="all of it; - is standard output, with nothing else on it")

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            sweeps = records.read(options["before"]), records.read(options["after"])
            found = compare_sweeps(*sweeps)
        except (ValueError, records.NoSuchSweep) as error:
            raise CommandError(str(error), returncode=INVALID) from error
        except DatabaseError as error:
            raise CommandError(f"The database failed: {error}", returncode=INVALID) from error
        told = self.stderr if options["json"] == "-" else self.stdout
        for line in annotations_of(found) if options["github"] else lines_of(found, everything=options["all"]):
            told.write(line)
        if options["json"] and (lost := write(options["json"], formats.to_comparison(found, *sweeps))):
            raise CommandError(lost, returncode=INVALID)
        if found.is_worse:
            sys.exit(WORSE)
        if not found.is_known:
            raise CommandError("each size was measured once: repeat both sweeps (--repeats 3)", returncode=INVALID)


def lines_of(found: Comparison, *, everything: bool = False) -> list[str]:
    """The comparison as lines of text: conditions, changes, verdicts, a sum."""
    lines = [f"differs: {each}" for each in found.differences]
    shown = [change for change in found.changes if everything or change.kind not in ("same", "unknown")]
    lines += [_line(change) for change in shown]
    lines += [
        f"{'- ' if each.is_worse else ''}verdict: {each.stack}: {each.before} -> {each.after}" for each in found.moved
    ]
    kinds = [change.kind for change in found.changes]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in MARKS if kind in kinds)
    said = "B is worse" if found.is_worse else "B is not worse" if found.is_known else "nobody can tell"
    return [*lines, f"{said}: {len(kinds)} comparisons at 95% confidence for all together: {counts}"]


def annotations_of(found: Comparison) -> list[str]:
    """The comparison as workflow commands of GitHub's CI: an error for what is worse, a notice of the sum."""
    worse = [_line(change) for change in found.changes if change.is_worse]
    worse += [f"- verdict: {each.stack}: {each.before} -> {each.after}" for each in found.moved if each.is_worse]
    *_, total = lines_of(found)
    said = [("error", line.removeprefix("- ")) for line in worse] + [("notice", total)]
    return [f"::{kind} title=sweep::{text.replace('%', '%25')}" for kind, text in said]


def _line(change: Change) -> str:
    at = "at all sizes" if change.size is None else f"at {change.size}"
    if change.kind == "lost":
        return f"- {change.stack} {at}: lost, A carried {digits(change.before)} requests/s there"
    values = [f"{each:.2%}" if change.metric == "failures" else digits(each) for each in (change.before, change.after)]
    uncertain = (
        f", {change.low:+.1%} to {change.high:+.1%}" if change.low is not None and change.high is not None else ""
    )
    return (
        f"{MARKS[change.kind]} {change.stack} {at}: {' -> '.join(values)} {UNITS[change.metric]} "
        f"({change.ratio:+.1%}{uncertain})"
    )
