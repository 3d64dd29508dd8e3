"""Never more than MAX_CONNS, as the server counts: while connecting is slow, stopped or given up, and with a server
that notices late that its client has gone. And nobody waits for another's login.

CAP_ROUNDS says how often each of the clients asks (3).
"""

import contextlib
import os
import random
import threading
from collections.abc import Callable
from typing import Any

import gevent
import psutil
from django.db import Error as DjangoError
from django.db import connections

from .elsewhere import patched, threaded
from .servers import ROLE, Lookout, Server, own_server, versions
from .site import Database, Site

ROUNDS = int(os.environ.get("CAP_ROUNDS") or 3)
SIZE, CLIENTS = 2, 6
SLOW_LOGIN = "-c post_auth_delay=1"  # s; the server does not look at its client meanwhile
Runner = Callable[[list[Callable[[], None]]], None]
LATE_SQL = "ALTER ROLE pooldemo SET client_connection_check_interval = '10s'"


def asks(db: Database, seed: int, limits: bool, longest_s: float) -> None:
    """One client: queries, each stopped somewhere."""
    chance = random.Random(seed)
    for _ in range(ROUNDS):
        with contextlib.suppress(DjangoError, gevent.Timeout):
            with gevent.Timeout(chance.choice([0.05, 0.3, 0.9, 1.1, 2])) if limits else contextlib.nullcontext():
                db.ask("SELECT pg_sleep(%s)", chance.choice([0, 0.01, 0.5, longest_s]))
        with contextlib.suppress(Exception):
            db.connection.close()


def storm(site: Site, server: Server, run: Runner, limits: bool, longest_s: float = 1.5, **options: Any) -> None:
    """Clients on a socket and on TCP, each with a pool of their own. Afterwards every slot works."""
    dbs = [site.database(server.config(tcp), MAX_CONNS=SIZE, **options) for tcp in (False, True)]
    with Lookout(server) as lookout:
        run([lambda db=db, seed=seed: asks(db, seed, limits, longest_s) for db in dbs for seed in range(CLIENTS)])  # type: ignore[misc]
        for db in dbs:
            db.pool.drain()
    assert lookout.looks > 10, lookout.looks
    assert all(0 < count <= SIZE for count in lookout.processes.values()), f"{server}: {lookout.processes}"
    assert lookout.most <= 2 * SIZE, f"{server}: {lookout.most}"


def all_slots_work(db: Database, size: int) -> bool:
    with contextlib.suppress(DjangoError):
        return len(db.fill(size)) == size
    return False


def greenlets(bodies: list[Callable[[], None]]) -> None:
    """Run them; some are killed on the way, and come again."""
    chance = random.Random(1)
    running = [gevent.spawn(body) for body in bodies]
    for index in range(0, len(running), 3):
        gevent.sleep(chance.uniform(0, 0.4))
        running[index].kill(block=False)
        running.append(gevent.spawn(bodies[index]))
    gevent.joinall(running, raise_error=True)


def threads(bodies: list[Callable[[], None]]) -> None:
    def run(body: Callable[[], None]) -> None:
        try:
            body()
        finally:
            connections.close_all()

    running = [threading.Thread(target=run, args=[body]) for body in bodies]
    for each in running:
        each.start()
    for each in running:
        each.join()


@patched
def test_the_server_never_counts_more_while_logins_are_slow_and_stopped(site: Site) -> None:
    servers = [own_server(site, programs) for programs in versions(site)]
    storms = [
        gevent.spawn(storm, site, server, greenlets, True, POOL_TIMEOUT=0.4, options=SLOW_LOGIN) for server in servers
    ]
    gevent.joinall(storms, raise_error=True)


@patched
def test_the_server_never_counts_more_when_it_notices_late(site: Site) -> None:
    """And connects at once: what is stopped is queries."""
    servers = [own_server(site, programs) for programs in versions(site)]
    for server in servers:
        server.psql(LATE_SQL)
    storms = [gevent.spawn(storm, site, server, greenlets, True, 4, POOL_TIMEOUT=3) for server in servers]
    gevent.joinall(storms, raise_error=True)


@threaded
def test_the_server_never_counts_more_while_logins_are_slow_under_threads(site: Site) -> None:
    for programs in versions(site):
        server = own_server(site, programs)
        storm(site, server, threads, False, POOL_TIMEOUT=0.4, options=SLOW_LOGIN)


@patched
def test_nobody_waits_for_another_slots_login(site: Site) -> None:
    """Somebody is stopped who logs in slowly; a connection that is free serves the next meanwhile."""
    server = own_server(site)

    def served_meanwhile() -> Database | None:
        """A login that is over before anybody can look, as on a busy machine, tells nothing."""
        db = site.database(server.config(), MAX_CONNS=SIZE, options="-c post_auth_delay=2")
        own = db.ask()
        with db.request() as cursor:
            cursor.execute("SELECT 1")
            logs_in = gevent.spawn(db.ask)
            site.wait_until(lambda: logins(server))
            logs_in.kill()
        if db.ask() == own and logins(server):
            return db
        db.pool.close()
        return None

    db: Database = site.wait_until(served_meanwhile)
    with Lookout(server) as lookout:
        site.wait_until(lambda: all_slots_work(db, SIZE))
    assert lookout.most <= SIZE


def logins(server: Server) -> list[str]:
    """The names of its processes that log somebody in."""
    names = []
    for process in psutil.Process(server.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            names.append(" ".join(process.cmdline()).strip())
    return [name for name in names if name.startswith(f"postgres: {ROLE} ") and name.endswith(" startup")]
