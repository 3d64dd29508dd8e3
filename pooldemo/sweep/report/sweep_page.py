"""A sweep as its pages show it: verdicts in words, figures for the eye, tables for the rest. No Django, no markup but
the figures' SVG.

The same figures go to the page's script as data and into the page as SVG, so what is seen without a script is what is
seen with one.
"""

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

from pooldemo.sweep import plan as planning
from pooldemo.sweep.analyse.document import judged
from pooldemo.sweep.analyse.saturation import hold_of
from pooldemo.sweep.analyse.slo import describe_check, describe_limit, parse_slo
from pooldemo.sweep.analyse.statistics import digits
from pooldemo.sweep.facts import SweepResult, TrialResult, Verdict
from pooldemo.sweep.report import figures, formats, rerun


@dataclass(frozen=True)
class Card:
    """A verdict for the top of the page; `heading` says its shape, `checks` are (state, limit, what was seen)."""

    verdict: Verdict
    heading: str
    checks: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Table:
    """The numbers of one stack: a row of cells for each size, with a word on the one that the verdict names."""

    stack: str
    rows: tuple[tuple[str, formats.Row], ...]
    headers: tuple[str, ...] = formats.HEADERS


def judged_by(sweep: SweepResult, margin: str, slo: str) -> tuple[SweepResult, str]:
    """The sweep judged by another margin and SLO, each as typed (empty: its own), and why it could not be (empty)."""
    if not margin and not slo:
        return sweep, ""
    try:
        plan = replace(
            sweep.plan,
            margin=planning.parse_margin(margin) if margin else sweep.plan.margin,
            slo=parse_slo(slo) if slo else sweep.plan.slo,
        )
    except ValueError as error:
        return sweep, str(error).replace("--", "")
    return judged(replace(sweep, plan=plan)), ""


def cards(sweep: SweepResult) -> list[Card]:
    """Every verdict, in the order of the stacks."""
    return [
        Card(
            verdict,
            formats.SHAPES[verdict.shape],
            tuple((check.state, describe_limit(check.limit), describe_check(check)) for check in verdict.checks),
        )
        for verdict in sweep.verdicts
    ]


def tables(sweep: SweepResult) -> list[Table]:
    """A table for each stack of which a trial succeeded."""
    named = {
        (verdict.stack, verdict.workers, verdict.max_conns): "best so far" if verdict.shape == "rising" else "use this"
        for verdict in sweep.verdicts
    }
    found = []
    for view, stack in itertools.product(sweep.views, sweep.plan.stacks):
        if rows := formats.rows_of(view, stack):
            words = tuple((named.get((stack, view.plan.workers, row.size), ""), row) for row in rows)
            found.append(Table(formats.named(stack, view, sweep), words))
    return found


def data(sweep: SweepResult) -> dict[str, Any]:
    """What the page's script draws: `figures` as they are, a dot for each of the `trials`, and the numbers to `play`
    with."""
    sweep = sweep.chosen
    return {
        "figures": {name: asdict(figure) for name, figure in figures.figures_of(sweep).items()},
        "trials": [
            {"stack": sweep.plan.stacks.index(trial.stack), "x": trial.size, "y": trial.rps, "hint": hint(trial, sweep)}
            for trial in sweep.trials
            if not trial.error
        ],
        "play": _play(sweep),
    }


def overlay_data(sweeps: Sequence[SweepResult]) -> dict[str, Any]:
    """The same for several sweeps in one figure."""
    return {"figures": {"overlay": asdict(figures.overlay(sweeps))}}


def hint(trial: TrialResult, sweep: SweepResult) -> list[str]:
    """A trial's numbers in a few short lines."""
    lines = [
        f"{trial.stack} at {trial.size}, repeat {trial.repeat}: {digits(trial.rps)} requests/s",
        f"p50 {digits(trial.p50_ms)}, p95 {digits(trial.p95_ms)}, p99 {digits(trial.p99_ms)} ms",
    ]
    if trial.wait_p95_ms is not None and trial.hold_mean_ms is not None:
        lines.append(f"wait p95 {digits(trial.wait_p95_ms)}, hold {digits(trial.hold_mean_ms)} ms")
    if trial.peak_connections is not None:
        lines.append(f"{trial.peak_connections} connections of {trial.size * sweep.plan.workers} allowed")
    if trial.failures:
        lines.append(f"{trial.failures:,} requests failed")
    return [*lines, *(f"! {warning.code}" for warning in trial.warnings)]


def failed(sweep: SweepResult) -> list[tuple[str, list[str]]]:
    """Why trials did not run, each reason once, and which ones: no figure shows them."""
    reasons: dict[str, list[str]] = {}
    for trial in sweep.trials:
        if trial.error:
            reasons.setdefault(trial.error, []).append(f"{trial.stack} at {trial.size}, repeat {trial.repeat}")
    return list(reasons.items())


def progress(sweep: SweepResult) -> tuple[int, int]:
    """Trials that have ended, and trials there are to be."""
    return len(sweep.trials), len(planning.order(sweep.plan))


def again_command(sweep: SweepResult) -> str:
    """What to type to run it again, or to run what is missing of it."""
    if sweep.id is not None and sweep.status == "interrupted":
        return f"python manage.py sweep --resume {sweep.id}"
    return rerun.command(sweep.plan)


def _play(sweep: SweepResult) -> dict[str, Any]:
    """Where the bound starts from: the plan's numbers and the hold as measured at each size, of the first stack that
    tells it."""
    plan = sweep.plan
    holds: dict[int, float] = {}
    for stack in plan.stacks:
        own = [trial for trial in sweep.trials if trial.stack == stack and not trial.error]
        for size in sorted({trial.size for trial in own}):
            if hold_ms := hold_of([trial for trial in own if trial.size == size]):
                holds[size] = hold_ms
        if holds:
            break
    best = next((verdict.max_conns for verdict in sweep.verdicts if verdict.max_conns in holds), None)
    at_best = holds[best] if best is not None else (fmean(holds.values()) if holds else plan.ms)
    return {
        "users": plan.users,
        "workers": plan.workers,
        "think_ms": 0,  # between two requests of a user: a sweep's users do not pause
        "hold_ms": round(at_best, 2),
        "holds": [[size, hold_ms] for size, hold_ms in holds.items()],
        "rate": plan.rate,
    }
