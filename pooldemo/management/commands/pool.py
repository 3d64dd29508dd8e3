"""`manage.py pool`: the pools of the running site in the terminal, once or (`--watch`) every second.

It reads the site's `/pool/`, which takes no slot, and asks PostgreSQL for its own count on a connection past the pool.
Whose site answers is compared first: at the usual address it may be another project's. `--server` asks PostgreSQL
alone, which knows of every site that uses it.
"""

from pooldemo.management.extras import metrics as needed  # noqa: F401  before what it brings

# isort: split

import http.client
import json
import sys
import time
from argparse import ArgumentParser
from contextlib import closing
from typing import IO, Any, cast
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import Error
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pooldemo.management.site import is_address
from pooldemo.monitor import server_connections, server_holders, views
from pooldemo.monitor.overview import NO_VIEW, Overview, Pool, overview

URL = "http://127.0.0.1:8000"
PATIENCE_S = 5.0
NOT_RUNNING = 2
HOLDERS = 8
WHICH_VIEW = "Which view it is, a middleware knows: add 'pooldemo.postgresql.UnavailableMiddleware' to MIDDLEWARE."
HIDDEN = "Of {} of them PostgreSQL hides what they do: GRANT pg_read_all_stats to the role that asks."

Look = tuple[Overview, server_connections.Comparison]


class Unreachable(Exception):
    """The site does not answer, what answers is not this site, or this project does not tell of its pools."""


class Command(BaseCommand):
    """Asks the site and prints. Exit code 0; 2: the site is not running."""

    help = (
        "Show the pools of the running site: Active, Idle, Pending and Max of each worker, and who holds a connection."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--url", default=URL, help=f"of the running site (default {URL})")
        parser.add_argument(
            "--server", action="store_true", help="ask PostgreSQL instead, who holds its connections, of any site"
        )
        parser.add_argument("--watch", action="store_true", help="again every --interval, until Ctrl-C")
        parser.add_argument("--interval", type=float, default=1.0, help="seconds between two looks (default 1)")

    def handle(self, *, url: str, server: bool, watch: bool, interval: float, **_: Any) -> None:
        if not is_address(url, "http"):
            raise CommandError(f"--url {url} is no address: give one as {URL}", returncode=2)
        if not 0.1 <= interval <= 3600:
            raise CommandError(f"--interval {interval:g} is out of range: 0.1 to 3600 s are accepted", returncode=2)
        comparer = server_connections.Comparer()
        console = Console(file=cast(IO[str], self.stdout._out), highlight=False, soft_wrap=not sys.stdout.isatty())
        try:
            if server:
                self._server(console, watch, interval)
            elif not watch:
                console.print(picture(settled(url, comparer)))
            elif console.is_terminal:
                self._watch(console, url, interval, comparer)
            else:
                self._log(console, url, interval, comparer)
        except Unreachable as error:
            raise CommandError(str(error), returncode=NOT_RUNNING) from error
        except (KeyboardInterrupt, BrokenPipeError):
            return

    def _server(self, console: Console, watch: bool, interval_s: float) -> None:
        """Who holds the server's connections, once or again and again."""
        while True:
            try:
                console.print(whole_server(server_holders.look()))
            except Error as error:
                raise Unreachable(f"PostgreSQL does not answer: {str(error).strip()}") from error
            if not watch:
                return
            time.sleep(interval_s)
            console.print()

    def _watch(self, console: Console, url: str, interval_s: float, comparer: server_connections.Comparer) -> None:
        """The picture in place; a site that goes away meanwhile is waited for."""
        with Live(picture(look(url, comparer)), console=console, auto_refresh=False, screen=False) as live:
            while True:
                time.sleep(interval_s)
                try:
                    live.update(picture(look(url, comparer)), refresh=True)
                except Unreachable as error:
                    live.update(Text(str(error), style="red"), refresh=True)

    def _log(self, console: Console, url: str, interval_s: float, comparer: server_connections.Comparer) -> None:
        """A line for each look, for files and pipes."""
        while True:
            console.print(line(look(url, comparer)))
            time.sleep(interval_s)


def settled(url: str, comparer: server_connections.Comparer) -> Look:
    """Look until the two numbers agree or differ; after PATIENCE_S as they are. Raises Unreachable."""
    deadline_s = time.monotonic() + PATIENCE_S
    while (seen := look(url, comparer))[1].moves and time.monotonic() < deadline_s:
        time.sleep(0.2)
    return seen


def look(url: str, comparer: server_connections.Comparer) -> Look:
    """One look. Raises Unreachable; blocks for 7 s at most."""
    parts = urlsplit(url)
    if (address := views.pool_address()) is None:
        raise Unreachable(
            "This project does not tell of its pools: add path('', include('pooldemo.urls')) to the urlpatterns of "
            f"{settings.ROOT_URLCONF}, and start its site anew."
        )
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=PATIENCE_S)
    try:
        with closing(connection):
            connection.request("GET", parts.path.rstrip("/") + address, headers=views.pass_headers())
            response = connection.getresponse()
            text = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(
            f"The site does not answer at {url} ({error}){_stopped()}. Start it with "
            f"`gunicorn -k gevent {_wsgi()}`, or name another address with --url."
        ) from error
    try:
        answer = json.loads(text)
        pools, mark = overview(answer), answer.get("site")
    except (ValueError, KeyError, TypeError) as error:
        raise Unreachable(
            f"{url}{address} answers {response.status}, but not like this site: give this site's --url"
            + (f", by a name of its ALLOWED_HOSTS ({', '.join(settings.ALLOWED_HOSTS)})" * (response.status == 400))
        ) from error
    if mark != views.site_mark():
        raise Unreachable(
            f"{url} is not the site of this project: its SECRET_KEY, ROOT_URLCONF or database is another. Give this "
            "site's --url, or start it anew if it runs on settings of before."
        )
    return pools, comparer.compare(server_connections.take(pools.application_name), pools)


