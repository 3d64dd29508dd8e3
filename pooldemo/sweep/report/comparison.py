"""A comparison as text: lines for people, annotations for GitHub's CI, JSON. Pure."""

from collections.abc import Sequence
from dataclasses import asdict

from pooldemo.sweep import plan as planning
from pooldemo.sweep.analyse.compare import compare_sides
from pooldemo.sweep.analyse.comparison import Change, Comparison
from pooldemo.sweep.analyse.statistics import counted, digits, two_digits
from pooldemo.sweep.facts import SweepResult
from pooldemo.sweep.report import answer
from pooldemo.sweep.report.lines import to_lines

MARKS = {"better": "+", "worse": "-", "lost": "-", "same": "=", "unknown": "?"}
UNITS = {"rps": "requests/s", "p95_ms": "ms p95 of a repeat", "failures": "of the requests failed"}
NOTHING = "nothing was measured on both sides"
NO_VERDICT = "no verdict to compare"


def to_json(found: Comparison, before: SweepResult, after: SweepResult) -> str:
    """What `compare --json` writes: whether B is worse, and all that was compared."""
    document = {
        "format": "pooldemo-compare/1",
        "before": {"id": before.id, "started_at": before.started_at},
        "after": {"id": after.id, "started_at": after.started_at},
        "worse": found.is_worse,
        "known": found.is_known,
        "differences": list(found.differences),
        "changes": [asdict(change) for change in found.changes],
        "verdicts": [asdict(moved) for moved in found.moved],
    }
    return to_lines(document)


def headline(found: Comparison, before: SweepResult, after: SweepResult) -> str:
    """What came of two sweeps in one sentence: whether the second is worse or better, and by what most of all."""
    worse = worse_of(found)
    better = [_line(each).removeprefix("+ ") for each in found.changes if each.kind == "better"]
    named = f"Sweep {after.id}"
    if found.is_unjudged:
        return f"{named} has {NO_VERDICT}, and no number that is worse than in {before.id}: {_lost(worse)}"
    if worse:
        return f"{named} is worse than {before.id}: {worse[0]}"
    if not found.is_known:
        return f"Nobody can tell whether {named[0].lower()}{named[1:]} differs from {before.id}: it takes more repeats"
    if better:
        return f"{named} is better than {before.id}: {better[0]}"
    return f"{named} is no worse than {before.id}: nothing changed by more than luck"


def of_sweep(sweep: SweepResult) -> str:
    """The first sentence about a sweep: its answer; of one that measured two sides what it was run for, whether B is
    worse."""
    found = sides_of(sweep)
    if found is None:
        return answer.headline(sweep)
    other = ", ".join(dict.fromkeys(filter(None, map(planning.label, sweep.plan.stacks))))
    worse, better = worse_of(found), [_line(each).removeprefix("+ ") for each in found.changes if each.kind == "better"]
    if found.is_unjudged:
        return f"There is {NO_VERDICT} with {other}, and no number is worse: {_lost(worse)}"
    if worse:
        return f"Worse than {other}: {worse[0]}"
    if not found.is_known:
        why = f": it takes {found.needs}" if found.needs else "" if found.changes else f": {NOTHING}"
        return f"Nobody can tell whether it is worse than {other}{why}"
    return f"Better than {other}: {better[0]}" if better else f"No worse than {other}"


def sides_of(sweep: SweepResult) -> Comparison | None:
    """What changed from A to B of a sweep that has ended and measured both; None of another."""
    return compare_sides(sweep) if sweep.verdicts and sweep.status != "running" else None


def of_many(sweeps: Sequence[SweepResult]) -> str:
    """What each of several says of its first stack, those that say the same together."""
    said: dict[str, list[str]] = {}
    for sweep in sweeps:
        word = answer.short(sweep.verdicts[0], sweep.plan) if sweep.verdicts else "no answer yet"
        said.setdefault(word, []).append(str(sweep.id))
    return "; ".join(
        f"{word} in sweep{'s' if numbers[1:] else ''} {', '.join(numbers)}" for word, numbers in said.items()
    )


def lines_of(found: Comparison, *, everything: bool = False) -> list[str]:
    """The comparison as lines of text: conditions, changes, verdicts, a sum."""
    lines = [f"differs: {each}" for each in found.differences]
    shown = [change for change in found.changes if everything or change.kind not in ("same", "unknown")]
    lines += [_line(change) for change in shown]
    lines += [
        f"{'- ' if each.is_worse else ''}verdict: {each.stack}: {each.before} -> {each.after}" for each in found.moved
    ]
    kinds = [change.kind for change in found.changes]
    words = {"same": "show no change"}  # which is not to say that there is none
    counts = ", ".join(f"{kinds.count(kind)} {words.get(kind, kind)}" for kind in MARKS if kind in kinds)
    said = (
        f"B has {NO_VERDICT}"
        if found.is_unjudged
        else "B is worse"
        if found.is_worse
        else "B is not worse"
        if found.is_known
        else "nobody can tell"
    )
    if not kinds:
        return [*lines, f"{said}: {NOTHING}"]
    return [
        *lines,
        f"{said}: {counted(len(kinds), 'comparison')} at 95% confidence for all together: {counts}{_finds(found)}",
    ]


def _finds(found: Comparison) -> str:
    """How small a loss A and B of one run would have shown, and what would show the one that is asked about."""
    if found.wanted is None:
        return ""
    least = "no loss" if found.finds is None else f"a loss of {two_digits(100 * found.finds)}%"
    more = f"; for one of {100 * found.wanted:g}%: {found.needs}" if found.needs else ""
    return f"; {least} is found in 95% of such runs{more}"


def annotations_of(found: Comparison) -> list[str]:
    """The comparison as workflow commands of GitHub's CI: an error for what is worse, a notice of the sum."""
    *_, total = lines_of(found)
    said = [("error", line) for line in worse_of(found)] + [("notice", total)]
    return [f"::{kind} title=sweep::{text.replace('%', '%25')}" for kind, text in said]


def worse_of(found: Comparison) -> list[str]:
    """What is worse in B, a line each."""
    worse = [_line(change) for change in found.changes if change.is_worse]
    worse += [f"verdict: {each.stack}: {each.before} -> {each.after}" for each in found.moved if each.is_worse]
    return [line.removeprefix("- ") for line in worse]


def _lost(worse: Sequence[str]) -> str:
    return worse[0].removeprefix("verdict: ")


def values_of(change: Change) -> tuple[str, str]:
    """Before and after, as printed."""
    both = (change.before, change.after)
    before, after = (f"{digits(100 * each)}%" if change.metric == "failures" else digits(each) for each in both)
    return before, "none" if change.kind == "lost" else after


def _line(change: Change) -> str:
    at = "at all sizes" if change.size is None else f"at {change.size}"
    if change.kind == "lost":
        return f"- {change.stack} {at}: lost, A carried {digits(change.before)} requests/s there"
    uncertain = (
        f", {change.low:+.1%} to {change.high:+.1%}" if change.low is not None and change.high is not None else ""
    )
    return (
        f"{MARKS[change.kind]} {change.stack} {at}: {' -> '.join(values_of(change))} {UNITS[change.metric]} "
        f"({change.ratio:+.1%}{uncertain})"
    )
