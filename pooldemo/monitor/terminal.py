"""What the pools look like in a terminal: tables, or a line for each look."""

import time

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pooldemo.monitor import server_connections, server_holders
from pooldemo.monitor.overview import NO_VIEW, Pool
from pooldemo.monitor.server_connections import Look
from pooldemo.sweep.analyse.statistics import digits

HOLDERS = 8
WHICH_VIEW = "Which view it is, a middleware knows: add 'pooldemo.postgresql.UnavailableMiddleware' to MIDDLEWARE."
HIDDEN = "Of {} of them PostgreSQL hides what they do: GRANT pg_read_all_stats to the role that asks."


def picture(seen: Look) -> Group:
    """Tables of workers, of the last minute, of holders and of views."""
    pools, compared = seen
    workers = _table("worker", "Active", "Idle", "Pending", "Max", "timeouts", "errors")
    for pool in pools.workers:
        workers.add_row(*_cells(str(pool.pid) + (f" (silent for {pool.age} s)" if pool.stale else ""), pool))
    workers.add_section()
    workers.add_row(*_cells("sum", pools.sum), style="bold")
    times = _table("last minute, ms", "p50", "p95", "p99", "how many")
    for each in pools.times:
        times.add_row(each.name, *each.percentiles, str(each.count))
    holders = _table("held, s", "worker", "greenlet", "statement")
    for holder in pools.holders[:HOLDERS]:
        held = (_plain(str(holder[name])) for name in ("pid", "name", "statement"))
        holders.add_row(digits(holder["held_s"]), *held)
    views = _table("view", "held, s", "without work", "refused")
    for view in pools.views:
        views.add_row(_plain(view.name), view.held, f"{view.idle} s, {view.idle_percent}%", view.refused)
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
        who = map(_plain, (each.application or "-", host, each.role, each.database))
        table.add_row(*who, *states, str(each.total))
    room = server.room
    said = f"{room.taken} of {room.of_what}: {room.left} are left"
    hidden = HIDDEN.format(server.hidden) if server.hidden else ""
    return Group(table, "", Text(said, style="" if room.left else "red"), Text(hidden, style="dim"))


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


def _plain(text: str) -> str:
    """Without what a terminal obeys: others choose their names, and what they ask for."""
    return "".join(each if each.isprintable() else "?" for each in text)


def _cells(name: str, pool: Pool) -> tuple[str, ...]:
    return (name, *map(str, (pool.active, pool.idle, pool.pending, pool.max, pool.timeouts, pool.errors)))


def _counted(seen: server_connections.Comparison) -> Text:
    if seen.counted.connections is None:
        return Text(f"PostgreSQL does not answer: {seen.counted.trouble}", style="red")
    text = Text(f"PostgreSQL counts {seen.counted.connections} of these connections, the pools {seen.told}")
    if seen.counted.between:
        text.append(f"  {server_connections.BETWEEN}", style="dim")
    elif seen.differs:
        text.append(f"  {seen.difference}", style="yellow")
    elif seen.moves:
        text.append(f"  looked at up to {seen.apart} s apart", style="dim")
    return text
