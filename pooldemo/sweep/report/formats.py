"""A sweep for other programs and other people: JSON, CSV, Markdown for a pull request, one HTML file that needs
nothing. Pure.

Each function takes a `SweepResult` and returns the whole text; the command writes it. All say the same numbers,
three significant digits where people read and all of them where programs do.
"""

import csv
import io
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from html import escape
from string import Template

from pooldemo.sweep.analyse.document import document_of
from pooldemo.sweep.analyse.saturation import mean_of
from pooldemo.sweep.analyse.sizes import carried, sizes_of_stack
from pooldemo.sweep.analyse.slo import TICKS, describe_check, describe_limit
from pooldemo.sweep.analyse.statistics import digits
from pooldemo.sweep.facts import OWN, Plan, SizeResult, SweepResult, TrialResult, Verdict
from pooldemo.sweep.report import figures, heatmap, junit
from pooldemo.sweep.report.lines import to_lines

CSV_OMITS = ("failures_by_message", "per_second", "failures_per_second", "latencies", "steps", "waits", "warnings")
"""Fields of a trial that are no single value; `warnings` comes back as codes."""

SHAPES = {
    "knee": "a knee was found",
    "rising": "still rising",
    "flat": "flat: the pool is not the bottleneck",
    "invalid": "invalid: it cannot be told",
}


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
    parts = [f"### {_title(sweep)}"]
    for verdict in sweep.verdicts:
        parts.append(f"**{verdict.stack}**: {SHAPES[verdict.shape]}. {verdict.because}")
        if verdict.copy:
            parts.append(f"```\n{verdict.copy}\n```")
        parts += [f"> **{warning.code}**: {warning.cause}. Cure: {warning.cure}" for warning in verdict.warnings]
    for view, stack in itertools.product(sweep.views, sweep.plan.stacks):
        if rows := rows_of(view, stack):
            parts.append(_markdown_table(named(stack, view, sweep), rows, _best(stack, view)))
    parts.append("<sub>" + "; ".join(f"{name}: {value}" for name, value in conditions_of(sweep)) + "</sub>")
    return "\n\n".join(parts) + "\n"


def to_html(sweep: SweepResult) -> str:
    """One file that opens without a network: verdicts, charts as SVG, tables, conditions. No script; dark mode and
    print."""
    charts = [
        *(heatmap.svg(found) for found in heatmap.maps(sweep)),
        *(figure.svg for figure in figures.figures_of(sweep).values()),
    ]
    return PAGE.substitute(
        title=escape(_title(sweep)),
        started=escape(sweep.started_at),
        verdicts="".join(_html_verdict(verdict) for verdict in sweep.verdicts),
        charts="".join(f"<figure>{chart}</figure>" for chart in charts),
        tables="".join(
            _html_table(named(stack, view, sweep), rows_of(view, stack))
            for view, stack in itertools.product(sweep.views, sweep.plan.stacks)
        ),
        conditions="".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in conditions_of(sweep)),
    )


@dataclass(frozen=True)
class Format:
    """A file that a sweep can be had as: its option, what `--help` says of it, its media type, what makes its text."""

    name: str
    help: str
    media_type: str
    write: Callable[[SweepResult], str]


FORMATS = {
    each.name: each
    for each in (
        Format("json", "everything; - is standard output, with nothing else on it", "application/json", to_json),
        Format("csv", "a row for each trial", "text/csv", to_csv),
        Format("html", "one offline page with the curve", "text/html", to_html),
        Format("markdown", "a table for a pull request", "text/markdown", to_markdown),
        Format("junit", "verdict, SLO and comparison as tests, for CI", "application/xml", junit.of_sweep),
    )
}


