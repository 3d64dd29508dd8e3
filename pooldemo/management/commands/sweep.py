"""`manage.py sweep`: measure throughput and latency against pool size, and say which MAX_CONNS to use, and why.

This is where the sweep, which knows no Django, meets the rows. Exit codes: 0 a verdict; 1 the SLO is missed; 2 bad
arguments, or nothing that could be started or written; 3 an invalid measurement, or an SLO that nobody can decide; 130
interrupted, with what was measured saved. Of several stacks the first one named decides; of `--against` the comparison:
1 what is here is worse, 3 nobody can tell.
"""

from pooldemo.management.extras import sweep as needed  # noqa: F401  before what it brings

# isort: split

import sys
import tempfile
import time
from argparse import ArgumentParser
from contextlib import nullcontext
from dataclasses import fields, replace
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, ProgrammingError

from pooldemo import models, records
from pooldemo.management import checkout
from pooldemo.management import site as sites
from pooldemo.management.interruption import interruption
from pooldemo.management.showing import INTERRUPTED, REFUSED, REPORTS, add_reports, show
from pooldemo.records import unsaved
from pooldemo.sweep import plan as planning
from pooldemo.sweep import stacks
from pooldemo.sweep.analyse.document import judged
from pooldemo.sweep.analyse.slo import parse_slo
from pooldemo.sweep.facts import Conditions, Plan, SweepResult, TrialPlan
from pooldemo.sweep.measure import adaptive, database, process
from pooldemo.sweep.measure.run import Run
from pooldemo.sweep.measure.running import restored
from pooldemo.sweep.measure.target import TrialError
from pooldemo.sweep.measure.trial import Bench, try_out
from pooldemo.sweep.report import formats
from pooldemo.sweep.report.output import Lasting, Reports, open_reports, write
from pooldemo.sweep.report.terminal import Terminal, duration
from pooldemo.sweep.stacks.stack import GUNICORN, ROOT
from pooldemo.sweep.workloads import CHOICES, WORKLOADS

RUN_FOLDER = ROOT / ".local" / "run"
DEFAULT = Plan()


