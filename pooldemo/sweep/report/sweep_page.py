"""A sweep as its page shows it: the answer, verdicts in words, tables. No Django, no markup but the figures' SVG."""

import itertools
import re
from dataclasses import dataclass
from html import escape
from statistics import fmean
from typing import Any

from pooldemo.sweep import plan as planning
from pooldemo.sweep.analyse.document import asked_anew, judged
from pooldemo.sweep.analyse.sizes import holds_of
from pooldemo.sweep.analyse.slo import describe_check, describe_limit
from pooldemo.sweep.facts import SweepResult, Verdict
from pooldemo.sweep.report import answer, tables
from pooldemo.sweep.report.figures import look_of
from pooldemo.sweep.report.legend import marker_alone


@dataclass(frozen=True)
class Card:
    """A verdict on the page: `headline` is its answer in short, `heading` says its shape, `tone` colours it, `mark` is
    the stack's marker as SVG, `checks` are (state, limit, what was seen)."""

    verdict: Verdict
    tone: str
    headline: str
    heading: str
    mark: str
    checks: tuple[tuple[str, str, str], ...]

    @property
    def because(self) -> str:
        """Its sentence as markup: a line may end after any hyphen, and what it advises then began with a lone `--`."""
        return re.sub("--[a-z-]+", r'<span class="option">\g<0></span>', escape(self.verdict.because))

    @property
    def doubts(self) -> tuple[str, ...]:
        """The codes of its warnings, each once."""
        return tuple(dict.fromkeys(each.code for each in self.verdict.warnings))


@dataclass(frozen=True)
class Table:
    """The numbers of one stack: a row of cells for each size, with a word on the one that the verdict names."""

    stack: str
    rows: tuple[tuple[str, tables.Row], ...]
    headers: tuple[str, ...] = tables.HEADERS


def judged_by(sweep: SweepResult, margin: str, slo: str) -> tuple[SweepResult, str]:
    """The sweep judged by another margin and SLO, each as typed (empty: its own), and why it could not be (empty)."""
    if not margin and not slo:
        return sweep, ""
    try:
        anew = asked_anew(sweep, planning.parse_margin(margin) if margin else None, slo or None)
    except ValueError as error:
        return sweep, str(error).replace("--", "")
    return judged(anew), ""


def cards(sweep: SweepResult) -> list[Card]:
    """Every verdict, in the order of the stacks."""
    return [
        Card(
            verdict,
            answer.tone(verdict),
            answer.of_stack(sweep, verdict),
            tables.shape_of(verdict),
            marker_alone(look_of(verdict.stack)),
            tuple((check.state, describe_limit(check.limit), describe_check(check)) for check in verdict.checks),
        )
        for verdict in sweep.verdicts
    ]


def tables_of(sweep: SweepResult) -> list[Table]:
    """A table for each stack of which a trial succeeded."""
    named = {
        (verdict.stack, verdict.workers, verdict.max_conns): "best so far" if verdict.shape == "rising" else "use this"
        for verdict in sweep.verdicts
    }
    found = []
    for view, stack in itertools.product(sweep.views, sweep.plan.stacks):
        if rows := tables.rows_of(view, stack):
            words = tuple((named.get((stack, view.plan.workers, row.size), ""), row) for row in rows)
            found.append(Table(tables.named(stack, view, sweep), words))
    return found


def bound_to_play(sweep: SweepResult) -> dict[str, Any]:
    """Where the bound starts from: the plan's numbers and the hold as measured at each size, of the first stack that
    tells it."""
    sweep = sweep.chosen
    plan = sweep.plan
    holds = next(filter(None, (holds_of(sweep, stack) for stack in plan.stacks)), {})
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
