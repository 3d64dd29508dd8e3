"""`manage.py sweep`: measure throughput and latency against pool size, and say which MAX_CONNS to use, and why.

This is where the sweep, which knows no Django, meets the rows. Exit codes: 0; 1 the SLO is missed; 2 bad arguments or
an invalid measurement; 130 interrupted, with what was measured saved. Of several stacks the first one named decides.
"""

import signal
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, ProgrammingError

from pooldemo import models, records, stacks
from pooldemo.stacks.stack import GUNICORN, ROOT
from pooldemo.sweep import adaptive, process, report, target
from pooldemo.sweep import plan as planning
from pooldemo.sweep.result import WORKLOADS, Conditions, Plan, SweepResult, TrialPlan
from pooldemo.sweep.run import Run
from pooldemo.sweep.slo import parse_slo
from pooldemo.sweep.terminal import Terminal, duration
from pooldemo.sweep.trial import Bench

RUN_FOLDER = ROOT / ".local" / "run"
DEFAULT = Plan()
Reports = dict[str, Callable[[SweepResult], str]]  # file -> what makes its text
REPORTS = {"json": report.to_json, "csv": report.to_csv, "html": report.to_html, "markdown": report.to_markdown}
SLO_MISSED, INVALID, INTERRUPTED = 1, 2, 130