# -- the table: a row for each size --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A size as the table shows it: `found` with its interval, and means of what the trials tell besides."""

    found: SizeResult
    wait_p95_ms: float | None
    hold_mean_ms: float | None
    peak_connections: int | None
    allowed_connections: int
    efficiency: float | None
    warnings: tuple[str, ...]

    @property
    def size(self) -> int:
        return self.found.size

    @property
    def cells(self) -> tuple[str, ...]:
        """As printed, in the order of HEADERS."""
        found = self.found
        half = None if found.rps_high is None else found.rps_high - found.rps
        spread = "" if half is None else f" ± {digits(half, at_most=1)}"
        peak = f"{self.peak_connections} of {self.allowed_connections}"
        latencies = (found.p50_ms, found.p95_ms, found.p99_ms, self.wait_p95_ms, self.hold_mean_ms)
        return (
            str(self.size),
            f"{carried(found)}{spread}",
            *map(digits, latencies),
            peak if self.peak_connections is not None else "-",
            digits(self.efficiency, at_most=2),
            f"{found.failures:,}",
        )


HEADERS = (
    "size",
    "requests/s",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "wait p95 ms",
    "hold ms",
    "connections",
    "efficiency",
    "failures",
)


def rows_of(sweep: SweepResult, stack: str) -> list[Row]:
    """The table of one stack, by rising size; failed trials are left out."""
    own = [trial for trial in sweep.trials if trial.stack == stack and not trial.error]
    return [_row(found, [trial for trial in own if trial.size == found.size], sweep) for found in sizes_of_stack(own)]


def _row(found: SizeResult, trials: Sequence[TrialResult], sweep: SweepResult) -> Row:
    peaks = [trial.peak_connections for trial in trials if trial.peak_connections is not None]
    return Row(
        found=found,
        wait_p95_ms=mean_of(trials, "wait_p95_ms"),
        hold_mean_ms=mean_of(trials, "hold_mean_ms"),
        peak_connections=max(peaks, default=None),
        allowed_connections=found.size * sweep.plan.workers,
        efficiency=mean_of(trials, "efficiency"),
        warnings=tuple(sorted({warning.code for trial in trials for warning in trial.warnings})),
    )


def _best(stack: str, view: SweepResult) -> int | None:
    """The size that the stack's verdict names, if it does at this number of workers."""
    named = (each.max_conns for each in view.verdicts if (each.stack, each.workers) == (stack, view.plan.workers))
    return next(named, None)


def named(stack: str, view: SweepResult, sweep: SweepResult) -> str:
    """What a table is of: the stack, and at how many workers where there are several."""
    return f"{stack} x {view.plan.workers} workers" if sweep.plan.splits else stack


def _markdown_table(name: str, rows: Sequence[Row], best: int | None) -> str:
    lines = [f"| {name}: {' | '.join(HEADERS)} |", f"|{' ---: |' * len(HEADERS)}"]
    for row in rows:
        cells = [f"**{cell}**" for cell in row.cells] if row.size == best else row.cells
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


# -- HTML ----------------------------------------------------------------------------------------------------------


def _html_verdict(verdict: Verdict) -> str:
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
        f'<section class="verdict {escape(verdict.shape)}"><h2>{escape(verdict.stack)} '
        f"<small>{escape(SHAPES[verdict.shape])}</small></h2><p>{escape(verdict.because)}</p>{copy}"
        + (f'<ul class="slo">{checks}</ul>' if checks else "")
        + (f'<ul class="warnings">{warnings}</ul>' if warnings else "")
        + "</section>"
    )


def _html_table(stack: str, rows: Sequence[Row]) -> str:
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
        f'<div class="scroll"><table><caption>{escape(stack)}</caption><thead><tr>{head}'
        f'<th scope="col">to doubt</th></tr>'
        f"</thead><tbody>{body}</tbody></table></div>"
    )


def _loop(plan: Plan) -> str:
    if plan.search:
        return "open loop, at the highest rate that meets the SLO"
    if plan.rate is None:
        return "closed loop"
    return f"open loop, {plan.rate:g} requests/s {'at random' if plan.poisson else 'evenly spaced'}"


def _title(sweep: SweepResult) -> str:
    plan = sweep.plan
    number = f"Sweep {sweep.id}" if sweep.id is not None else "Sweep"
    status = "" if sweep.status == "done" else f" ({sweep.status})"
    return f"{number}{status}: {', '.join(plan.stacks)} under {plan.asked}, {plan.users} users"