class Command(BaseCommand):
    """Reads the options, runs the sweep, saves each trial, shows the verdict."""

    help = "Measure throughput and latency against pool size, and say which MAX_CONNS to use, and why."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The plan's options have no default here: None tells that one was not given, which --resume needs to know."""
        plan = parser.add_argument_group("what to measure")
        plan.add_argument("--sizes", help="MAX_CONNS of one worker: 1,2,4,8 or 1-8 (default 1,2,4,8,16)")
        plan.add_argument("--stack", help=f"all, or some of {','.join(stacks.names())} (default pooldemo)")
        plan.add_argument("--workload", help=f"one of {', '.join(CHOICES)} (default {DEFAULT.workload})")
        plan.add_argument(
            "--ms", type=float, help=f"length of its query in milliseconds (default {DEFAULT.ms:g}; think 5)"
        )
        plan.add_argument(
            "--think-ms", type=float, help=f"hold, think: time after its query (default {DEFAULT.think_ms:g})"
        )
        plan.add_argument("--users", type=int, help=f"that ask at once (default {DEFAULT.users})")
        plan.add_argument(
            "--arrivals",
            metavar="RATE|max",
            help="an open loop: requests a second, whether answers come or not; max: the most that meets --slo",
        )
        plan.add_argument("--spacing", choices=["random", "even"], help="between arrivals (default random)")
        plan.add_argument(
            "--workers", help=f"processes of the server (default {DEFAULT.workers}); 1,2,4 finds the cheapest split"
        )
        plan.add_argument(
            "--duration", type=float, help=f"seconds of a trial that count (default {DEFAULT.duration_s:g})"
        )
        plan.add_argument(
            "--warmup",
            type=float,
            help=f"seconds before them (default {DEFAULT.warmup_s:g}, or until each user was served)",
        )
        plan.add_argument("--repeats", type=int, help=f"of each stack and size (default {DEFAULT.repeats})")
        plan.add_argument("--seed", type=int, help=f"of the random order (default {DEFAULT.seed})")
        plan.add_argument("--slo", help="limits for the recommended size: p95=300,errors=0.1%%")
        plan.add_argument("--processes", type=int, help=f"of the load generator (default {DEFAULT.processes})")
        plan.add_argument(
            "--adaptive", action="store_true", default=None, help="powers of two first, then around the knee"
        )
        plan.add_argument(
            "--resume", type=int, metavar="ID", help="go on with this sweep, also by --repeats 7 or --sizes +5,6"
        )
        plan.add_argument(
            "--until-sure", type=float, metavar="MINUTES", help="repeat what decides until it is decided, for so long"
        )
        plan.add_argument(
            "--against", metavar="COMMIT|NAME=VALUE", help="measure that beside what is here, and compare the two"
        )
        plan.add_argument("--list", action="store_true", help="measure nothing: show the sweeps that are kept")
        plan.add_argument(
            "--margin",
            type=float,
            help=f"percent that a size may carry less than the best (default {DEFAULT.margin:g})",
        )
        sites.add_options(parser.add_argument_group("a project of your own"))
        out = add_reports(parser)
        out.add_argument("--dry-run", action="store_true", help="say what would be run, and for how long")

    def handle(self, **options: Any) -> None:
        to_stdout = any(options[name] == "-" for name in REPORTS)
        terminal = Terminal(cast(IO[str], Lasting(sys.stderr if to_stdout else sys.stdout)), options["quiet"])
        try:
            with interruption(terminal.say) as signals:
                code = self._list(terminal, options) if options["list"] else self._sweep(terminal, signals, options)
        except KeyboardInterrupt:  # before the first trial
            code = INTERRUPTED
        except (records.Busy, database.DatabaseDown) as error:
            raise CommandError(str(error), returncode=REFUSED) from error
        except (sites.Unfit, TrialError) as error:  # of the try before the first trial
            raise CommandError(str(error), returncode=REFUSED) from error
        except OSError as error:
            raise CommandError(cannot(error), returncode=REFUSED) from error
        except ProgrammingError as error:
            raise CommandError(f"{str(error).splitlines()[0]}: python manage.py migrate", returncode=REFUSED) from error
        except DatabaseError as error:
            raise CommandError(f"The database failed: {error}", returncode=REFUSED) from error
        if code:
            sys.exit(code)

    def _list(self, terminal: Terminal, options: dict[str, Any]) -> int:
        other = [*plan_options(options), *(name for name in ("resume", *REPORTS) if name != "json" and options[name])]
        if other:
            raise CommandError(
                f"--list shows what is kept: leave out {', '.join(map(typed, other))}", returncode=REFUSED
            )
        look_back(terminal)
        sweeps = records.listing()
        if options["json"] is None:
            for sweep in sweeps:
                terminal.kept(sweep)
            if not sweeps:
                terminal.say("no sweep is kept yet: python manage.py sweep")
        elif lost := write(options["json"], formats.to_list(sweeps)):
            raise CommandError(lost, returncode=REFUSED)
        return 0

    def _sweep(self, terminal: Terminal, signals: list[int], options: dict[str, Any]) -> int:
        look_back(terminal)
        try:
            row = records.get(options["resume"]) if options["resume"] is not None else None
            plan, done = self._plan(row, options)
            planning.check(plan)
            reports = open_reports(options, REPORTS)
            if options["until_sure"] is not None and not 0 < options["until_sure"] <= 24 * 60:
                raise ValueError(f"--until-sure {options['until_sure']:g} is out of range: minutes, up to 1440")
            if over(plan, done, options) and not options["dry_run"]:
                return finish(terminal, judged(done), reports)
            site = sites.site(plan)
            plan, left_out = sites.available(plan, site, options["resume"])
            for text in left_out:
                terminal.say(f"left out: {text}", "yellow")
            now = database.conditions(site.database_url, ROOT, " ".join(GUNICORN))
            planning.check_room(plan, now, lambda name: stacks.get(name).capped)
        except (ValueError, records.NoSuchSweep) as error:
            raise CommandError(str(error), returncode=REFUSED) from error
        if options["dry_run"]:
            dry_run(terminal, plan, to_run(plan, done))
            return 0
        RUN_FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=RUN_FOLDER):  # refused now, not in the middle of the first trial
            pass
        with records.Turn() as turn:
            if row is not None:  # another may have gone on with it until just now
                row = records.get(row.pk)
                plan, done = self._plan(row, options)
                if over(plan, done, options):
                    return finish(terminal, judged(done), reports)
            with (
                process.Ledger(RUN_FOLDER) as ledger,
                sites.admitted(options) as headers,
                checkout.checked_out(plan.stacks),
            ):
                bench = Bench(site, ledger, headers)
                with restored(plan.host, site.pool) if plan.host else nullcontext():
                    if (site.settings or plan.host) and not done.trials:
                        terminal.say("trying what the users will ask for")
                        try_out(plan, bench)
                    return self._run(
                        terminal, signals, turn, row, plan, now, done, reports, bench, options["until_sure"]
                    )

    def _plan(self, row: models.Sweep | None, options: dict[str, Any]) -> tuple[Plan, SweepResult]:
        """The plan that was asked for, and what was measured of it already."""
        given = plan_options(options)
        if options["arrivals"] is not None:
            given |= planning.parse_arrivals(options["arrivals"], options["spacing"])
        elif options["spacing"] is not None:
            raise ValueError("--spacing is that of an open loop: give --arrivals as well, as in --arrivals 200")
        if row is not None:
            if other := given.keys() - {"repeats", "sizes"}:
                raise ValueError(
                    f"--resume {row.pk} takes its plan from that sweep, but for --repeats and --sizes +5,6: leave out "
                    f"{', '.join(map(typed, sorted(other)))}"
                )
            done = records.result(row)
            plan = planning.with_sizes(done.plan, given["sizes"]) if "sizes" in given else done.plan
            return planning.with_repeats(plan, given["repeats"]) if "repeats" in given else plan, done
        if "sizes" in given:
            given["sizes"] = planning.parse_sizes(given["sizes"])
        if "workers" in given:
            given |= planning.parse_workers(given["workers"])
        if "slo" in given:
            given["slo"] = parse_slo(given["slo"])
        if "stacks" in given:
            given["stacks"] = tuple(dict.fromkeys(name.strip() for name in given["stacks"].split(",")))
        if given.get("stacks") == ("all",):
            given["stacks"] = tuple(stacks.names())
        swept = WORKLOADS.get(given.get("workload", ""))
        if swept is not None and swept.swept_ms is not None:
            given = {"ms": swept.swept_ms, **given}
        if "warmup_s" not in given:
            given["warmup_cycles"] = planning.WARMUP_CYCLES
        plan = replace(DEFAULT, **given)
        plan = sites.planned(plan, given, options["remote"])
        if options["against"] is not None:
            if plan.host:
                raise ValueError("--against starts servers of its own: leave out --host")
            plan = replace(plan, stacks=planning.against(plan.stacks, checkout.label(options["against"])))
        if plan.adaptive:
            plan = replace(plan, sizes=adaptive.coarse_sizes(max(plan.sizes)))
        return plan, SweepResult(plan, Conditions(), status=models.Sweep.Status.RUNNING)

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
            if not signals:
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
            row.started_at.isoformat(timespec="seconds"),
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
    for saved in unsaved.take_up(RUN_FOLDER):
        terminal.say(saved)


