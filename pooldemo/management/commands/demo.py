"""`manage.py demo`: the shortest way to a result. Tables, a short sweep of this pool beside the one users have today,
what to use in one line, and a login for the admin where it can be looked at. What a sweep is lives in `sweep`.

Nothing stays running: neither servers nor load, and the embedded PostgreSQL only where a user started it.
"""

from pooldemo.management.extras import sweep as needed  # noqa: F401  before what it brings

# isort: split

import secrets
import sys
from argparse import ArgumentParser
from contextlib import nullcontext
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.urls import reverse
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from pooldemo import models, records
from pooldemo.management.interruption import deaf
from pooldemo.management.leaving import leave_nothing_running
from pooldemo.sweep.analyse.sizes import carried, sizes_of
from pooldemo.sweep.analyse.statistics import counted
from pooldemo.sweep.measure.database import cpus
from pooldemo.sweep.stacks.stack import ROOT

ADDRESS = "http://127.0.0.1:8000"  # where `make run` serves
USER = "admin"
INTERRUPTED = 130
REPORT = ROOT / ".local" / "demo.html"
BAR = 40  # characters of the longest
MORE_MINUTES = 1.0  # where the machine is so busy that the planned repeats do not tell
DISTURBED = ("other-load", "loaded-before", "unstable-repeats", "trial-failed", "failures")  # warnings that say by what

# A traffic, and how many slots carry it: 60 requests a second for each core, 50 ms each, keep 3 slots a core busy. The
# queries sleep, so whatever else the machine does moves the curve little; a query that computes loses its core to it.
MOST_CORES = 8  # beyond them one worker and one load generator have enough to do
MS, RATE_PER_CORE, USERS_PER_CORE = 50.0, 60, 6  # all users at once could ask for twice the rate
SIZES_PER_CORE = (1, 2, 4, 8)


class Command(BaseCommand):
    """Each step says what it does before it takes time."""

    help = "See in two minutes what a sweep finds: this pool beside django-db-geventpool, and where to look at it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--sizes", help="MAX_CONNS to try (default: 1, 2, 4 and 8 for each core)")
        parser.add_argument("--duration", type=float, default=2.0, help="seconds of a trial (default %(default)s)")
        parser.add_argument(
            "--repeats", type=int, default=2, help="trials of each stack and size (default %(default)s)"
        )

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Django's own, which begins with checks. However it ends, nothing stays running."""
        try:
            return super().execute(*args, **options)
        finally:
            with deaf():
                leave_nothing_running()

    def handle(self, *args: Any, **options: Any) -> None:
        if not hasattr(settings, "EMBEDDED"):
            raise CommandError(
                "The demo is of pooldemo's own site, in a checkout of it. Here: python manage.py sweep --url /",
                returncode=2,
            )
        measured = {name: options[name] for name in ("sizes", "duration", "repeats") if options[name] is not None}
        code = 0
        try:
            self.say("1/3  Making the tables")
            with settings.EMBEDDED.turn() if settings.EMBEDDED else nullcontext():  # gunicorn's start makes them too
                call_command("migrate", verbosity=0, interactive=False)
            before = records.latest()
            plan = load(min(cpus(), MOST_CORES)) | measured
            self.say(
                f"2/3  How many connections do {plan['arrivals']} requests/s need that query PostgreSQL for {MS:g} ms "
                "each?"
            )
            code = self.sweep(plan)
            if code != INTERRUPTED and (undecided := needs_repeats(before)):
                self.say(f"\nNobody can tell yet: {MORE_MINUTES:g} more minute for what decides\n")
                code = self.sweep({"resume": undecided.pk, "until_sure": MORE_MINUTES})
            if code != INTERRUPTED:
                self.show(before)
        except KeyboardInterrupt:
            code = INTERRUPTED
        if code == INTERRUPTED:
            self.stderr.write("interrupted; `make demo` begins again, what was measured is kept")
            raise SystemExit(INTERRUPTED)

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()  # the sweep writes to the same stream past this wrapper

    def sweep(self, plan: dict[str, Any]) -> int:
        """The sweep's exit code. A verdict of `invalid` is a result too: it says what to do on so busy a machine."""
        try:
            call_command("sweep", **plan, html=str(REPORT))
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    def show(self, before: models.Sweep | None) -> None:
        """The curve, what was opened, what to use, and the way into the admin."""
        sweep = records.latest()
        if sweep is None or sweep == before:
            return
        self.say("\n" + "\n".join(chart(sweep)) + "\n")
        for stack in sweep.stacks:
            self.say(opened(stack, sweep))
        Console(file=sys.stdout).print(panel(*answer(sweep)))
        page = reverse("admin:pooldemo_sweep_change", args=[sweep.pk])
        self.say(f"3/3  The picture: {REPORT.relative_to(ROOT)}, a page to open in a browser")
        self.say(f"     and in the admin: make run, then {ADDRESS}{page}")
        self.say(f"     login {self.login()}")
        self.say(
            "\nGo on:  make run             the site with its workloads, on this pool"
            "\n        make sweep           a longer sweep, your sizes: make sweep ARGS='--users 64 --sizes 8,16,32,64'"
            "\n        . .venv/bin/activate     in each new shell, before python manage.py, gunicorn or locust"
            "\n        docs/moving-from-geventpool.md, docs/options.md   the pool in a project of yours"
        )

    def login(self) -> str:
        """The admin's name and password. A user who is there keeps the password of then, which nobody can read back."""
        users = get_user_model().objects
        if users.filter(**{get_user_model().USERNAME_FIELD: USER}).exists():
            return f"{USER}, password as first shown (forgotten: .venv/bin/python manage.py changepassword {USER})"
        password = secrets.token_urlsafe(12)
        users.create_superuser(USER, password=password)
        return f"{USER}  password {password}"


