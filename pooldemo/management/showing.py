"""How commands end that have a sweep to show: its table, its verdicts, its reports, and the exit code they come to."""

from argparse import Action, ArgumentParser, _ArgumentGroup
from collections.abc import Callable
from functools import partial
from typing import Any

from django.core.management.base import CommandError

from pooldemo.sweep.analyse.compare import compare_sides
from pooldemo.sweep.facts import SweepResult, Verdict
from pooldemo.sweep.report import comparison
from pooldemo.sweep.report.formats import FORMATS
from pooldemo.sweep.report.output import Reports, write_reports
from pooldemo.sweep.report.terminal import Terminal

REPORTS: Reports = {each.name: each.write for each in FORMATS.values()}
SLO_MISSED, REFUSED, INVALID, INTERRUPTED = 1, 2, 3, 130
WORSE = SLO_MISSED


def add_reports(parser: ArgumentParser) -> _ArgumentGroup:
    """The options of `REPORTS`, and `--quiet`."""
    parser._get_values = partial(_values, parser, parser._get_values)  # type: ignore[method-assign]
    out = parser.add_argument_group("what comes out")
    for each in FORMATS.values():
        out.add_argument(f"--{each.name}", metavar="FILE|-" if each.name == "json" else "FILE", help=each.help)
    out.add_argument("--quiet", action="store_true", help="print only the verdicts")
    return out


def _values(parser: ArgumentParser, plain: Callable[..., Any], action: Action, given: list[str]) -> Any:
    """Python's own; before 3.13 it takes the `--` away from `--sizes=--`, and then misses it: it was a traceback."""
    if given == ["--"] and action.option_strings:
        parser.error(f"argument {action.option_strings[0]}: '--' is no value")
    return plain(action, given)


def show(terminal: Terminal, sweep: SweepResult, reports: Reports) -> int:
    """The table, the verdicts and the reports of a sweep that has ended; the exit code of its verdict.

    Raises CommandError, after all that can be shown, when a report could not be written.
    """
    terminal.tables(sweep)
    terminal.verdicts(sweep.verdicts)
    found = compare_sides(sweep)
    for line in comparison.lines_of(found) if found else ():
        terminal.console.print(line)
    if lost := write_reports(reports, sweep):
        raise CommandError(lost, returncode=REFUSED)
    if found:
        return WORSE if found.is_worse else 0 if found.is_known else INVALID
    return exit_code(sweep.verdicts[0]) if sweep.verdicts else INVALID


def exit_code(verdict: Verdict) -> int:
    if verdict.slo is not None and verdict.slo.state == "missed":
        return SLO_MISSED
    if verdict.shape == "invalid" or (verdict.slo is not None and verdict.slo.state == "undecided"):
        return INVALID
    return 0
