"""Suspicion as data: what makes a trial's number doubtful, and what to do about it. Pure.

`rules` has the reasons. `for_stack` gathers what they say for the verdict: a line for each code, with the sizes it
happened at and the range of its numbers there; and what only repeats, or the whole sweep, can show. Nothing here
changes a number or a verdict; `judge` decides what it refuses to judge, and `verdict_text.needs` says with which
options it would not.
"""

import re
from collections.abc import Iterator, Sequence

from pooldemo.sweep.analyse.blocks import fit_blocks
from pooldemo.sweep.analyse.doubt import number, ranged, sentence
from pooldemo.sweep.analyse.observations import observed
from pooldemo.sweep.analyse.rules import RULES
from pooldemo.sweep.analyse.statistics import counted, digits, two_digits
from pooldemo.sweep.facts import Conditions, Plan, TrialResult, Warning_

UNSTABLE = 0.10
"""Relative standard deviation of the repeats of a size from which they count as unstable."""

DRIFT = 0.10
"""From here on it is said by how much the slowest repeat as a whole lies below the fastest."""

EXPECTED = ("queueing", "rate-missed", "late-arrivals", "users-below-slots")
"""Codes that every sweep earns, as it should: at small sizes requests queue and miss the rate, at large ones slots stay
empty."""


def for_trial(trial: TrialResult, plan: Plan) -> tuple[Warning_, ...]:
    """What there is to doubt about one trial; nothing for a failed one, whose `error` says all."""
    if trial.error:
        return ()
    doubts = ((code, rule(trial, plan)) for code, rule in RULES.items())
    return tuple(Warning_(code, sentence([doubt]), doubt.cure) for code, doubt in doubts if doubt)


def for_stack(trials: Sequence[TrialResult], plan: Plan, conditions: Conditions) -> tuple[Warning_, ...]:
    """What there is to doubt about all trials of one stack: a line for each code, with the sizes, the range of the
    numbers there, and the cure of the worst."""
    return (*_of_trials(trials, plan), *_of_repeats(trials), *_of_sweep(conditions))


def _of_trials(trials: Sequence[TrialResult], plan: Plan) -> Iterator[Warning_]:
    ran = [trial for trial in trials if not trial.error]
    for code, rule in RULES.items():
        hits = [(trial, found) for trial in ran if (found := rule(trial, plan))]
        if not hits or (code in EXPECTED and len(hits) < len(ran)):
            continue
        for words in dict.fromkeys(doubt.words for _, doubt in hits):
            own = [(trial.size, doubt) for trial, doubt in hits if doubt.words == words]
            doubts = [doubt for _, doubt in own]
            cause = f"{sentence(doubts)} ({_at(sorted({size for size, _ in own}), len(own), len(ran))})"
            yield Warning_(code, cause, max(doubts, key=lambda each: each.numbers).cure)
    if len(ran) < len(trials):
        broken = [trial for trial in trials if trial.error]
        sizes = sorted({trial.size for trial in broken})
        yield Warning_(
            "trial-failed",
            f"{len(broken)} of {len(trials)} trials failed at size {_list(sizes)}: {brief(broken[0].error)}",
            "they are left out; --resume runs them again",
        )


def _of_repeats(trials: Sequence[TrialResult]) -> Iterator[Warning_]:
    by_size: dict[int, list[float]] = {}
    for trial in trials:
        if not trial.error and trial.rps > 0:
            by_size.setdefault(trial.size, []).append(trial.rps)
    fit, left_out = fit_blocks(observed(trials))
    for each in left_out:
        yield Warning_(
            "outlier",
            f"size {each.size}, repeat {each.block}: {digits(each.value)} requests/s is far from the other trials of "
            "its repeat and of its size",
            "it was left out of the verdict: look at what else the machine did then",
        )
    unstable = [size for size in sorted(by_size) if fit and fit.scatter_at(size) > UNSTABLE]
    if unstable:
        ranges = [f"{ranged(map(number, by_size[size]))} at size {size}" for size in unstable]
        yield Warning_(
            "unstable-repeats",
            f"repeats differ: {', '.join(ranges)} (requests/s)",
            "something disturbed them: top shows what else runs",
        )
    if fit and fit.drift > DRIFT:
        yield Warning_(
            "drift",
            f"whole repeats differ by {fit.drift:.0%}: the machine was not as fast all the time",
            "sizes are compared inside each repeat, so it alone spoils no verdict; what a size carries is less sure",
        )
    if by_size and all(len(values) == 1 for values in by_size.values()):
        yield Warning_(
            "one-repeat", "each size was measured once, so nobody knows how far repeats differ", "repeat each size"
        )


def _of_sweep(conditions: Conditions) -> Iterator[Warning_]:
    if conditions.load_before > 0.5 * conditions.cpus:
        yield Warning_(
            "loaded-before",
            f"the machine was busy before the sweep began: load {two_digits(conditions.load_before)} on "
            f"{counted(conditions.cpus, 'CPU')}",
            "wait until it is quiet, and sweep again",
        )


def _at(sizes: Sequence[int], hits: int, ran: int) -> str:
    return "at every size" if hits == ran else f"{hits} of {ran} trials, size {_list(sizes)}"


def _list(sizes: Sequence[int]) -> str:
    return ", ".join(map(str, sizes))


EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Configured|NotReady|Exit)\b")


def brief(error: str) -> str:
    """An error in one line: of a traceback what it was about and how it ended, whatever a server said after it."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    if len(lines) < 2:
        return error.strip().removesuffix(".")
    raised = [line for line in lines[1:] if EXCEPTION.match(line)]
    if lines[0].startswith("Traceback"):
        return (raised or lines)[-1].removesuffix(".")
    return f"{lines[0].partition(':')[0]}: {(raised or lines)[-1]}".removesuffix(".")
