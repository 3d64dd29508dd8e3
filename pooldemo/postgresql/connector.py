"""How the pool opens, looks at, cleans and closes a PostgreSQL connection, as Django's wrapper would have it."""

import math
import os
import random
import re
import time
import traceback
from typing import Any, Protocol, Self

from pooldemo.pool import Options

from . import driver, green
from .addresses import in_turn, looked_up
from .driver import PostgresSession as Session
from .limits import unlimited
from .unavailable import FULL, REFUSED
from .usage import listeners

# Ends a query on the server soon after its client is gone (PostgreSQL 14 and later, where the platform can). Its slot
# waits that long for the next connection: hence a tenth of a second, whatever role and server say; "options" of OPTIONS
# may say otherwise. A look at the socket costs next to nothing.
_NOTICE_DISCONNECT = "client_connection_check_interval"
_NOTICE_DISCONNECT_SQL = (
    f"SELECT set_config('{_NOTICE_DISCONNECT}', '100', false) WHERE current_setting('{_NOTICE_DISCONNECT}', true) <> ''"
)
_UNDO_LIMIT_S = 5.0  # for a rollback or a reset at checkin; a server that takes longer loses the connection instead

# FULL passes: others' connections end, or our own come back. These pass by themselves as well ...
_BUSY = re.compile(
    r"the database system is (?:starting up|shutting down|in recovery mode|not (?:yet )?accepting connections)"
    r"|Resource temporarily unavailable"  # the line of connects of a unix socket is full
)
# ... and these do when the server has answered before: it is being restarted, or the network is.
_AWAY = re.compile(
    r"Connection refused|No such file or directory|server closed the connection unexpectedly|took longer than"
    r"|terminating connection|Connection reset|timeout expired|could not receive data|timed out"
    r"|Network is unreachable|No route to host|Temporary failure in name resolution"
    r"|session is read-only|server is in hot standby mode"  # target_session_attrs: a standby that may be promoted
)


class Wrapper(Protocol):
    """What is asked of Django's wrapper."""

    alias: str
    Database: Any
    settings_dict: dict[str, Any]
    isolation_level: Any

    def without_pool(self) -> Self: ...
    def get_connection_params(self) -> dict[str, Any]: ...
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any: ...
    def configure(self, connection: Any) -> None: ...


def _connect_timeout(given: Any) -> float:
    """Seconds, as libpq takes them: without a limit from 0 downwards. Raises the driver's error for what is none."""
    try:
        seconds = float(given)
    except ValueError:
        raise driver.OperationalError(f"connect_timeout={given!r} is not accepted: give seconds") from None
    return seconds if seconds > 0 else math.inf


