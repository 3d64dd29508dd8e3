"""`manage.py judge FILE.json`: draw the verdicts of stored trials anew, by another margin or SLO, without measuring.

Exit codes: 0 a verdict; 1 the SLO is missed; 2 bad arguments or a file that is no sweep; 3 invalid or undecided. Of
several stacks the first one named decides. It never asks the database.
"""

from pooldemo.management.extras import sweep as needed  # noqa: F401  before what it brings

# isort: split

import sys
from argparse import ArgumentParser
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError

from pooldemo.management.showing import INTERRUPTED, REFUSED, REPORTS, add_reports, show
from pooldemo.sweep.analyse.document import asked_anew, judged
from pooldemo.sweep.report import files
from pooldemo.sweep.report.output import Lasting, open_reports
from pooldemo.sweep.report.terminal import Terminal


class Command(BaseCommand):
    """Reads a document, judges it, shows the verdict as `sweep` does."""

    help = "Draw the verdicts of a sweep's document anew, by another margin or SLO; nothing is measured."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE.json", help="a file written by sweep --json; - reads standard input")
        parser.add_argument(
            "--margin",
            type=float,
            help="how many percent less than the best a size may carry (default: the sweep's own)",
        )
        parser.add_argument(
            "--slo", help="limits that the recommended size must keep: p95=300,errors=0.1%% (default: the sweep's own)"
        )
        add_reports(parser)

    def handle(self, *_args: Any, **options: Any) -> None:
        to_stdout = any(options[name] == "-" for name in REPORTS)
        terminal = Terminal(cast(IO[str], Lasting(sys.stderr if to_stdout else sys.stdout)), options["quiet"])
        try:
            sweep = asked_anew(files.read(options["file"]), options["margin"], options["slo"])
            reports = open_reports(options, REPORTS)
            code = show(terminal, judged(sweep), reports)
        except KeyboardInterrupt:
            code = INTERRUPTED
        except (OSError, ValueError) as error:
            raise CommandError(str(error), returncode=REFUSED) from error
        if code:
            sys.exit(code)
