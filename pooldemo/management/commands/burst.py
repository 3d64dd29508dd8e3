"""`manage.py burst N`: N requests at once, printed as they arrive, the waves counted.

With room for all they come together after one query's time; else in waves of MAX_CONNS. A server of its own is
started unless `--url` names one that runs.
"""

from pooldemo.management.extras import sweep as needed  # noqa: F401  before what it brings

# isort: split

import sys
from argparse import ArgumentParser
from contextlib import ExitStack
from typing import Any, TextIO, cast

from django.core.management.base import BaseCommand, CommandError, OutputWrapper

from pooldemo.demo.burst import Arrival, fire, waves
from pooldemo.site.address import is_address
from pooldemo.site.project import is_own, site
from pooldemo.sweep import plan as planning
from pooldemo.sweep import stacks
from pooldemo.sweep.analyse.statistics import counted
from pooldemo.sweep.facts import Plan
from pooldemo.sweep.measure import process
from pooldemo.sweep.measure.server import Server
from pooldemo.sweep.measure.target import TrialError
from pooldemo.sweep.report.output import Lasting
from pooldemo.sweep.stacks.stack import RUN_FOLDER

MAX_REQUESTS = 2000


class Command(BaseCommand):
    """Starts the server if need be, fires, prints."""

    help = "Send N requests at once and show in which waves the answers come."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("count", type=int, metavar="N", help=f"requests at once, up to {MAX_REQUESTS}")
        parser.add_argument("--url", help="address of a site that runs already (default: start a server)")
        parser.add_argument("--stack", default="pooldemo", help=f"which server to start: {', '.join(stacks.names())}")
        parser.add_argument("--size", type=int, default=20, help="MAX_CONNS of the server (default 20)")
        parser.add_argument("--ms", type=float, default=5000, help="length of the query in milliseconds (default 5000)")

    def handle(self, *, count: int, url: str | None, stack: str, size: int, ms: float, **_: Any) -> None:
        for option, given, low, high in (
            ("N", count, 1, MAX_REQUESTS), ("--size", size, 1, 10_000), ("--ms", ms, 1, planning.MAX_MS),
        ):  # fmt: skip
            if not low <= given <= high:
                raise CommandError(
                    f"{option} {given:g} is out of range: {low:g} to {high:g} are accepted", returncode=2
                )
        if url is not None and not is_address(url, "http"):
            raise CommandError(f"--url {url} is no address: give one as http://127.0.0.1:8000", returncode=2)
        if url is None and not is_own():
            raise CommandError(
                "A burst asks for /slow/, a page of pooldemo's own site: type it in a checkout of that, or give the "
                "--url of such a site. For this project: python manage.py sweep --url /",
                returncode=2,
            )
        self.stdout = OutputWrapper(cast(TextIO, Lasting(cast(TextIO, self.stdout._out))))
        try:
            with ExitStack() as stop:
                failed = self._burst(stop, count, url, stack, size, ms)
        except KeyboardInterrupt:
            sys.exit(130)
        except (ValueError, TrialError, OSError) as error:
            raise CommandError(str(error), returncode=2) from error
        if failed:
            sys.exit(1)

    def _burst(self, stop: ExitStack, count: int, url: str | None, name: str, size: int, ms: float) -> int:
        if url is None:
            stack = stacks.get(name)
            if lacks := stack.missing():
                raise ValueError(lacks)
            for stray in process.clean_up(RUN_FOLDER):
                self.stdout.write(f"stopped what was left running: {stray}")
            ledger = process.Ledger(RUN_FOLDER)
            stop.callback(ledger.close)
            server = stop.enter_context(Server(stack, size, 1, count, site(Plan()), ledger))
            server.wait_ready()
            url = f"http://127.0.0.1:{server.port}"
            self.stdout.write(f"{counted(count, 'request')} of {ms:g} ms at once to {name} with MAX_CONNS={size}")
        else:
            self.stdout.write(f"{counted(count, 'request')} of {ms:g} ms at once to {url}")

        def show(arrival: Arrival) -> None:
            said = arrival.error or str(arrival.status)
            self.stdout.write(f"  request {arrival.number:>4}  after {arrival.after_s:6.2f} s  {said}")
            self.stdout.flush()

        # Each may wait for all the others: in a queue of one slot the last answer comes after N queries.
        timeout_s = 30 + count * ms / 1000
        arrivals = fire(f"{url.rstrip('/')}/slow/?ms={ms:g}", count, timeout_s, show)
        good = [each.after_s for each in arrivals if each.status == 200]
        for number, wave in enumerate(waves(good, ms / 1000), start=1):
            self.stdout.write(f"wave {number}: {wave.count} answers at {wave.first_s:.2f}-{wave.last_s:.2f} s")
        failed = count - len(good)
        self.stdout.write(
            f"{len(good)} answered, {failed} failed, {max(each.after_s for each in arrivals):.2f} s in all"
        )
        return failed