def needs_repeats(before: models.Sweep | None) -> models.Sweep | None:
    """The sweep that has been measured since, if more repeats would decide its first verdict."""
    sweep = records.latest()
    if sweep is None or sweep == before or sweep.verdicts[0]["shape"] != "invalid":
        return None
    return sweep if sweep.verdicts[0].get("needs", "").startswith("--repeats") else None


def load(cores: int) -> dict[str, Any]:
    """The sweep's options on a machine with so many cores."""
    return {
        "stack": "pooldemo,geventpool",
        "workload": "slow",
        "ms": MS,
        "arrivals": str(RATE_PER_CORE * cores),
        "spacing": "even",
        "users": USERS_PER_CORE * cores,
        "sizes": ",".join(str(each * cores) for each in SIZES_PER_CORE),
        "warmup": 0.5,
    }


def answer(sweep: models.Sweep) -> tuple[str, str]:
    """What to use, and why; or that nobody can tell, what disturbed the sweep, and what to type."""
    verdict = sweep.verdicts[0]
    if verdict["shape"] != "invalid" and verdict["max_conns"]:
        return f"Use MAX_CONNS={verdict['max_conns']}", verdict["because"]
    disturbed = [each["cause"] for each in verdict["warnings"] if each["code"] in DISTURBED]
    needs = verdict.get("needs", "")
    lines = [verdict["because"], *(f"What disturbed it: {cause}." for cause in disturbed)]
    command = f"make demo ARGS='{needs}'" if needs.startswith("--sizes") else "make demo"
    lines.append(f"Type when the machine is quieter: {command}")
    if needs.startswith("--repeats"):
        lines.append(f"Or add repeats now, for up to 20 minutes: make sweep ARGS='--resume {sweep.pk} --until-sure 20'")
    return "No answer this time", "\n".join(lines)


def panel(title: str, why: str) -> Panel:
    """The answer, in a frame."""
    return Panel(Text(f"{title}\n\n", style="bold").append(why, style="not bold"), padding=(1, 2))


def chart(sweep: models.Sweep) -> list[str]:
    """A bar for each stack and size: requests a second, and how many connections PostgreSQL saw."""
    ran = list(sweep.trials.filter(error=""))
    found = {(each.stack, each.size): each for each in sizes_of(records.result(sweep))}
    longest = max((each.rps for each in found.values()), default=0.0) or 1.0
    use = sweep.verdicts[0]["max_conns"]
    lines = []
    for stack in sweep.stacks:
        lines.append(f"{stack}, requests/s by MAX_CONNS")
        for size in sweep.sizes:
            own = [trial for trial in ran if (trial.stack, trial.size) == (stack, size)]
            if own:
                seen = found[stack, size]
                peak = max((each.peak_connections for each in own if each.peak_connections is not None), default=None)
                told = "-" if peak is None else str(peak)
                bar = "█" * max(1, round(BAR * seen.rps / longest))
                over = "  more than allowed" if (peak or 0) > size * sweep.workers else ""
                mark = "  <- use this" if stack == sweep.stacks[0] and size == use else ""
                lines.append(f"  {size:>4}  {bar:<{BAR}}  {carried(seen):>5}  opened {told:>3}{over}{mark}")
    return lines


def opened(stack: str, sweep: models.Sweep) -> str:
    """The worst that PostgreSQL saw of a stack: connections open beside connections allowed."""
    seen = [
        (trial.peak_connections, trial.size * sweep.workers)
        for trial in sweep.trials.filter(stack=stack, error="")
        if trial.peak_connections is not None
    ]
    if not seen:
        return f"{stack}: no trial ended, so PostgreSQL saw nothing of it"
    worst, allowed = max(seen, key=lambda pair: pair[0] / pair[1])
    if worst <= allowed:
        return f"{stack} never opened more connections than it was allowed ({counted(len(seen), 'trial')})"
    return f"{stack} opened {worst} connections where {allowed} {'was' if allowed == 1 else 'were'} allowed"
