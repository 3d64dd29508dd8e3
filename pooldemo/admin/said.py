"""What the pages say of sweeps, as the templates need it. It asks nobody, the database neither: of thousands of trials
it takes seconds, and is done `aside`."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from django.utils.safestring import mark_safe

from pooldemo import records
from pooldemo.admin.drawing import drawn
from pooldemo.models import Sweep, Trial
from pooldemo.sweep import plan as planning
from pooldemo.sweep.analyse.compare import NotComparable, compare_sweeps
from pooldemo.sweep.analyse.comparison import Comparison
from pooldemo.sweep.analyse.sizes import carried
from pooldemo.sweep.analyse.slo import typed
from pooldemo.sweep.analyse.warnings import brief
from pooldemo.sweep.facts import SweepResult, Verdict
from pooldemo.sweep.report import answer, comparison, rerun, sweep_page, tables, words
from pooldemo.sweep.report.figures import figures_of, load_of, look_of, sweep_sparkline
from pooldemo.sweep.report.legend import marker_alone
from pooldemo.sweep.report.overlay import MOST, overlay, that_fit

MOST_REASONS = 10  # why trials failed; the report has all, and the list of trials


def blocks_of(row: Sweep, trials: Iterable[Trial]) -> list[tuple[Any, ...]]:
    """What a row of the list says of each stack."""
    facts = records.curve(row, trials)
    verdicts = {verdict.stack: verdict for verdict in facts.verdicts}
    return [_block(facts, stack, verdicts.get(stack)) for stack in facts.plan.stacks]


def _block(facts: SweepResult, stack: str, verdict: Verdict | None) -> tuple[Any, ...]:
    tone = _tone(facts, verdict)
    said = answer.short(verdict, facts.plan) if verdict else "no answer" if tone else "no answer yet"
    rps = f"{carried(verdict)}/s" if verdict and verdict.rps is not None else ""
    curve = mark_safe(sweep_sparkline(facts, stack))  # noqa: S308  ours, escaped
    return tone, said, rps, curve, mark_safe(marker_alone(look_of(stack))), stack  # noqa: S308


def _tone(sweep: SweepResult, verdict: Verdict | None) -> str:
    """How what a stack's verdict says is coloured; where it has none, whether the sweep failed."""
    return answer.tone(verdict) if verdict else "invalid" if sweep.status == Sweep.Status.FAILED else ""


def said_of(sweep: SweepResult, margin: str, slo: str) -> dict[str, Any]:
    """What its page shows of the sweep itself, judged by another margin and SLO where they are asked for."""
    sweep, refusal = sweep_page.judged_by(sweep, margin, slo)
    failed = tables.reasons_of_failure(sweep)
    return {
        "title": f"Sweep {sweep.id}: {load_of(sweep)}",
        "sweep": sweep,
        "headline": answer.unbroken(comparison.of_sweep(sweep)),
        **_sides(sweep),
        "done": len(sweep.trials),
        "planned": len(planning.order(sweep.plan)),
        "cards": sweep_page.cards(sweep),
        "figures": drawn(figures_of(sweep)),
        "play": sweep_page.bound_to_play(sweep),
        "tables": sweep_page.tables_of(sweep),
        "words": list(words.of_sweep(sweep)),
        "failed": [(why, brief(why), trials) for why, trials in failed[:MOST_REASONS]],
        "failed_besides": sum(len(trials) for _, trials in failed[MOST_REASONS:]),
        "again": rerun.again(sweep),
        "conditions": list(tables.conditions_of(sweep)),
        "anew": bool(margin or slo) and not refusal,
        "refusal": refusal,
        "margin": margin or f"{sweep.plan.margin:g}",
        "slo": slo or typed(sweep.plan.slo),
    }


def svg_of(sweep: SweepResult, name: str) -> str | None:
    """One figure as a file, wide; None: the sweep has none of that name."""
    figure = figures_of(sweep).get(name)
    return figure.svg if figure else None


def _sides(sweep: SweepResult) -> dict[str, Any]:
    """How its first sentence is coloured; of a sweep that measured two sides, what changed from A to B."""
    found = comparison.sides_of(sweep)
    if found is None:
        known = sweep.verdicts and sweep.status != Sweep.Status.RUNNING
        return {"tone": _tone(sweep, sweep.verdicts[0] if known else None)}
    tone = "invalid" if found.is_worse else "knee" if found.is_known else ""
    return {"tone": tone, "sides": comparison.lines_of(found)[-1], "changes": _changes(found)}


def _changes(found: Comparison | None) -> list[tuple[Any, ...]]:
    """As the table of what changed has them."""
    changes = found.changes if found else ()
    return [
        (each, *comparison.values_of(each), "" if each.kind == "lost" else f"{each.ratio:+.1%}") for each in changes
    ]


def compared(sweeps: list[SweepResult], chosen: list[str]) -> dict[str, Any]:
    """What the page says of them: the headline, what forbids it, the lines of the `chosen` stacks (none: of as many as
    can be told apart)."""
    change, differ = None, ""
    if len(sweeps) == 2:
        try:
            change = compare_sweeps(sweeps[0], sweeps[1])
        except NotComparable as error:
            differ = str(error)
    stacks = list(dict.fromkeys(stack for sweep in sweeps for stack in sweep.plan.stacks))
    chosen = [stack for stack in stacks if stack in chosen] or that_fit(sweeps, stacks)
    lines = sum(stack in chosen for sweep in sweeps for stack in sweep.plan.stacks)
    figure = overlay(sweeps, chosen)
    looks = {line.name: line.look for line in figure.series}
    return {
        "headline": answer.unbroken(comparison.headline(change, *sweeps) if change else comparison.of_many(sweeps)),
        "differ": differ,
        "asked": ",".join(str(sweep.id) for sweep in sweeps),
        "swapped": ",".join(str(sweep.id) for sweep in reversed(sweeps)),
        "stacks": [(stack, stack in chosen) for stack in stacks],
        "too_many": lines if lines > MOST else 0,
        "most": MOST,
        "sweeps": [(sweep, load_of(sweep), _cards(sweep, looks)) for sweep in sweeps],
        "figures": drawn({"overlay": figure}),
        "change": change,
        "changes": _changes(change),
        "words": [*words.of_plans(*(sweep.plan for sweep in sweeps)).items(), *words.COMPARED.items()],
    }


def _cards(sweep: SweepResult, looks: Mapping[str, int | None]) -> list[sweep_page.Card]:
    """Its verdicts, with the markers of their lines on the chart; none where theirs is not drawn."""
    marks = {name: marker_alone(look) for name, look in looks.items() if look is not None}
    return [replace(card, mark=marks.get(f"{sweep.id} {card.verdict.stack}", "")) for card in sweep_page.cards(sweep)]
