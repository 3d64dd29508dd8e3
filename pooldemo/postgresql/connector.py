"""How the pool opens, looks at, cleans and closes a PostgreSQL connection, as Django's wrapper would have it."""

import contextlib
import math
import os
import re
import select
import traceback
from typing import Any, Protocol, Self

from pooldemo.pool import Options

from . import driver, green
from .departures import Leaving
from .session import first_words

# Ends a query on the server soon after its client is gone (PostgreSQL 14 and later, where the platform can). Its slot
# waits that long for the next connection: hence a tenth of a second. A look at the socket costs next to nothing.
_NOTICE_DISCONNECT_SQL = (
    "SELECT set_config('client_connection_check_interval', '100', false)"
    " WHERE current_setting('client_connection_check_interval', true) = '0'"
)
_UNDO_LIMIT_S = 5.0  # for a rollback or a reset at checkin; a server that takes longer loses the connection instead
# Reported by the server whenever they change (search_path since PostgreSQL 18), so comparing them costs no round trip.
_REPORTED = ("TimeZone", "search_path", "session_authorization", "default_transaction_read_only")

# libpq gives no code for a refused connection, only the text. These pass by themselves ...
_BUSY = re.compile(
    r"too many clients|too many connections|connection slots are reserved|no more connections allowed"
    r"|the database system is (?:starting up|shutting down|in recovery mode|not (?:yet )?accepting connections)"
)
# ... and these do when the server has answered before: it is being restarted, or the network is.
_AWAY = re.compile(
    r"Connection refused|No such file or directory|server closed the connection unexpectedly|took longer than"
    r"|terminating connection|Connection reset|timeout expired|could not receive data|timed out"
)


class Wrapper(Protocol):
    """What is asked of Django's wrapper."""

    def without_pool(self) -> Self: ...
    def get_connection_params(self) -> dict[str, Any]: ...
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any: ...
    def configure(self, connection: Any) -> None: ...


class Session:
    """One connection as the pool has it: the driver's, once it is open, and what its server may still count of it."""

    __slots__ = ("connection", "half_open", "leaving")

    def __init__(self) -> None:
        self.connection: Any = None
        self.half_open: int | None = None  # the socket of a connect that was stopped
        self.leaving: Leaving | None = None