def plan_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given and are the plan's, by the names of its fields."""
    names = {"stack": "stacks", "duration": "duration_s", "warmup": "warmup_s", "url": "urls"}
    known = {each.name for each in fields(Plan)}
    return {
        names.get(name, name): value
        for name, value in options.items()
        if value is not None and names.get(name, name) in known
    }


def typed(name: str) -> str:
    """A field of the plan as its option is typed."""
    name = {"stacks": "stack", "urls": "url"}.get(name, name.removesuffix("_s"))
    return f"--{name.replace('_', '-')}"


def dry_run(terminal: Terminal, plan: Plan, left: list[TrialPlan]) -> None:
    for number, trial in enumerate(left, start=1):
        terminal.say(f"{number:>3} {trial.stack} at {trial.size}, repeat {trial.repeat}")
    terminal.say(f"{len(left)} trials, about {duration(planning.total_s(plan, len(left)))}; nothing was started")


def cannot(error: OSError) -> str:
    """What the machine refused, in a sentence, and what a sweep needs of it."""
    if error.filename is None:
        return f"The machine refuses: {error.strerror or error}"
    return (
        f"{error.filename} cannot be used ({error.strerror}): a sweep writes to {RUN_FOLDER}, so sweep in a folder "
        "that is yours and has room, such as a copy of this one (cp -r . ~/pooldemo)"
    )
