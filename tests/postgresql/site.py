"""What a test elsewhere talks to: databases of one ENGINE, each an alias with a pool of its own, and PostgreSQL's view.

Configures Django by itself. Without gevent's patch the same names work on threads.
"""

import contextlib
import itertools
import os
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from own_folders import folder_of_servers

from pooldemo.embedded import EmbeddedPostgres
from project.environment import database as parsed

from .elsewhere import OURS, STOCK

OBSERVER = "django.db.backends.postgresql"
MODE = os.environ.get("POOLDEMO_TESTS_POOL_MODE")  # "transaction": all these tests in that mode, but for what differs
STOCK_KNOWS = ("MAX_CONNS", "REUSE_CONNS")


def address(url: str) -> dict[str, Any]:
    """What DATABASES says of where the server is; no options of a pool."""
    config = parsed(url, {})
    return config | {"OPTIONS": {name: value for name, value in config["OPTIONS"].items() if not name.isupper()}}


class TimeLimit(BaseException):
    """The test hung. No Exception, so that nothing under test takes it for one of its own."""


def outcome_of(body: Callable[["Site"], None], site: "Site", limit_s: float) -> str:
    """The failure of `body(site)` as text with local values, empty when there was none."""
    try:
        with time_limit(limit_s, TimeLimit):
            body(site)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return "".join(traceback.TracebackException.from_exception(error, capture_locals=True, limit=40).format())
    finally:
        with time_limit(limit_s, TimeLimit):
            site.end()
    return ""


@contextlib.contextmanager
def time_limit(seconds: float, error: type[BaseException]) -> Iterator[None]:
    from pooldemo.postgresql import green

    if not green.is_patched():
        yield
        return
    import gevent

    with gevent.Timeout(seconds, error):
        yield


class Database:
    """One alias of the ENGINE under test: `MAX_CONNS` and the like, and everything Django does with it."""

    def __init__(self, site: "Site", alias: str) -> None:
        self.site, self.alias = site, alias

    @property
    def connection(self) -> BaseDatabaseWrapper:
        """The calling greenlet's wrapper."""
        return connections[self.alias]

    @property
    def pool(self) -> Any:
        return self.connection.pool  # type: ignore[attr-defined]

    @contextlib.contextmanager
    def request(self) -> Iterator[Any]:
        """A cursor, as a view has it; at the end what Django does at a request's end."""
        try:
            with self.connection.cursor() as cursor:
                yield cursor
        finally:
            self.end_request()

    def end_request(self) -> None:
        self.connection.close_if_unusable_or_obsolete()

    def ask(self, sql: str = "SELECT pg_backend_pid()", *params: Any) -> Any:
        """The one value that a request of its own gets."""
        with self.request() as cursor:
            cursor.execute(sql, params or None)
            return cursor.fetchone()[0] if cursor.description else None

    def reach(self) -> "Database":
        """Connect once, however long that takes: a short POOL_TIMEOUT is for what the test does then."""

        def reached() -> Any:
            with contextlib.suppress(DatabaseError):
                return self.ask()

        self.site.wait_until(reached)
        return self

    def pids(self) -> set[int]:
        """The server's processes that serve this alias."""
        rows = self.site.observe("SELECT pid FROM pg_stat_activity WHERE application_name = %s", self.alias)
        return {pid for (pid,) in rows}

    def fill(self, number: int) -> set[int]:
        """Open that many connections and leave them idle. Returns their processes."""
        with contextlib.ExitStack() as stack:
            return {self._hold(stack) for _ in range(number)}

    def _hold(self, stack: contextlib.ExitStack) -> int:
        other = connections.create_connection(self.alias)
        stack.callback(other.close)
        with other.cursor() as cursor:
            assert other.connection is not None  # who asks for it keeps it, in transaction mode too
            cursor.execute("SELECT pg_backend_pid()")
            pid: int = cursor.fetchone()[0]
            return pid


