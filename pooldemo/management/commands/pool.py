"""`manage.py pool`: the pools of the running site in the terminal, once or (`--watch`) every second.

It reads the site's `/pool/`, which takes no slot, and asks PostgreSQL for its own count on a connection past the pool.
`--server` asks PostgreSQL alone, which knows of every site that uses it.
"""

from pooldemo.management.extras import metrics as needed  # noqa: F401  before what it brings

# isort: split

import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError
from django.db import Error
from rich.console import Console
from rich.live import Live
from rich.text import Text

from pooldemo.monitor import server_connections, server_holders
from pooldemo.monitor.server_connections import Look
from pooldemo.monitor.terminal import line, picture, whole_server
from pooldemo.postgresql.unavailable import BETWEEN, unavailable
from pooldemo.postgresql.unpooled import is_postgresql
from pooldemo.site.address import is_address
from pooldemo.site.admission import headers_of
from pooldemo.site.errors import Unfit, Unreachable
from pooldemo.site.pools import look, settled

URL = "http://127.0.0.1:8000"
NOT_RUNNING = 2
FULL = (
    "PostgreSQL takes no more connections, and this look needs one. It keeps some for superusers, and since version 16 "
    "for members of pg_use_reserved_connections: ask as such a role"
)
FULL_BETWEEN = "PgBouncer takes no more clients, and this look is one: raise its max_client_conn, or ask past PgBouncer"


class Command(BaseCommand):
    """Asks the site and prints. Exit code 0; 2: the site is not running."""

    help = (
        "Show the pools of the running site: Active, Idle, Pending and Max of each worker, and who holds a connection."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--url", default=URL, help=f"address of the running site (default {URL})")
        parser.add_argument(
            "--header", action="append", metavar="'NAME: VALUE'", help="a header to send to it; repeat it for more"
        )
        parser.add_argument(
            "--server",
            action="store_true",
            help="ask PostgreSQL instead who holds its connections, for every site that uses it",
        )
        parser.add_argument("--watch", action="store_true", help="look again every --interval, until Ctrl-C")
        parser.add_argument("--interval", type=float, default=1.0, help="seconds between two looks (default 1)")

    def handle(
        self, *, url: str, header: list[str] | None, server: bool, watch: bool, interval: float, **_: Any
    ) -> None:
        if not is_address(url, "http"):
            raise CommandError(f"--url {url} is no address: give one as {URL}", returncode=2)
        if not 0.1 <= interval <= 3600:
            raise CommandError(f"--interval {interval:g} is out of range: 0.1 to 3600 s are accepted", returncode=2)
        comparer = server_connections.Comparer()
        console = Console(
            file=cast(IO[str], self.stdout._out), highlight=False, markup=False, emoji=False,
            soft_wrap=not sys.stdout.isatty(),
        )  # fmt: skip
        try:
            headers = headers_of(header or ())
            if server:
                self._server(console, watch, interval)
            elif not watch:
                console.print(picture(settled(url, comparer, headers)))
            elif console.is_terminal:
                self._watch(console, interval, lambda: look(url, comparer, headers))
            else:
                self._log(console, interval, lambda: look(url, comparer, headers))
        except (Unfit, Unreachable) as error:
            raise CommandError(str(error), returncode=NOT_RUNNING) from error
        except (KeyboardInterrupt, BrokenPipeError):
            return

    def _server(self, console: Console, watch: bool, interval_s: float) -> None:
        """Who holds the server's connections, once or again and again."""
        if not is_postgresql():
            raise Unreachable(f"{server_connections.NO_POSTGRESQL}: there is no server to ask")
        while True:
            try:
                console.print(whole_server(server_holders.look()))
            except Error as error:
                reason = unavailable(error)
                is_full = reason is not None and reason.kind == "TooManyConnections"
                between = FULL_BETWEEN if BETWEEN.search(str(error)) else FULL
                said = between if is_full else "PostgreSQL does not answer"
                raise Unreachable(f"{said}: {str(error).strip()}") from error
            if not watch:
                return
            time.sleep(interval_s)
            console.print()

    def _watch(self, console: Console, interval_s: float, look_at: Callable[[], Look]) -> None:
        """The picture in place; a site that goes away meanwhile is waited for."""
        with Live(picture(look_at()), console=console, auto_refresh=False, screen=False) as live:
            while True:
                time.sleep(interval_s)
                try:
                    live.update(picture(look_at()), refresh=True)
                except Unreachable as error:
                    live.update(Text(str(error), style="red"), refresh=True)

    def _log(self, console: Console, interval_s: float, look_at: Callable[[], Look]) -> None:
        """A line for each look, for files and pipes."""
        while True:
            console.print(line(look_at()))
            time.sleep(interval_s)