class Command(BaseCommand):
    """Reads the options, runs the sweep, saves each trial, shows the verdict."""

    help = "Measure throughput and latency against pool size, and say which MAX_CONNS to use, and why."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The plan's options have no default here: None tells that one was not given, which --resume needs to know."""
        plan = parser.add_argument_group("what to measure")
        plan.add_argument("--sizes", help="MAX_CONNS of one worker: 1,2,4,8 or 1-8 (default 1,2,4,8,16)")
        plan.add_argument("--stack", help=f"all, or some of {','.join(stacks.names())} (default pooldemo)")
        plan.add_argument("--workload", help=f"one of {', '.join(WORKLOADS)} (default {DEFAULT.workload})")
        plan.add_argument("--ms", type=float, help=f"length of its query in milliseconds (default {DEFAULT.ms:g})")
        plan.add_argument(
            "--think-ms", type=float, help=f"hold: time between its queries (default {DEFAULT.think_ms:g})"
        )
        plan.add_argument("--users", type=int, help=f"that ask at once (default {DEFAULT.users})")
        plan.add_argument(
            "--rate",
            type=float,
            help="requests a second, fed by a closed loop of the users (default: as many as can be)",
        )
        plan.add_argument("--workers", type=int, help=f"processes of the server (default {DEFAULT.workers})")
        plan.add_argument(
            "--duration", type=float, help=f"seconds of a trial that count (default {DEFAULT.duration_s:g})"
        )
        plan.add_argument(
            "--warmup", type=float, help=f"seconds before them that do not (default {DEFAULT.warmup_s:g})"
        )
        plan.add_argument("--repeats", type=int, help=f"of each stack and size (default {DEFAULT.repeats})")
        plan.add_argument("--seed", type=int, help=f"of the random order (default {DEFAULT.seed})")
        plan.add_argument("--slo", help="limits for the recommended size: p95=300,errors=0.1%%")
        plan.add_argument("--processes", type=int, help=f"of the load generator (default {DEFAULT.processes})")
        plan.add_argument(
            "--adaptive", action="store_true", default=None, help="powers of two first, then around the knee"
        )
        plan.add_argument("--resume", type=int, metavar="ID", help="finish the sweep of this number")
        out = parser.add_argument_group("what comes out")
        out.add_argument("--json", metavar="FILE|-", help="everything; - is standard output, with nothing else on it")
        out.add_argument("--csv", metavar="FILE", help="a row for each trial")
        out.add_argument("--html", metavar="FILE", help="one offline page with the curve")
        out.add_argument("--markdown", metavar="FILE", help="a table for a pull request")
        out.add_argument("--dry-run", action="store_true", help="say what would be run, and for how long")
        out.add_argument("--quiet", action="store_true", help="the verdicts alone")

    def handle(self, **options: Any) -> None:
        stream = sys.stderr if options["json"] == "-" else sys.stdout
        terminal = Terminal(stream, options["quiet"])
        try:
            with interruption(terminal) as signals:
                code = self._sweep(terminal, signals, options)
        except KeyboardInterrupt:  # told twice: stop now; whatever was started is gone, whatever ended is saved
            terminal.console.print("stopped; the trials that had ended are saved")
            code = INTERRUPTED
        except (records.Busy, target.DatabaseDown) as error:
            raise CommandError(str(error), returncode=INVALID) from error
        except ProgrammingError as error:
            raise CommandError(f"{error}\nThe tables are missing: manage.py migrate", returncode=INVALID) from error
        except DatabaseError as error:
            raise CommandError(f"The database failed: {error}", returncode=INVALID) from error
        if code:
            sys.exit(code)

    def _sweep(self, terminal: Terminal, signals: list[int], options: dict[str, Any]) -> int:
        for stray in process.clean_up(RUN_FOLDER):
            terminal.say(f"stopped what an earlier sweep left running: {stray}")
        try:
            row = records.get(options["resume"]) if options["resume"] is not None else None
            plan, done = self._plan(row, options)
            planning.check(plan)
            plan = available(plan, terminal, options["resume"])
            now = target.conditions(settings.DATABASE_URL, ROOT, " ".join(GUNICORN))
            planning.check_room(plan, now, lambda name: stacks.get(name).capped)
        except (ValueError, records.NoSuchSweep) as error:
            raise CommandError(str(error), returncode=INVALID) from error
        left = len(planning.order(plan, {result.key for result in done.trials if not result.error}))
        if options["dry_run"]:
            dry_run(terminal, plan, left)
            return 0
        with records.alone():
            return self._run(terminal, signals, row, plan, now, done, open_reports(options))

    def _plan(self, row: models.Sweep | None, options: dict[str, Any]) -> tuple[Plan, SweepResult]:
        """The plan that was asked for, and what was measured of it already."""
        names = {"stack": "stacks", "duration": "duration_s", "warmup": "warmup_s"}
        given = {
            names.get(name, name): value
            for name, value in options.items()
            if value is not None and names.get(name, name) in {each.name for each in fields(Plan)}
        }
        if row is not None:
            if given:
                typed = ", ".join(f"--{name.removesuffix('_s').replace('_', '-')}" for name in given)
                raise ValueError(f"--resume {row.pk} takes its plan from that sweep: leave out {typed}")
            done = records.result(row)
            return done.plan, done
        if "sizes" in given:
            given["sizes"] = planning.parse_sizes(given["sizes"])
        if "slo" in given:
            given["slo"] = parse_slo(given["slo"])
        if "stacks" in given:
            given["stacks"] = tuple(dict.fromkeys(name.strip() for name in given["stacks"].split(",")))
        if given.get("stacks") == ("all",):
            given["stacks"] = tuple(stacks.names())
        plan = replace(DEFAULT, **given)
        if plan.adaptive:
            plan = replace(plan, sizes=adaptive.coarse_sizes(max(plan.sizes)))
        return plan, SweepResult(plan, Conditions())

    def _run(
        self,
        terminal: Terminal,
        signals: list[int],
        row: models.Sweep | None,
        plan: Plan,
        now: Conditions,
        done: SweepResult,
        reports: Reports,
    ) -> int:
        if row is None:
            row = records.begin(plan, now)
        elif (done.conditions.commit, done.conditions.versions) != (now.commit, now.versions):
            terminal.say(
                "! this machine or checkout is not as it was when the sweep began: compare with care", "yellow"
            )
        ledger = process.Ledger(RUN_FOLDER)
        began_s: dict[TrialPlan, float] = {}
        bench = Bench(settings.DATABASE_URL, ROOT / "locustfile.py", ledger)

        def announce(trial: TrialPlan, what: str, seconds: float) -> None:
            began_s.setdefault(trial, time.monotonic())
            left_s = planning.total_s(run.plan, run.left) - (time.monotonic() - began_s[trial])
            terminal.announce(trial, what, seconds, left_s)

        run = Run(plan, now, bench, done.trials, lambda: bool(signals), announce)
        records.change_plan(row, plan, models.Sweep.Status.RUNNING)
        status = models.Sweep.Status.INTERRUPTED
        try:
            with terminal:
                terminal.begin(plan, row.pk, run.left)
                for result in run:
                    records.save_trial(row, result)
                    terminal.trial(result, plan, len(run.results), len(run.results) + run.left)
                    if run.plan != plan:
                        plan = run.plan
                        records.change_plan(row, plan, models.Sweep.Status.RUNNING)
            if not signals:
                status = models.Sweep.Status.DONE
                if all(result.error for result in run.results):
                    status = models.Sweep.Status.FAILED
        finally:
            ledger.close()
            verdicts = run.verdicts()
            records.end(row, status, verdicts)
        terminal.table(run.plan, run.results)
        terminal.verdicts(verdicts)
        write_reports(reports, records.result(row))
        if status == models.Sweep.Status.INTERRUPTED:
            terminal.say(f"interrupted; the rest: manage.py sweep --resume {row.pk}")
            return INTERRUPTED
        if verdicts[0].shape == "invalid":
            return INVALID
        return 0 if verdicts[0].slo_met else SLO_MISSED


