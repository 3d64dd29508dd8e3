"""A sweep in the terminal: a line for each trial as it ends, what is going on below, then the table and the verdicts.

On a terminal with colours, by rich; else plain lines, the same words. Nothing is decided here.
"""

import time
from collections.abc import Iterable, Sequence
from textwrap import indent
from typing import IO, Self

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from pooldemo.sweep import plan as planning
from pooldemo.sweep.analyse.sizes import by_size, carried, sizes_of_stack
from pooldemo.sweep.analyse.slo import TICKS, describe_check, describe_limit
from pooldemo.sweep.analyse.statistics import counted, digits
from pooldemo.sweep.analyse.warnings import brief
from pooldemo.sweep.facts import Check, Conditions, Plan, SizeResult, SweepResult, TrialPlan, TrialResult, Verdict
from pooldemo.sweep.report.figures import load_of
from pooldemo.sweep.report.moment import moment
from pooldemo.sweep.report.tables import repeats
from pooldemo.sweep.workloads import has_length

COLOURS = {"knee": "green", "flat": "cyan", "rising": "yellow", "invalid": "red"}


class _Clockwork(BarColumn):
    """A bar that fills with time alone, in what the words beside it leave of the line."""

    def render(self, task: Task) -> ProgressBar:
        total_s = task.total or 1.0
        return ProgressBar(total=total_s, completed=min(task.elapsed or 0.0, total_s))


class _Left(ProgressColumn):
    """The time left of the sweep, and when that is."""

    def render(self, task: Task) -> Text:
        left_s = max(0.0, task.fields["left_s"] - (task.elapsed or 0.0))
        ends = time.strftime("%H:%M:%S", time.localtime(time.time() + left_s))
        return Text(f"{duration(left_s)} left, until {ends}")


