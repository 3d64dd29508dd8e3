"""A sweep for other programs and other people: JSON, CSV, Markdown for a pull request. Pure.

Each function takes a `SweepResult` and returns the whole text; the command writes it. All of them, and the HTML file of
`html_report.py`, say the same numbers, three significant digits where people read and all of them where programs do.
"""

import csv
import io
import itertools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields

from pooldemo.sweep.analyse.document import document_of
from pooldemo.sweep.analyse.warnings import brief
from pooldemo.sweep.facts import SweepResult, TrialResult
from pooldemo.sweep.report import comparison, figures, junit, rerun
from pooldemo.sweep.report.html_report import to_html
from pooldemo.sweep.report.lines import to_lines
from pooldemo.sweep.report.tables import (
    HEADERS,
    Row,
    conditions_of,
    named,
    reasons_of_failure,
    rows_of,
    shape_of,
    title,
)

CSV_OMITS = (
    "failures_by_message",
    "per_second",
    "failures_per_second",
    "latencies",
    "steps",
    "waits",
    "io",
    "warnings",
)
"""Fields of a trial that are no single value; `warnings` comes back as codes."""


def to_json(sweep: SweepResult) -> str:
    """The document of docs/json.md: `sweep`, `trials`, `sizes`, `verdicts`; what `judge` and `compare` read."""
    return to_lines(document_of(sweep))


def to_list(sweeps: Sequence[SweepResult]) -> str:
    """What `sweep --list --json` writes: for each sweep its number, status, load, plan and verdicts."""
    rows = [
        {"id": each.id, "status": each.status, "started_at": each.started_at, "load": figures.load_of(each)}
        | asdict(each.plan)
        | {"verdicts": [asdict(verdict) for verdict in each.verdicts]}
        for each in sweeps
    ]
    return json.dumps(rows, indent=1, allow_nan=False) + "\n"


def to_csv(sweep: SweepResult) -> str:
    """A row for each trial, a column for each single value; the codes of its warnings in the last, joined by spaces."""
    names = [each.name for each in fields(TrialResult) if each.name not in CSV_OMITS]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([*names, "warnings"])
    for trial in sweep.trials:
        codes = " ".join(warning.code for warning in trial.warnings)
        rows.writerow([*(getattr(trial, name) for name in names), codes])
    return text.getvalue()


def to_markdown(sweep: SweepResult) -> str:
    """Verdicts, a table for each stack, warnings and conditions, to paste into a pull request."""
    parts = [_plain(f"### {comparison.of_sweep(sweep)}"), _plain(title(sweep))]
    for verdict in sweep.verdicts:
        parts.append(_plain(f"**{verdict.stack}**: {shape_of(verdict)}. {verdict.because}"))
        if verdict.copy:
            parts.append(f"```\n{verdict.copy}\n```")
        parts += [_plain(f"> **{each.code}**: {each.cause}. Cure: {each.cure}") for each in verdict.warnings]
    if found := comparison.sides_of(sweep):
        parts.append("\n".join(["```", *comparison.lines_of(found), "```"]))
    for view, stack in itertools.product(sweep.views, sweep.plan.stacks):
        if rows := rows_of(view, stack):
            parts.append(_markdown_table(named(stack, view, sweep), rows, _best(stack, view)))
    parts += [_plain(f"- {len(trials)} trials failed: {brief(why)}") for why, trials in reasons_of_failure(sweep)]
    parts.append(f"```sh\n{rerun.again(sweep)}\n```")
    conditions = "; ".join(f"{name}: {value}" for name, value in conditions_of(sweep))
    parts.append(f"<sub>{_plain(conditions)}</sub>")
    return "\n\n".join(parts) + "\n"


def _plain(text: str) -> str:
    """What others have written as it is, also where Markdown would read a tag: `<Greenlet at 0x7f>` was left out."""
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)


def _best(stack: str, view: SweepResult) -> int | None:
    """The size that the stack's verdict names, if it does at this number of workers."""
    named = (each.max_conns for each in view.verdicts if (each.stack, each.workers) == (stack, view.plan.workers))
    return next(named, None)


def _markdown_table(name: str, rows: Sequence[Row], best: int | None) -> str:
    lines = [f"| {_plain(name).replace('|', '&#124;')}: {' | '.join(HEADERS)} |", f"|{' ---: |' * len(HEADERS)}"]
    for row in rows:
        cells = [f"**{cell}**" for cell in row.cells] if row.size == best else row.cells
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


@dataclass(frozen=True)
class Format:
    """A file that a sweep can be had as: its option, what `--help` says of it, its media type, what makes its text, and
    what its file's name ends in."""

    name: str
    help: str
    media_type: str
    write: Callable[[SweepResult], str]
    suffix: str = ""

    @property
    def file_suffix(self) -> str:
        return self.suffix or self.name


FORMATS = {
    each.name: each
    for each in (
        Format("json", "everything; - writes it to standard output, and nothing else", "application/json", to_json),
        Format("csv", "a row for each trial", "text/csv", to_csv),
        Format("html", "one offline page with the curve", "text/html", to_html),
        Format("markdown", "a table for a pull request", "text/plain", to_markdown, "md"),
        Format("junit", "verdict, SLO and comparison as tests, for CI", "application/xml", junit.of_sweep, "xml"),
    )
}
