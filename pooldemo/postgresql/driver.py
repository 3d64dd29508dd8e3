"""The driver's seam: psycopg2 or psycopg 3, whichever Django chose, as two sets of the same few names.

`note` is how a pool learns without a round trip what a session went through: cursors tell it each statement's text.
"""

import functools
import os
import socket
from typing import Any

from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from . import green
from .session import changes_session

Database: Any = DatabaseWrapper.Database
Error: type[Exception] = Database.Error
OperationalError: type[Exception] = Database.OperationalError


def note(connection: Any, query: Any) -> None:
    """Remember a connection's last statement, and whether any changed its session."""
    if type(query) is not str:
        if isinstance(query, bytes):
            query = query.decode(errors="replace")
        elif hasattr(query, "as_string"):
            query = query.as_string(connection)
    connection._statement = query
    if not connection._dirty and changes_session(query):
        connection._dirty = True


def close(connection: Any) -> None:
    """Close a connection. Neither blocks nor switches.

    Where somebody waits inside of it only its socket is shut down; who waits sees the end, and closes it. Closing it
    would abort the process (psycopg 3: the event loop watches the socket), or stop it for ever (psycopg2 keeps the
    connection locked while it waits in a COMMIT).
    """
    if not is_waited_for(connection):
        connection.close()
        return
    with green.native("socket", "socket")(fileno=os.dup(connection.fileno())) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)


class _NotingCursor:
    """Tells the connection what it executes. Mixed into whatever cursor class the connection is to have."""

    connection: Any

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        note(self.connection, query)
        return super().execute(query, *args, **kwargs)  # type: ignore[misc]

    def executemany(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        note(self.connection, query)
        return super().executemany(query, *args, **kwargs)  # type: ignore[misc]


@functools.cache
def noting(cursor_class: type) -> type:
    """The cursor class that is `cursor_class` and notes."""
    mixin = _NotingCursor if is_psycopg3 else _NotingCursor2
    return type(cursor_class.__name__, (mixin, cursor_class), {})


if is_psycopg3:
    from psycopg.pq import PipelineStatus, TransactionStatus

    CONNECTION_PARAMS: dict[str, Any] = {}

    def adopt(connection: Any) -> None:
        """Give a new connection the marks that the pool reads and writes."""
        connection._dirty, connection._statement, connection._named, connection._left = False, "", [], None

    def is_waited_for(connection: Any) -> bool:
        """Whether a greenlet or thread is in the middle of a call of it."""
        return not connection.closed and connection.lock.locked()

    def idle_and_whole(connection: Any) -> bool | None:
        """True: outside any transaction. False: inside one, which can be rolled back. None: cannot be used again."""
        if connection.closed or connection.pgconn.pipeline_status != PipelineStatus.OFF:
            return None
        status = connection.pgconn.transaction_status
        if status == TransactionStatus.IDLE:
            return True
        return False if status in (TransactionStatus.INTRANS, TransactionStatus.INERROR) else None

    def characteristics(connection: Any) -> tuple[Any, ...]:
        """Autocommit and what the next transaction will be like, as the driver keeps it on its side."""
        return (connection.autocommit, connection.isolation_level, connection.read_only, connection.deferrable)

    def set_characteristics(connection: Any, wanted: tuple[Any, ...]) -> None:
        (connection.autocommit, connection.isolation_level, connection.read_only, connection.deferrable) = wanted

    def forget_prepared(connection: Any) -> None:
        """After DISCARD ALL the server has forgotten what the driver prepared."""
        connection._prepared.clear()

    def reported(connection: Any, names: tuple[str, ...]) -> list[str | None]:
        """Settings that the server reports by itself whenever they change."""
        status = connection.pgconn.parameter_status
        return [status(name.encode()) for name in names]

else:
    import psycopg2.extensions as ext

    class PooledConnection(ext.connection):
        """psycopg2's connection with room for the pool's marks: its C type has none."""

        _pool: Any = None
        _slot: Any = None
        _look: Any = None
        _left: int | None = None  # the socket, when psycopg2 has closed its own in the midst of a query
        _baseline: Any = None
        _dirty = False
        _statement = ""
        _named: list[Any]

    CONNECTION_PARAMS = {"connection_factory": PooledConnection}

    class _NotingCursor2(_NotingCursor):
        def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
            if self.name is not None and self.withhold:  # type: ignore[attr-defined]
                self.connection._named.append(self)  # outlives its transaction if nobody closes it
            return super().execute(query, *args, **kwargs)

        def callproc(self, procname: Any, *args: Any, **kwargs: Any) -> Any:
            note(self.connection, f"SELECT {procname}(")
            return super().callproc(procname, *args, **kwargs)  # type: ignore[misc]

    def adopt(connection: Any) -> None:
        """Give a new connection the marks that the pool reads and writes, as far as its class has none."""
        connection._named = []

    def is_waited_for(connection: Any) -> bool:
        """Whether a greenlet or thread is in the middle of a call of it."""
        return not connection.closed and connection.get_transaction_status() == ext.TRANSACTION_STATUS_ACTIVE

    def idle_and_whole(connection: Any) -> bool | None:
        """True: outside any transaction. False: inside one, which can be rolled back. None: cannot be used again."""
        if connection.closed or connection.status == ext.STATUS_PREPARED:
            return None
        status = connection.get_transaction_status()
        if status == ext.TRANSACTION_STATUS_IDLE:
            return True
        return False if status in (ext.TRANSACTION_STATUS_INTRANS, ext.TRANSACTION_STATUS_INERROR) else None

    def characteristics(connection: Any) -> tuple[Any, ...]:
        """Autocommit and what the next transaction will be like, as the driver keeps it on its side."""
        return (connection.autocommit, connection.isolation_level, connection.readonly, connection.deferrable)

    def set_characteristics(connection: Any, wanted: tuple[Any, ...]) -> None:
        autocommit, *rest = wanted
        isolation_level, readonly, deferrable = ("DEFAULT" if value is None else value for value in rest)
        connection.set_session(isolation_level, readonly, deferrable, autocommit)

    def forget_prepared(connection: Any) -> None:
        """After DISCARD ALL the server has forgotten what the driver prepared: psycopg2 prepares nothing."""
        connection.notices.clear()
        connection.notifies.clear()

    def reported(connection: Any, names: tuple[str, ...]) -> list[str | None]:
        """Settings that the server reports by itself whenever they change."""
        return list(map(connection.get_parameter_status, names))

    green.make_driver_green()
