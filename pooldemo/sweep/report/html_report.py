"""A sweep as one HTML file that opens without a network and needs no script: to keep, to send, to print. Pure."""

import itertools
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from pathlib import Path
from string import Template

from pooldemo.sweep.analyse.slo import TICKS, describe_check, describe_limit
from pooldemo.sweep.facts import SweepResult, Verdict
from pooldemo.sweep.report import answer, comparison, rerun, words
from pooldemo.sweep.report.figures import figures_of
from pooldemo.sweep.report.moment import moment
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


def to_html(sweep: SweepResult) -> str:
    """The answer, the verdicts, the charts as SVG, what failed and why, the tables, the conditions, and the command
    that runs it again. Light and dark; on paper nothing is folded or cut."""
    return _page().substitute(
        style=_style(),
        title=escape(title(sweep)),
        headline=escape(answer.unbroken(comparison.of_sweep(sweep))),
        started=escape(moment(sweep.started_at)),
        verdicts="".join(_verdict(verdict) for verdict in sweep.verdicts),
        failures="".join(
            f'<section class="verdict invalid"><h2>{len(trials)} of {len(sweep.trials)} trials failed</h2>'
            f"<pre>{escape(why)}</pre><p>{escape('; '.join(trials))}</p></section>"
            for why, trials in reasons_of_failure(sweep)
        ),
        changes=_changes(sweep),
        charts="".join(
            f"<figure>{'' if place else figure.svg}{figure.narrow}</figure>"
            for place, figure in enumerate(figures_of(sweep).values())
        ),
        tables="".join(
            _table(named(stack, view, sweep), rows_of(view, stack))
            for view, stack in itertools.product(sweep.views, sweep.plan.stacks)
        ),
        again=escape(rerun.again(sweep)),
        conditions=_pairs(conditions_of(sweep)),
        words=_pairs(words.of_sweep(sweep)),
    )


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)


def _verdict(verdict: Verdict) -> str:
    copy = f"<pre>{escape(verdict.copy)}</pre>" if verdict.copy else ""
    checks = "".join(
        f'<li class="{check.state}">{TICKS[check.state]} {escape(describe_limit(check.limit))} '
        f"<span>{check.state}: measured {escape(describe_check(check))}</span></li>"
        for check in verdict.checks
    )
    warnings = "".join(
        f"<li><b>{escape(warning.code)}</b> {escape(warning.cause)}. <i>Cure:</i> {escape(warning.cure)}</li>"
        for warning in verdict.warnings
    )
    return (
        f'<section class="verdict {escape(answer.tone(verdict))}"><h2>{escape(verdict.stack)} '
        f"<small>{escape(shape_of(verdict))}</small></h2><p>{escape(verdict.because)}</p>{copy}"
        + (f'<ul class="slo">{checks}</ul>' if checks else "")
        + (f'<ul class="warnings">{warnings}</ul>' if warnings else "")
        + "</section>"
    )


def _changes(sweep: SweepResult) -> str:
    found = comparison.sides_of(sweep)
    return (
        f"<h2>What changed from A to B</h2><pre>{escape(chr(10).join(comparison.lines_of(found)))}</pre>"
        if found
        else ""
    )


def _table(stack: str, rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in HEADERS)
    body = "".join(
        f'<tr><th scope="row">{row.cells[0]}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row.cells[1:])
        + f"<td>{escape(', '.join(row.warnings))}</td></tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(stack)}"><table>'
        f'<caption>{escape(stack)}</caption><thead><tr>{head}<th scope="col">in doubt</th></tr>'
        f"</thead><tbody>{body}</tbody></table></div>"
    )


@cache
def _style() -> str:
    return Path(__file__).with_name("report.css").read_text()


@cache
def _page() -> Template:
    return Template(Path(__file__).with_name("report.html").read_text())
