"""`manage.py sweep`: measure throughput and latency against pool size, and say which MAX_CONNS to use, and why.

This is where the sweep, which knows no Django, meets the rows. Exit codes: 0 a verdict; 1 the SLO is missed; 2 bad
arguments, or nothing that could be started or written; 3 an invalid measurement, or an SLO that nobody can decide; 130
interrupted, with what was measured saved. Of several stacks the first one named decides; of `--against` the comparison:
1 what is here is worse, 3 nobody can tell.
"""

from pooldemo.management.extras import sweep as needed  # noqa: F401  before what it brings

# isort: split

import os
import sys
import tempfile
import time
from argparse import ArgumentParser
from contextlib import nullcontext
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, ProgrammingError

from pooldemo import models, records
from pooldemo.management import checkout, sweep_options
from pooldemo.management.interruption import deaf, interruption
from pooldemo.management.leaving import leave_nothing_running
from pooldemo.management.showing import INTERRUPTED, REFUSED, REPORTS, add_reports, show
from pooldemo.records import unsaved
from pooldemo.site import project
from pooldemo.site.admission import admitted, headers_of
from pooldemo.site.errors import Unfit
from pooldemo.sweep import plan as planning
from pooldemo.sweep import stacks
from pooldemo.sweep.analyse.document import judged
from pooldemo.sweep.facts import Conditions, Plan, SweepResult, TrialPlan
from pooldemo.sweep.measure import database, process
from pooldemo.sweep.measure.run import Run
from pooldemo.sweep.measure.running import restored
from pooldemo.sweep.measure.target import TrialError
from pooldemo.sweep.measure.trial import Bench, try_out
from pooldemo.sweep.report import formats
from pooldemo.sweep.report.output import Lasting, Reports, open_reports, write
from pooldemo.sweep.report.terminal import Terminal, duration
from pooldemo.sweep.stacks.stack import FROM_PAGE, GUNICORN, RUN_FOLDER, make_folder, spread

MEASURING = (
    *("resume", "against", "arrivals", "spacing", "until_sure", "expect_workers", "login", "header", "behind"),
    "dry_run",
)
"""Options beside the plan's own that say how to measure."""