def conditions_of(sweep: SweepResult) -> Iterator[tuple[str, str]]:
    """Everything that the numbers depend on, as pairs of words."""
    plan, conditions = sweep.plan, sweep.conditions
    yield (
        "load",
        f"{plan.asked}, {'' if plan.workload in OWN else f'{plan.ms:g} ms, '}{plan.users} users, " + _loop(plan),
    )
    yield (
        "trials",
        f"{plan.duration_s:g} s after {plan.warmup_s:g} s of warm-up, {plan.repeats} repeats, seed {plan.seed}",
    )
    counts = " or ".join(map(str, plan.worker_counts))
    yield "server", f"{counts} worker(s)" + (f", {conditions.gunicorn}" if conditions.gunicorn else "")
    yield (
        "machine",
        f"{conditions.cpus} CPUs, load before {conditions.load_before:.2g}"
        + (f", {conditions.machine}" if conditions.machine else ""),
    )
    if conditions.versions:
        yield "versions", ", ".join(f"{name} {version}" for name, version in sorted(conditions.versions.items()))
    if conditions.max_connections:
        available = conditions.max_connections - conditions.reserved_connections
        yield (
            "PostgreSQL",
            ", ".join(
                [
                    f"{available} connections",
                    *(f"{name} = {value}" for name, value in sorted(conditions.settings.items())),
                ]
            ),
        )
    if conditions.commit:
        yield "commit", conditions.commit


PAGE = Template("""<!DOCTYPE html> <html lang="en"> <head> <meta charset="utf-8"> <meta name="viewport"
content="width=device-width, initial-scale=1"> <meta name="color-scheme" content="light dark"> <title>$title</title>
<style> :root { --ink: #1d2129; --soft: #5b6472; --line: #d9dde3; --page: #fff; --panel: #f5f7f9; --good: #00795a;
--bad: #b84a00; } @media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7eb; --soft: #9aa4b2; --line: #343a43; --page: #14171b; --panel: #1c2026; --good: #3cc79b; --bad:
  #ff9447; }
}
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 60rem; color: var(--ink); background: var(--page);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0; } .when { color: var(--soft); margin: .25rem 0 1.5rem; }
.verdict { border: 1px solid var(--line); border-left: 5px solid var(--soft); border-radius: 6px; background:
var(--panel);
  padding: 1rem 1.25rem; margin: 0 0 1rem; break-inside: avoid; }
.verdict.knee, .verdict.flat { border-left-color: var(--good); } .verdict.invalid { border-left-color: var(--bad); }
.verdict h2 { font-size: 1.1rem; margin: 0; } .verdict h2 small { font-weight: 400; color: var(--soft); } .verdict p {
margin: .5rem 0; } pre { margin: .5rem 0; padding: .5rem .75rem; border: 1px solid var(--line); border-radius: 4px;
background: var(--page);
  font: 14px/1.4 ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-x: auto; user-select: all; }
ul { margin: .5rem 0 0; padding-left: 1.1rem; }
.slo { list-style: none; padding: 0; }
.met { color: var(--good); } .missed { color: var(--bad); } .slo span { color: var(--soft); }
.warnings { font-size: .9rem; } .warnings b { color: var(--bad); }
figure { margin: 1.5rem 0; break-inside: avoid; }
svg.chart { display: block; width: 100%; height: auto; color: var(--ink); }
.scroll { overflow-x: auto; margin: 1.5rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .25rem 0; }
th, td { text-align: right; padding: .35rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
thead th { color: var(--soft); font-weight: 500; }
td:last-child, th:last-child { text-align: left; white-space: normal; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; font-size: .875rem; color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
@media print { body { padding: 0; max-width: none; font-size: 11pt; } .verdict { background: none; } }
</style>
</head>
<body>
<h1>$title</h1>
<p class="when">$started</p>
$verdicts
$charts
$tables
<h2>Conditions</h2>
<dl>$conditions</dl>
</body>
</html>
""")