class Site:
    """The databases of one test process."""

    def __init__(self, url: str, engine: str) -> None:
        self.url, self.engine = url, engine
        self._names = map(f"t{os.getpid()}_{{}}".format, itertools.count())
        self._ends, self._lasting = contextlib.ExitStack(), contextlib.ExitStack()  # of one test, of the process
        self._own_server: EmbeddedPostgres | None = None
        if engine == STOCK:
            from psycogreen.gevent import patch_psycopg

            patch_psycopg()
        settings.configure(
            DATABASES={"default": {}, "observer": address(url) | {"ENGINE": OBSERVER}}, USE_TZ=True, TIME_ZONE="UTC"
        )
        import django

        django.setup()

    def database(self, config: dict[str, Any] | None = None, /, **options: Any) -> Database:
        """A new alias: `options` are its OPTIONS, `config` its other settings."""
        alias = next(self._names)
        if self.engine == STOCK:
            options = {name: value for name, value in options.items() if name in STOCK_KNOWS or not name.isupper()}
        elif MODE and options.get("pool") is not False:
            options = {"POOL_MODE": MODE, **options}
        config = {**address(self.url), **(config or {}), "ENGINE": self.engine}
        given = connections.settings
        given[alias] = config | {"OPTIONS": {**config["OPTIONS"], "application_name": alias, **options}}
        connections.settings = connections.configure_settings(given)
        return Database(self, alias)

    def name(self, word: str) -> str:
        """A name for a table and the like that no other run of these tests has."""
        return f"{word}_{os.getpid()}"

    def gate(self) -> Any:
        """A Gate before PostgreSQL, closed when the test ends. Only under gevent."""
        from .gate import Gate

        config = address(self.url)
        gate = Gate(config["HOST"] or "127.0.0.1", int(config["PORT"] or 5432))
        self.finally_do(gate.close)
        return gate

    def behind(self, gate: Any, **options: Any) -> Database:
        """A new alias that reaches PostgreSQL through the gate."""
        return self.database(gate.config(), sslmode="disable", gssencmode="disable", **options)

    def own_server(self) -> EmbeddedPostgres:
        """A PostgreSQL for this process alone, which a test may stop and change; made by the first who asks."""
        if self._own_server is None:
            folder = self._lasting.enter_context(folder_of_servers("pooldemo-test-"))
            self._own_server = EmbeddedPostgres(folder / ".local", tell=lambda sentence: None)
        self._own_server.ensure()
        return self._own_server

    def observe(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        """The rows of a query on a connection past every pool."""
        observer = connections["observer"]
        try:
            with observer.cursor() as cursor:
                cursor.execute(sql, params or None)
                return list(cursor.fetchall())
        finally:
            observer.close()

    def terminate(self, *pids: int) -> None:
        """End these processes of the server; blocks until they are gone."""
        self.observe("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", list(pids))
        self.wait_until(lambda: not self.observe("SELECT 1 FROM pg_stat_activity WHERE pid = ANY(%s)", list(pids)))

    def wait_until(self, what: Callable[[], Any]) -> Any:
        """Wait until `what` gives something; the test's time limit ends it."""
        while not (result := what()):
            time.sleep(0.005)
        return result

    def finally_do(self, callback: Callable[[], Any]) -> None:
        """Do this when the test has ended."""
        self._ends.callback(callback)

    def end(self) -> None:
        """After each test: close what it opened."""
        with contextlib.suppress(Exception):
            self._ends.close()
        for alias in list(connections.settings):
            if alias not in ("default", "observer"):
                wrapper = getattr(connections._connections, alias, None)  # type: ignore[attr-defined]
                if wrapper is not None:
                    with contextlib.suppress(Exception):
                        wrapper.close()
        if self.engine == OURS:
            from pooldemo.postgresql import pools

            for pool in pools():
                pool.close()

    def close(self) -> None:
        """After the last test."""
        self._lasting.close()