class Command(BaseCommand):
    """Reads the options, runs the sweep, saves each trial, shows the verdict."""

    help = "Measure throughput and latency against pool size, and say which MAX_CONNS to use, and why."

    def add_arguments(self, parser: ArgumentParser) -> None:
        sweep_options.add(parser)
        sweep_options.add_projects(parser.add_argument_group("a project of your own"))
        out = add_reports(parser)
        out.add_argument(
            "--dry-run", action="store_true", help="say what would run, and for how long, and start nothing"
        )

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Django's own. The site whose page has started this may have ended since, and found the database in use."""
        try:
            return super().execute(*args, **options)
        finally:
            if FROM_PAGE in os.environ:
                with deaf():
                    leave_nothing_running()

    def handle(self, **options: Any) -> None:
        to_stdout = any(options[name] == "-" for name in REPORTS)
        terminal = Terminal(cast(IO[str], Lasting(sys.stderr if to_stdout else sys.stdout)), options["quiet"])
        try:
            with project.told_apart(), interruption(terminal.say) as signals:
                code = self._list(terminal, options) if options["list"] else self._sweep(terminal, signals, options)
        except KeyboardInterrupt:  # before the first trial
            code = INTERRUPTED
        except records.Busy as error:
            raise CommandError(str(error), returncode=REFUSED) from error
        except database.DatabaseDown as error:
            raise CommandError(f"{error}. {project.how_to_start_postgresql()}", returncode=REFUSED) from error
        except (Unfit, TrialError) as error:  # of the try before the first trial
            raise CommandError(str(error), returncode=REFUSED) from error
        except OSError as error:
            raise CommandError(cannot(error), returncode=REFUSED) from error
        except ProgrammingError as error:
            said = str(error).splitlines()[0]
            cure = "give its role the right" if "permission denied" in said else "python manage.py migrate"
            raise CommandError(f"{said}: {cure}", returncode=REFUSED) from error
        except DatabaseError as error:
            said = project.no_postgresql() or f"The database failed: {error}"
            raise CommandError(said, returncode=REFUSED) from error
        if code:
            sys.exit(code)

    def _list(self, terminal: Terminal, options: dict[str, Any]) -> int:
        other = [
            *sweep_options.given(options),
            *(name for name in (*MEASURING, *REPORTS) if name != "json" and options[name]),
        ]
        if other:
            raise CommandError(
                f"--list shows what is kept: leave out {', '.join(map(sweep_options.typed, other))}", returncode=REFUSED
            )
        look_back(terminal)
        sweeps = records.listing()
        if options["json"] is None:
            for sweep in sweeps:
                terminal.kept(sweep)
            if not sweeps:
                pages = "" if project.is_own() else " --url /"
                terminal.say(f"no sweep is kept yet: python manage.py sweep{pages}")
        elif lost := write(options["json"], formats.to_list(sweeps)):
            raise CommandError(lost, returncode=REFUSED)
        return 0

    def _sweep(self, terminal: Terminal, signals: list[int], options: dict[str, Any]) -> int:
        look_back(terminal)
        try:
            row = records.get(options["resume"]) if options["resume"] is not None else None
            plan, done = sweep_options.planned(row, options)
            planning.check(plan, "processes" if options["expect_workers"] is None else "expect-workers")
            meeting = sweep_options.meeting(options)
            reports = open_reports(options, REPORTS)
            if options["until_sure"] is not None and not 0 < options["until_sure"] <= 24 * 60:
                raise ValueError(f"--until-sure {options['until_sure']:g} is out of range: minutes, up to 1440")
            if over(plan, done, options) and not options["dry_run"]:
                return finish(terminal, judged(done), reports)
            behind, headers = options["behind"] or (), headers_of(options["header"] or ())
            if row is not None:
                project.same(plan, behind, headers)
            site = project.site(plan, behind, headers)
            plan, left_out = project.available(plan, site, options["resume"])
            for text in (*(f"left out: {each}" for each in left_out), *(f"! {each}" for each in project.doubts(plan))):
                terminal.say(text, "yellow")
            server = " ".join([*(f"{name}={value}" for name, value in spread(plan.workers).items()), *GUNICORN])
            now = project.conditions(site.database_url, server)
            if row is not None:
                project.same_settings(plan, done.conditions, now)
            planning.check_room(plan, now, lambda name: stacks.get(name).capped)
        except (ValueError, records.NoSuchSweep) as error:
            raise CommandError(str(error), returncode=REFUSED) from error
        if options["dry_run"]:
            dry_run(terminal, plan, to_run(plan, done))
            return 0
        make_folder(RUN_FOLDER)
        with tempfile.TemporaryFile(dir=RUN_FOLDER):  # refused now, not in the middle of the first trial
            pass
        with records.Turn() as turn:
            if row is not None:  # another may have gone on with it until just now
                row = records.get(row.pk)
                plan, done = sweep_options.planned(row, options)
                if over(plan, done, options):
                    return finish(terminal, judged(done), reports)
            with (
                process.Ledger(RUN_FOLDER) as ledger,
                admitted(options, plan.host) as headers,
                checkout.checked_out(plan.stacks),
            ):
                bench = Bench(site, ledger, headers, meeting)
                if meeting:
                    terminal.say(meeting.invitation(plan))
                with restored(plan.host, site.pool) if plan.host else nullcontext():
                    if site.settings or plan.host or planning.pairs(plan.stacks):
                        terminal.say("trying what the users will ask for")
                        try_out(plan, bench)  # before half of a sweep is spent on one side alone
                    return self._run(
                        terminal, signals, turn, row, plan, now, done, reports, bench, options["until_sure"]
                    )

    def _run(
        self,
        terminal: Terminal,
        signals: list[int],
        turn: records.Turn,
        row: models.Sweep | None,
        plan: Plan,
        now: Conditions,
        done: SweepResult,
        reports: Reports,
        bench: Bench,
        until_sure: float | None,
    ) -> int:
        conditions = now if row is None else done.conditions
        until_s = None if until_sure is None else time.monotonic() + 60 * until_sure
        if row is None:
            row = records.begin(plan, now)
        elif (conditions.commit, conditions.versions) != (now.commit, now.versions):
            terminal.say(
                "! this machine or checkout is not as it was when the sweep began: compare with care", "yellow"
            )
        began_s: dict[TrialPlan, float] = {}

        def announce(trial: TrialPlan, what: str, seconds: float) -> None:
            began_s.setdefault(trial, time.monotonic())
            left_s = planning.total_s(run.plan, run.left) - (time.monotonic() - began_s[trial])
            terminal.announce(trial, what, seconds, left_s)

        def stopping() -> bool:
            return bool(signals)

        run = Run(plan, conditions, bench, done.trials, stopping, announce, until_s)
        keeper = unsaved.Keeper(row, turn, RUN_FOLDER, stopping, terminal.say)
        turn.of(row)
        records.start(row, plan)
        status = models.Sweep.Status.INTERRUPTED
        try:
            with terminal:
                terminal.begin(plan, row.pk, run.left)
                for result in run:
                    keeper.trial(result)
                    terminal.trial(result, plan, len(run.results), len(run.results) + run.left)
                    if run.plan != plan:
                        plan = run.plan
                        keeper.plan(plan)
            if not run.left:  # a signal in the last trial leaves nothing to go on with
                status = models.Sweep.Status.DONE
                if all(result.error for result in run.results):
                    status = models.Sweep.Status.FAILED
        except KeyboardInterrupt:  # told twice: whatever was started is gone
            terminal.say("stopped; the trials that had ended are saved")
        except (unsaved.Gone, records.Busy) as error:
            terminal.say(f"! {error}", "red")
        verdicts = run.verdicts()
        try:
            keeper.end(status, verdicts)
        except (unsaved.Gone, records.Busy) as error:
            if status != models.Sweep.Status.INTERRUPTED:
                terminal.say(f"! {error}", "red")
            status = models.Sweep.Status.INTERRUPTED
        sweep = SweepResult(
            run.plan,
            conditions,
            tuple(run.results),
            verdicts,
            row.pk,
            status,
            records.begun_at(row).isoformat(timespec="seconds"),
        )
        return finish(terminal, sweep, reports)