@contextmanager
def interruption(terminal: Terminal) -> Iterator[list[int]]:
    """The signals to stop that came so far: the first one lets the trial end, the second raises KeyboardInterrupt."""
    signals: list[int] = []

    def take(number: int, _frame: object) -> None:
        signals.append(number)
        if len(signals) == 2:
            raise KeyboardInterrupt
        if len(signals) == 1:
            terminal.say("finishing this trial; once more to stop at once")

    before = {number: signal.signal(number, take) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def available(plan: Plan, terminal: Terminal, resumed: int | None = None) -> Plan:
    """The plan without the stacks that cannot run here, which it says.

    Raises ValueError when none is left, and when the sweep `resumed` would lose one.
    """
    missing = {}
    for name in plan.stacks:
        stack = stacks.get(name)
        if plan.workload not in stack.workloads:
            missing[name] = f"{name} does not answer /{plan.workload}/: it can {', '.join(stack.workloads)}"
        elif lacks := stack.missing():
            missing[name] = lacks
    left = tuple(name for name in plan.stacks if name not in missing)
    if missing and resumed is not None:
        raise ValueError(f"--resume {resumed} needs every stack of that sweep: {'; '.join(missing.values())}")
    if not left:
        raise ValueError("; ".join(missing.values()))
    for text in missing.values():
        terminal.say(f"left out: {text}", "yellow")
    return replace(plan, stacks=left)


def dry_run(terminal: Terminal, plan: Plan, left: int) -> None:
    for number, trial in enumerate(planning.order(plan), start=1):
        terminal.say(f"{number:>3} {trial.stack} at {trial.size}, repeat {trial.repeat}")
    terminal.say(f"{left} trials, about {duration(planning.total_s(plan, left))}; nothing was started")


def open_reports(options: dict[str, Any]) -> Reports:
    """The reports asked for, by their file. Refuses now, not after the sweep, what cannot be written."""
    asked: Reports = {options[name]: make for name, make in REPORTS.items() if options[name]}
    for path in asked:
        if path == "-":
            continue
        file = Path(path)
        try:
            there = file.exists()
            file.touch()
            if not there:
                file.unlink()  # a sweep that does not come about leaves nothing
        except OSError as error:
            raise CommandError(f"no report can be written there: {error}", returncode=INVALID) from error
    return asked


def write_reports(reports: Reports, sweep: SweepResult) -> None:
    """Each into its file; `-` is standard output."""
    for path, make in reports.items():
        if path == "-":
            sys.stdout.write(make(sweep))
        else:
            Path(path).write_text(make(sweep))