class PostgresConnector:
    """Connections as `wrapper` would make them for itself: its parameters, its time zone, its role.

    `wrapper` must not pool (`pool: False`); it is used for nothing else and never has a connection of its own.
    """

    errors = (driver.Error,)

    def __init__(self, wrapper: Wrapper, options: Options) -> None:
        self._wrapper = wrapper
        self._setup_sql = options.setup_sql
        self._reset = options.reset
        self._health_check = options.health_check
        self._new_poll = green.native_poll()
        self._notices_disconnect = True

    def new(self) -> Session:
        """A session that is not open yet."""
        return Session()

    def open(self, session: Session, timeout: float) -> None:
        """Open and configure a connection, within `timeout` and `connect_timeout`. Raises the driver's error."""
        params = self._wrapper.get_connection_params()
        params |= {name: params.get(name, value) for name, value in driver.CONNECTION_PARAMS.items()}
        params["cursor_factory"] = driver.noting(params["cursor_factory"])
        limit = min(float(params.get("connect_timeout") or math.inf), timeout)
        params["connect_timeout"] = max(2, math.ceil(limit))  # libpq's own limit; it counts in seconds, from two
        try:
            with green.time_limit(limit), green.opening(session):
                session.connection = connection = self._connect(params)
                self._prepare(connection)
        except green.TimeLimit:
            raise driver.OperationalError(f"connecting took longer than {limit:.3g} s") from None

    def _connect(self, params: dict[str, Any]) -> Any:
        try:
            return self._wrapper.get_new_connection(params)
        except BaseException as error:
            # The driver's half-made connection stands in these frames: the server would have it, above the cap, for as
            # long as somebody keeps the exception.
            traceback.clear_frames(error.__traceback__)
            raise

    def _prepare(self, connection: Any) -> None:
        driver.adopt(connection)
        connection.autocommit = True
        connection._baseline = driver.characteristics(connection)
        poll = self._new_poll()
        poll.register(connection.fileno(), select.POLLIN)
        connection._look = poll.poll
        self._configure(connection)

    def _configure(self, connection: Any) -> None:
        """Bring a session from the server's defaults to this project's. Blocks for a round trip each."""
        self._wrapper.without_pool().configure(connection)
        with connection.cursor() as cursor:
            if self._notices_disconnect:
                try:
                    cursor.execute(_NOTICE_DISCONNECT_SQL)
                except driver.Error:  # a platform that cannot; abandoned queries then run to their end
                    if connection.closed:
                        raise
                    self._notices_disconnect = False
            for statement in self._setup_sql:
                cursor.execute(statement)
        connection._reported = driver.reported(connection, _REPORTED)
        connection._dirty, connection._statement = False, ""

    def close(self, session: Session) -> None:
        """Close the socket: the server rolls back, and ends a query that still runs. Does not switch."""
        connection, session.connection = session.connection, None
        with contextlib.suppress(Exception):
            if connection is not None:
                left, connection._left = getattr(connection, "_left", None), None
                if left is None and not connection.closed:
                    left = os.dup(connection.fileno())
                driver.close(connection)
                if left is not None:
                    session.leaving = Leaving(left)
            elif session.half_open is not None:
                half_open, session.half_open = session.half_open, None
                session.leaving = Leaving(half_open)

    def gone(self, session: Session) -> bool:
        """Whether the server has closed its end. Does not switch."""
        return session.leaving is None or session.leaving.gone()

    def check(self, session: Session) -> bool:
        """Look at the socket: 0.5 us. Something to read, a goodbye or a message of TLS, is a doubt."""
        connection = session.connection
        mode = self._health_check
        return not connection.closed and (mode == "never" or (mode == "auto" and not connection._look(0)))

    def ping(self, session: Session, timeout: float) -> bool:
        """Ask the server, for a round trip."""
        if session.connection.closed:
            return False
        try:
            with green.time_limit(timeout), session.connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        except (driver.Error, green.TimeLimit):
            return False
        return True

    def recycle(self, session: Session) -> bool:
        """Undo what the last holder left: a transaction, autocommit, isolation, and session state as RESET says."""
        connection = session.connection
        idle = driver.idle_and_whole(connection)
        if idle is None:
            return False
        if (
            idle
            and not connection._dirty
            and not connection._named
            and self._reset != "always"
            and driver.characteristics(connection) == connection._baseline
            and driver.reported(connection, _REPORTED) == connection._reported
        ):
            return True
        try:
            with green.time_limit(_UNDO_LIMIT_S):
                return self._undo(connection, idle)
        except (driver.Error, green.TimeLimit):
            return False

    def _undo(self, connection: Any, idle: bool) -> bool:
        if not idle:
            connection.rollback()
        forgotten = any(not cursor.closed for cursor in connection._named)
        connection._named.clear()
        dirty = connection._dirty or forgotten or driver.reported(connection, _REPORTED) != connection._reported
        if self._reset == "always" or (dirty and self._reset == "dirty"):
            driver.set_characteristics(connection, (True, None, None, None))
            with connection.cursor() as cursor:
                cursor.execute("DISCARD ALL")
            driver.forget_prepared(connection)
            driver.set_characteristics(connection, connection._baseline)
            self._configure(connection)
        elif driver.characteristics(connection) != connection._baseline:
            driver.set_characteristics(connection, connection._baseline)
        return True

    def is_transient(self, error: BaseException, first: bool) -> bool:
        """Whether waiting may cure it. A server never reached yet is taken for a wrong address, and told at once."""
        if not isinstance(error, driver.OperationalError):
            return False
        text = str(error)
        return bool(_BUSY.search(text)) or (not first and bool(_AWAY.search(text)))

    def statement(self, session: Session) -> str:
        """The first words of the connection's last statement."""
        connection = session.connection
        return first_words(str(connection._statement)) if connection is not None else ""
