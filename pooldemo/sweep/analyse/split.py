"""Workers as a second axis: which split of connections over workers carries the load at the least cost. Pure.

Each number of workers has a verdict of its own, over its sizes. What they name is compared over all trials, which share
their repeats: the cheapest is the split with the fewest connections, and of as many with the fewest workers, that
carries no less than the best by more than the margin. A verdict that meets the SLO goes before one that does not. Where
nobody can tell what a number of workers carries, and it may be more than that, nobody can tell which is cheapest.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean

from pooldemo.sweep.analyse.knee import first_as_good
from pooldemo.sweep.analyse.observations import observed
from pooldemo.sweep.analyse.statistics import Interval, counted, digits
from pooldemo.sweep.facts import TrialResult, Verdict
from pooldemo.sweep.plan import MAX_REPEATS


@dataclass(frozen=True)
class Split:
    """The number of workers to use, the sentence that says why; where repeats would tell and those there are do not,
    the options with which they would, and the sizes of the splits in question."""

    workers: int
    text: str
    needs: str = ""
    sizes: tuple[int, ...] = ()


def cheapest(trials: Sequence[TrialResult], verdicts: Sequence[Verdict], margin: float, least: int = 0) -> Split:
    """The cheapest of the splits that `verdicts` name, one for each number of workers, from the trials of one stack.
    Where these do not tell, it asks for no fewer repeats than `least`."""
    named = [each for each in verdicts if each.max_conns is not None and each.shape != "invalid"]
    for state in ("met", "undecided"):
        if of_state := [each for each in named if each.slo and each.slo.state == state]:
            named = of_state
            break
    cells = [(each.workers, each.max_conns or 0) for each in named]
    cells.sort(key=lambda cell: (cell[0] * cell[1], cell[0]))
    if not cells:
        return Split(verdicts[-1].workers, "")
    # Numbered by their cost, so that the first one that is good enough is the cheapest.
    number = {cell: place for place, cell in enumerate(cells, start=1)}
    own = [each for each in trials if (each.workers, each.size) in number]
    numbered = [replace(each, size=number[each.workers, each.size]) for each in own]
    first, carried, needed = first_as_good(observed(numbered), margin)
    if first is None:
        most = max(carried, key=lambda each: carried[each].mean)
        told = _told(cells, carried, most)
        text = f"Which split is cheapest nobody can tell, repeats differ too much: {told}."
        needed = max(needed, least)
        needs = f"--repeats {needed}" if needed <= MAX_REPEATS else ""
        return Split(cells[most - 1][0], text, needs, tuple(sorted({size for _, size in cells})))
    for each in verdicts:
        most_rps = _most(trials, each.workers) if each.shape == "invalid" else 0.0
        if most_rps > carried[first].mean * (1 + margin / 100):
            count = counted(each.workers, "worker")
            told = f"{count} carried up to {digits(most_rps)} requests/s, {_told(cells, carried, first)}"
            return Split(each.workers, f"Which split is cheapest nobody can tell: {told}. With {count}:")
    return Split(cells[first - 1][0], f"The cheapest split is {_told(cells, carried, first)}.")


def level(verdict: Verdict, verdicts: Sequence[Verdict], margin: float) -> Verdict | None:
    """Of the chosen verdict, which still rises where its sizes end: that of another number of workers which shows that
    more connections carry no more, since its plateau is as high and goes on beyond. None: none does, or something else
    ends it. One that carries less by more than the `margin` shows where its own workers end."""
    if verdict.shape != "rising" or verdict.cause or verdict.max_conns not in verdict.plateau:
        return None
    used, least_rps = verdict.workers * max(verdict.plateau), (verdict.rps or 0.0) * (1 - margin / 100)
    as_high = (each for each in verdicts if (each.rps or 0.0) >= least_rps)
    shown = (each for each in as_high if each.shape in ("knee", "flat") and each.plateau)
    return next((each for each in shown if each.workers * max(each.plateau) > used), None)


def _most(trials: Sequence[TrialResult], workers: int) -> float:
    """The highest mean of a size that answered, whatever its repeats differ by."""
    carried: dict[int, list[float]] = defaultdict(list)
    for each in trials:
        if each.workers == workers and not each.error and not each.failures:
            carried[each.size].append(each.rps)
    return max(map(mean, carried.values()), default=0.0)


def _told(cells: Sequence[tuple[int, int]], carried: Mapping[int, Interval], chosen: int) -> str:
    """`2 workers x 4 slots (8 connections, 620 requests/s); 1 x 16 carries 40% less (370)`."""
    workers, size = cells[chosen - 1]
    found = carried[chosen]
    head = (
        f"{counted(workers, 'worker')} x {counted(size, 'slot')} ({counted(workers * size, 'connection')}, "
        f"{found.text} requests/s)"
    )
    others = []
    for number, (count, slots) in enumerate(cells, start=1):
        if number != chosen and number in carried:
            gain = 100 * (carried[number].mean / found.mean - 1)
            others.append(
                f"{count} x {slots} carries {f'{-gain:.0f}% less' if gain < -0.5 else f'{max(gain, 0):.0f}% more'} "
                f"({carried[number].text})"
            )
    return "; ".join([head, *others])