def _wsgi() -> str:
    """What gunicorn serves of this project."""
    return str(settings.WSGI_APPLICATION or "project.wsgi.application").rpartition(".")[0]


def _stopped() -> str:
    """That the embedded PostgreSQL does not run either, where the site has one: it is not started to be looked at."""
    server = getattr(settings, "EMBEDDED", None)
    return "" if server is None or server.status().running else ", and its PostgreSQL is stopped"


def picture(seen: Look) -> Group:
    """Tables of workers, of the last minute, of holders and of views."""
    pools, compared = seen
    workers = _table("worker", "Active", "Idle", "Pending", "Max", "timeouts", "errors")
    for pool in pools.workers:
        workers.add_row(*_cells(str(pool.pid) + (f" (silent for {pool.age_s:.0f} s)" if pool.stale else ""), pool))
    workers.add_section()
    workers.add_row(*_cells("sum", pools.sum), style="bold")
    times = _table("last minute, ms", "p50", "p95", "p99", "how many")
    for each in pools.times:
        times.add_row(each.name, *each.percentiles, str(each.count))
    holders = _table("held, s", "worker", "greenlet", "statement")
    for holder in pools.holders[:HOLDERS]:
        held = (str(holder[name]) for name in ("pid", "name", "statement"))
        holders.add_row(f"{holder['held_s']:.1f}", *held)
    views = _table("view", "held, s", "without work", "refused")
    for view in pools.views:
        views.add_row(view.name, f"{view.held_s:.1f}", f"{view.idle_s:.1f} s, {view.idle_percent}%", view.refused)
    now = holders if pools.holders else "Nobody holds one."
    nameless = [view.name for view in pools.views] == [NO_VIEW]
    return Group(
        workers, "", _counted(compared), "", times, "", now, "",
        views if pools.views else "", Text(WHICH_VIEW, style="dim") if nameless else "",
    )  # fmt: skip


def whole_server(server: server_holders.Server) -> Group:
    """A table of holders, and how many more the server takes."""
    table = _table("application", "host", "role", "database", "active", "idle", "in transaction", "all")
    for name in (1, 2, 3):
        table.columns[name].justify = "left"
    for each in server.holders:
        states = ("?",) * 3 if each.hidden else map(str, (each.active, each.idle, each.in_transaction))
        host = "?" if each.hidden else each.host
        table.add_row(each.application or "-", host, each.role, each.database, *states, str(each.total))
    said = (
        f"{server.total} of max_connections - reserved = {server.max_connections} - {server.reserved}: "
        f"{server.left} are left"
    )
    hidden = HIDDEN.format(server.hidden) if server.hidden else ""
    return Group(table, "", Text(said, style="" if server.left else "red"), Text(hidden, style="dim"))


def line(seen: Look) -> str:
    """All of it that fits on one line."""
    pools, compared = seen
    counted = compared.counted.connections
    total, wait = pools.sum, pools.times[0].percentiles
    return (
        f"{time.strftime('%H:%M:%S')} active {total.active} idle {total.idle} pending {total.pending} max {total.max} "
        f"wait p50 {wait[0]} p99 {wait[2]} ms timeouts {total.timeouts} "
        + ("postgresql down" if counted is None else f"postgresql {counted}")
    )


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="left" if name in ("greenlet", "statement", "refused") else "right")
    return table


def _cells(name: str, pool: Pool) -> tuple[str, ...]:
    return (name, *map(str, (pool.active, pool.idle, pool.pending, pool.max, pool.timeouts, pool.errors)))


def _counted(seen: server_connections.Comparison) -> Text:
    if seen.counted.connections is None:
        return Text(f"PostgreSQL does not answer: {seen.counted.trouble}", style="red")
    text = Text(f"PostgreSQL counts {seen.counted.connections} of these connections, the pools {seen.told}")
    if seen.differs:
        text.append("  they differ", style="yellow")
    elif seen.moves:
        text.append(f"  looked at up to {seen.apart_s:.1f} s apart", style="dim")
    return text