class Terminal:
    """Where a sweep shows itself. `quiet` leaves the verdicts alone; a `stream` that is no terminal, or NO_COLOR,
    plain lines."""

    def __init__(self, stream: IO[str], quiet: bool = False) -> None:
        self.console = Console(
            file=stream, highlight=False, markup=False, emoji=False, soft_wrap=not stream.isatty()
        )  # an address or a setting may look like markup
        self.quiet = quiet
        self._fancy = self.console.is_terminal and not self.console.no_color and not quiet
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            _Clockwork(table_column=Column(max_width=30)),
            _Left(table_column=Column(no_wrap=True)),
            console=self.console,
            transient=True,
            disable=not self._fancy,
            refresh_per_second=4,
        )
        self._bar = self._progress.add_task("", total=1, left_s=0.0)
        self._width = 8
        self._told: set[str] = set()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, plan: Plan, number: int | None, left: int) -> None:
        """What is going to happen, and for how long."""
        self._width = max(map(len, plan.stacks))
        name = f"sweep {number}" if number else "this sweep"
        self.say(
            f"{name}: {plan.asked} {_ms(plan)}with {counted(plan.users, 'user')}, sizes "
            f"{', '.join(map(str, plan.sizes))}, {repeats(plan)}, {_workers(plan)}"
            + (f": {counted(left, 'trial')}, about {duration(planning.total_s(plan, left))}" if left else "")
        )

    def kept(self, sweep: SweepResult) -> None:
        """One of the sweeps that are kept, in a line; how to go on with one that was interrupted in another."""
        named = [
            f"{each.stack} {each.shape}" + (f" at {each.max_conns}" if each.max_conns else "")
            for each in sweep.verdicts
        ]
        said = ", ".join(named) or ", ".join(sweep.plan.stacks)
        self.console.print(f"{sweep.id:>5}  {sweep.status:<11}  {moment(sweep.started_at)}  {load_of(sweep)}: {said}")
        if sweep.status == "interrupted":
            self.console.print(f"       go on: python manage.py sweep --resume {sweep.id}")

    def announce(self, trial: TrialPlan, what: str, seconds: float, left_s: float) -> None:
        """What a trial does now, for how long, and how many seconds remain of the whole sweep."""
        text = f"{trial}: {what}"
        self._progress.reset(self._bar, total=max(seconds, 0.1), description=text, left_s=left_s)

    def trial(self, result: TrialResult, plan: Plan, number: int, of: int) -> None:
        """A trial that ended, as a row of a table that grows."""
        split = f" x {counted(result.workers, 'worker'):<9}" if plan.splits else ""
        head = f"{number:>3}/{of:<3} {result.stack:<{self._width}} size {result.size:>3}{split}  "
        if result.error:
            self._failed(head, result.error)
            return
        cells = [
            f"{digits(result.rps):>6}/s",
            f"p50 {digits(result.p50_ms):>5} ms",
            f"p95 {digits(result.p95_ms):>5} ms",
            f"p99 {digits(result.p99_ms):>5} ms",
        ]
        if result.peak_connections is not None:
            allowed = _allowed(result, plan.at(result.workers) if plan.splits else plan)
            cells.append(f"connections {result.peak_connections:>3} of {allowed:<3}")
        if result.efficiency is not None:
            cells.append(f"efficiency {result.efficiency:.2f}")
        cells += [f"[{warning.code}]" for warning in result.warnings]
        self.say(head + "  ".join(cells), "yellow" if result.warnings else "")

    def _failed(self, head: str, error: str) -> None:
        """A line for each trial that failed; what its processes said, once for each kind of failure."""
        told = brief(error)
        self.say(f"{head}failed: {told}", "red")
        if told not in self._told and told != error.strip():
            self.say(indent(error, " " * 4))
        self._told.add(told)

    def say(self, text: str, style: str = "") -> None:
        if not self.quiet:
            self.console.print(Text(text, style=style if self._fancy else ""))

    def tables(self, sweep: SweepResult) -> None:
        """A table for each number of workers."""
        for view in sweep.views:
            self.table(view.plan, view.trials, f"{counted(view.plan.workers, 'worker')}, " if sweep.plan.splits else "")

    def table(self, plan: Plan, results: Sequence[TrialResult], of: str = "") -> None:
        """Every stack and size over all repeats; what each opened beside what it was allowed."""
        if self.quiet:
            return
        table = Table(title=f"{of}all repeats together".capitalize(), title_justify="left", box=None, pad_edge=False)
        for heading in ("stack", "size", "requests/s", "p50 ms", "p95 ms", "p99 ms", "failures", "allowed", "opened"):
            table.add_column(heading, justify="left" if heading == "stack" else "right")
        view = SweepResult(plan, Conditions(), tuple(results))
        for stack in plan.stacks:
            trials = by_size(view, stack)
            for found in sizes_of_stack(view, stack):
                own = trials[found.size]
                table.add_row(*_row(found, _allowed(own[0], plan), own), style=self._style(found.size, plan, own))
        self.console.print(table, soft_wrap=False)

    def _style(self, size: int, plan: Plan, ran: Sequence[TrialResult]) -> str:
        above = any(each.capped and (each.peak_connections or 0) > size * plan.workers for each in ran)
        return "yellow" if above and self._fancy else ""

    def verdicts(self, verdicts: Iterable[Verdict]) -> None:
        """Each stack's verdict: the sentence, the SLO's clauses, the doubts, and the line to copy."""
        for verdict in verdicts:
            title = f"{verdict.stack}: {verdict.shape}"
            lines = [verdict.because, *(_check(check) for check in verdict.checks)]
            lines += [f"! {warning.cause}: {warning.cure}" for warning in verdict.warnings]
            if self._fancy:
                text = Text("\n".join(lines))
                if verdict.copy:
                    text.append(f"\n\n{verdict.copy}", style="bold")
                colour = COLOURS.get(verdict.shape, "")
                self.console.print(Panel(text, title=Text(title), border_style=colour, title_align="left"))
            else:
                lines += [verdict.copy] if verdict.copy else []
                self.console.print(Text("\n".join([title, *(f"  {line}" for line in lines)])), soft_wrap=True)


def duration(seconds: float) -> str:
    """`75` as `1 min 15 s`."""
    minutes, rest_s = divmod(max(0, round(seconds)), 60)
    return f"{minutes} min {rest_s} s" if minutes else f"{rest_s} s"


def _allowed(result: TrialResult, plan: Plan) -> str:
    """Connections that it may open, as far as it knows a limit."""
    return str(result.size * plan.workers) if result.capped else "any"


def opened(ran: Sequence[TrialResult]) -> str:
    """The most connections that PostgreSQL saw in trials; a dash where nobody could tell them from others."""
    return str(max((each.peak_connections for each in ran if each.peak_connections is not None), default="-"))


def _row(found: SizeResult, allowed: str, ran: Sequence[TrialResult]) -> list[str]:
    return [
        found.stack,
        str(found.size),
        carried(found),
        *map(digits, (found.p50_ms, found.p95_ms, found.p99_ms)),
        f"{found.failures:,}",
        allowed,
        opened(ran),
    ]


def _check(check: Check) -> str:
    return f"{TICKS[check.state]} {describe_limit(check.limit)}: {check.state}, {describe_check(check)}"


def _ms(plan: Plan) -> str:
    return f"of {plan.ms:g} ms " if has_length(plan.workload) else ""


def _workers(plan: Plan) -> str:
    return " or ".join(map(str, plan.splits)) + " workers" if plan.splits else counted(plan.workers, "worker")
