"""Several sweeps in one figure, as many lines as can be told apart. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from pooldemo.sweep.facts import SweepResult
from pooldemo.sweep.report.charts import Axis
from pooldemo.sweep.report.figures import Lines, described, load_of, size_axis, throughput_line

MOST = 6  # lines that colour and shape still tell apart


def that_fit(sweeps: Sequence[SweepResult], stacks: Sequence[str]) -> list[str]:
    """The first of the stacks whose lines can be told apart together, the very first in any case."""
    found: list[str] = []
    lines = 0
    for stack in stacks:
        lines += sum(stack in sweep.plan.stacks for sweep in sweeps)
        if found and lines > MOST:
            break
        found.append(stack)
    return found


def overlay(sweeps: Sequence[SweepResult], stacks: Collection[str] = ()) -> Lines:
    """The throughput of several sweeps, a line for each of the `stacks` of each (empty: all), the first MOST of them.

    A sweep has a colour, where one stack alone is shown; else each line has one of its own. The bounds are left out.
    """
    lines = [
        (sweep, throughput_line(stack, sweep.chosen))
        for sweep in sweeps
        for stack in sweep.plan.stacks
        if not stacks or stack in stacks
    ][:MOST]
    marked: dict[tuple[float | None, str], list[str]] = {}  # whose mark it is: one label for all at a place
    for sweep, line in lines:
        marked.setdefault((line.mark, line.mark_label), []).append(str(sweep.id))
    series = [
        replace(
            line, name=f"{sweep.id} {line.name}", look=place, mark_reason="", dots=(),
            mark_label=f"{', '.join(dict.fromkeys(marked[line.mark, line.mark_label]))}: {line.mark_label}",
        )
        for place, (sweep, line) in enumerate(lines)
    ]  # fmt: skip
    loads = {load_of(sweep) for sweep in sweeps}
    title = f"Throughput of {len(sweeps)} sweeps" + (f": {loads.pop()}" if len(loads) == 1 else "")
    shown = {(sweep.id, line.name) for sweep, line in lines}
    trials = [trial for sweep in sweeps for trial in sweep.trials if (sweep.id, trial.stack) in shown]
    return Lines(title, described(series), tuple(series), size_axis(trials), Axis("requests/s"))