class PostgresConnector:
    """Connections as `wrapper` would make them for itself: its parameters, its time zone, its role.

    `wrapper` must not pool (`pool: False`); it is used for nothing else and never has a connection of its own.
    """

    errors = (driver.Error,)

    def __init__(self, wrapper: Wrapper, options: Options) -> None:
        self.wrapper = wrapper
        self._setup_sql = options.setup_sql
        self._reset = options.reset
        self._health_check = options.health_check
        self._notices_disconnect = True
        self.isolation_level: Any = None  # of its connections, as Django's wrapper keeps it

    def new(self) -> Session:
        """A connection that is not open yet."""
        return driver.PostgresSession()

    def open(self, session: Session, timeout: float) -> None:
        """Connect and configure, within `timeout` and `connect_timeout` seconds for each address of the server. Blocks.
        Raises the driver's error.

        psycopg2 under plain threads cannot be stopped: there only `connect_timeout` limits it.
        """
        began, wrapper = time.monotonic(), self.wrapper.without_pool()
        given = wrapper.settings_dict["OPTIONS"].get("connect_timeout") or os.environ.get("PGCONNECT_TIMEOUT") or 0
        each = limit = min(_connect_timeout(given), timeout)
        try:
            with green.time_limit(each), unlimited():  # a PASSWORD that is a callable may hang, or a name server
                params = looked_up(wrapper.get_connection_params() | ({"connect_timeout": given} if given else {}))
            limit = each * len(in_turn(params))
            with green.time_limit(limit), unlimited():
                self._connect(wrapper, session, params, each)
                session.raw.autocommit = True
                self._configure(wrapper, session)
                session.opened()
                self.isolation_level = wrapper.isolation_level
            for listener in listeners:
                listener("connect", wrapper.alias, time.monotonic() - began)
        except green.TimeLimit:
            raise driver.OperationalError(f"connecting took longer than {limit:.3g} s") from None

    def _connect(self, wrapper: Wrapper, session: Session, params: dict[str, Any], limit_s: float) -> None:
        wrapper.Database = driver.connecting(session, limit_s)
        try:
            wrapper.get_new_connection(params)
        except BaseException as error:
            # The driver's half-made connection stands in these frames: the server would have it, above the cap, for as
            # long as somebody keeps the exception.
            traceback.clear_frames(error.__traceback__)
            raise

    def _configure(self, wrapper: Wrapper, session: Session) -> None:
        """Bring a session from the server's defaults to this project's. Blocks for a round trip each."""
        session.lend()
        wrapper.configure(session.raw)
        if self._notices_disconnect and _NOTICE_DISCONNECT not in wrapper.settings_dict["OPTIONS"].get("options", ""):
            try:
                session.run(_NOTICE_DISCONNECT_SQL)
            except driver.Error:  # a platform that cannot; abandoned queries then run to their end
                if session.is_closed():
                    raise
                self._notices_disconnect = False
        for statement in self._setup_sql:
            session.run(statement)

    def close(self, session: Session) -> None:
        """Close the socket: the server rolls back, and ends a query that still runs. Neither blocks nor switches."""
        session.close()

    def gone(self, session: Session) -> bool:
        """Whether the server has let go of a closed connection."""
        return session.is_gone()

    def check(self, session: Session) -> bool:
        """Look at the socket: 0.5 us. Something to read, a goodbye or a message of TLS, is a doubt."""
        mode = self._health_check
        return session.looks_alive() if mode == "auto" else mode == "never" and not session.is_closed()

    def ping(self, session: Session, timeout: float) -> bool:
        """Ask the server. Blocks, under plain threads for as long as the server takes."""
        try:
            with green.time_limit(timeout), unlimited():
                session.lend()
                session.run("SELECT 1")
        except (driver.Error, green.TimeLimit):
            return False
        return True

    def recycle(self, session: Session) -> bool:
        """Undo what the last holder left: a transaction, autocommit, isolation, and session state as RESET says."""
        try:
            idle = session.is_idle()
            if idle is None or session.ends or session.in_work or session.leaving is not None:
                return False
            if session.cancel is not None and not session.cancel.is_settled():
                return False
            session.cancel = None
            session.end_checkout()
            free, session.found_free = session.found_free and not (session.dirty or session.held), False
            free = free or not (session.is_changed() or session.has_other_settings())
            if idle and free and self._reset != "always":
                return True
            with green.time_limit(_UNDO_LIMIT_S), unlimited():
                return self._undo(session, idle)
        except (driver.Error, green.TimeLimit):
            return False

    def _undo(self, session: Session, idle: bool) -> bool:
        session.lend()
        if not idle:
            session.roll_back()
        if session.is_idle() is not True or session.has_moved():
            return False
        changed = session.is_changed()  # a rollback undoes what was set within it
        if self._reset == "always" or (changed and self._reset == "dirty"):
            session.discard_all()
            if not session.put_back_settings():
                return False
            session.run(f"SELECT setseed({random.uniform(-1, 1)!r})")
            self._configure(self.wrapper.without_pool(), session)
            session.clean()
            return not session.is_changed() and session.is_idle() is True
        if not session.put_back_settings():
            return False
        session.clean()
        return session.is_idle() is True

    def is_transient(self, error: BaseException, first: bool) -> bool:
        """Whether waiting may cure it. A server never reached yet is taken for a wrong address, and told at once."""
        if not isinstance(error, driver.OperationalError):
            return False
        text = str(error)
        if FULL.search(text) or _BUSY.search(text):
            return True
        return not first and bool(_AWAY.search(text) or REFUSED.search(text))

    def is_full(self, error: BaseException) -> bool:
        """Whether the server, its database or the role has no connection left for now, or takes no new one of ours, as
        after the password has changed: what is connected serves on."""
        return bool(FULL.search(str(error)) or REFUSED.search(str(error)))

    def statement(self, session: Session) -> str:
        """The first words of the connection's last statement."""
        return session.first_words()