def finish(terminal: Terminal, sweep: SweepResult, reports: Reports) -> int:
    """Show a sweep that has ended, however that was; its exit code."""
    interrupted = sweep.status == models.Sweep.Status.INTERRUPTED
    try:
        code = show(terminal, sweep, reports)
    except CommandError as lost:
        raise CommandError(
            f"{lost}. The sweep is saved; once it can be written: python manage.py sweep --resume {sweep.id} with the "
            "same report options",
            returncode=INTERRUPTED if interrupted else REFUSED,
        ) from lost
    finally:
        if interrupted:
            terminal.say(f"interrupted; the rest: python manage.py sweep --resume {sweep.id}")
    return INTERRUPTED if interrupted else code


def to_run(plan: Plan, done: SweepResult) -> list[TrialPlan]:
    """The trials of the plan that are missing; one that failed is."""
    return planning.order(plan, {result.key for result in done.trials if not result.error})


def over(plan: Plan, sweep: SweepResult, options: dict[str, Any]) -> bool:
    """Whether it is done: nothing of the plan is left to run, and its row stays as it is."""
    more = options["until_sure"] is not None
    return sweep.status == models.Sweep.Status.DONE and not to_run(plan, sweep) and not more


def look_back(terminal: Terminal) -> None:
    """End and save what sweeps that are no more have left behind."""
    for stray in process.clean_up(RUN_FOLDER):
        terminal.say(f"stopped what an earlier sweep left running: {stray}")
    checkout.clean_up()
    for saved in unsaved.take_up(RUN_FOLDER):
        terminal.say(saved)


def dry_run(terminal: Terminal, plan: Plan, left: list[TrialPlan]) -> None:
    for number, trial in enumerate(left, start=1):
        terminal.say(f"{number:>3} {trial}")
    terminal.say(f"{len(left)} trials, about {duration(planning.total_s(plan, len(left)))}; nothing was started")


def cannot(error: OSError) -> str:
    """What the machine refused, in a sentence, and what a sweep needs of it."""
    if error.filename is None:
        return f"The machine refuses: {error.strerror or error}"
    return (
        f"{error.filename} cannot be used ({error.strerror}): a sweep writes to {RUN_FOLDER}, so sweep in a folder "
        "that is yours and has room, such as a copy of this one (cp -r . ~/pooldemo)"
    )
