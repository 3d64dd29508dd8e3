"""The trials of one stack as observations: each a size, the repeat that it belongs to, and its place there. Pure.

What they say together is in `blocks`.
"""

import itertools
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import datetime
from statistics import median
from typing import NamedTuple

from pooldemo.sweep.facts import TrialResult

PAUSE, LEAST_PAUSE_S = 10.0, 60.0
"""A repeat has two parts where the next trial began so many times later than trials do, and so many seconds."""


class Observation(NamedTuple):
    """One trial: its size, the repeat it belongs to, its place in the order of that repeat, what was measured, and how
    often that repeat had been interrupted by then: a machine that was left for lunch is another one."""

    size: int
    block: int
    place: float
    value: float
    part: int = 0


def observed(trials: Sequence[TrialResult], metric: str = "rps") -> list[Observation]:
    """What the trials of one stack say; failed ones, and those without an answer, are left out."""
    ran = sorted(
        (each for each in trials if not each.error and getattr(each, metric)), key=lambda each: (each.size, each.repeat)
    )
    starts: dict[int, list[tuple[int, str]]] = {}
    for each in ran:
        starts.setdefault(each.repeat, []).append((each.order, each.started_at))
    for begun in starts.values():
        begun.sort()

    def place(trial: TrialResult) -> float:
        return bisect_left(starts[trial.repeat], (trial.order, trial.started_at))

    pauses = _pauses(trials)

    def part(trial: TrialResult) -> int:
        return sum(pause <= trial.started_at for pause in pauses.get(trial.repeat, ()))

    return [Observation(each.size, each.repeat, place(each), getattr(each, metric), part(each)) for each in ran]


def _pauses(trials: Iterable[TrialResult]) -> dict[int, list[str]]:
    """When each repeat went on after a pause, of those that had one: how `started_at` says it, of one clock."""
    begun: dict[int, list[str]] = {}
    for each in trials:
        begun.setdefault(each.repeat, []).append(each.started_at)
    steps = []
    for repeat, moments in begun.items():
        for before, after in itertools.pairwise(sorted(moments)):
            if before and before != after:
                steps.append((_seconds(before, after), repeat, after))
    usual_s = median(step for step, _, _ in steps) if steps else 0.0
    found: dict[int, list[str]] = {}
    for step, repeat, after in steps:
        if step > max(PAUSE * usual_s, LEAST_PAUSE_S):
            found.setdefault(repeat, []).append(after)
    return found


def _seconds(before: str, after: str) -> float:
    """From one moment to the next; 0 where that is not to be read."""
    try:
        return (datetime.fromisoformat(after) - datetime.fromisoformat(before)).total_seconds()
    except (ValueError, TypeError):
        return 0.0
