"""Sessions over psycopg2.

Its connections and cursors are C objects, so what watches them is mixed into their classes.
"""

import ctypes
from collections.abc import Callable
from functools import lru_cache, partial
from operator import attrgetter
from typing import Any

import psycopg2
import psycopg2.extensions as ext

from . import green
from .attempt import Attempt, is_one_address
from .session import GIVEN_BACK, REPORTED, Session
from .statements import CLEAN_BEGINNINGS, ROLLBACK

MODULE = psycopg2
_SETTINGS = frozenset({"autocommit", "isolation_level", "readonly", "deferrable"})
_settings_of = attrgetter(
    "autocommit", "isolation_level", "readonly", "deferrable", "cursor_factory", "encoding", "string_types",
    "binary_types",
)  # fmt: skip


class PooledConnection(ext.connection):
    """psycopg2's connection, with a reference to its session. A project's own connection class comes before it."""

    _pool: Any = None

    def cursor(self, name: Any = None, cursor_factory: Any = None, *args: Any, **kwargs: Any) -> Any:
        session = self._pool
        session.check_holder()
        factory: Any = cursor_factory or self.cursor_factory
        if factory is None:
            factory = ext.cursor
        if isinstance(factory, type):
            cursor = super().cursor(name, _watched(factory, name is not None), *args, **kwargs)
        else:  # of whatever class: nobody sees what it does
            session.dirty = True
            if name is not None:
                session.ends = True
            cursor = super().cursor(name, factory, *args, **kwargs)
        session.add_cursor(cursor)
        return cursor

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _SETTINGS:
            self._pool.check_holder()
        super().__setattr__(name, value)

    def commit(self) -> None:
        self._pool.check_holder()
        self._pool.call("COMMIT", super().commit)

    def rollback(self) -> None:
        self._pool.check_holder()
        super().rollback()

    def close(self) -> None:
        if self._pool.is_holder():  # of another's checkout nothing is closed
            self._pool.close()  # and its server's process is waited for: it counts until it has ended

    def lobject(self, *args: Any, lobject_factory: Any = None, **kwargs: Any) -> Any:
        self._pool.check_holder()
        factory = (lobject_factory if len(args) < 5 else args[4]) or ext.lobject
        if isinstance(factory, type):
            factory = _large(factory)
        return self._pool.call("lobject()", super().lobject, *args[:4], lobject_factory=factory, **kwargs)

    def reset(self) -> None:
        self._pool.check_holder()
        self._pool.dirty = True  # it undoes Django's settings too
        super().reset()


def _for_its_holder(name: str) -> Any:
    """A method of psycopg2's that ends, changes or reads of a transaction or query, for whoever has the connection."""
    plain = getattr(ext.connection, name)

    def method(self: PooledConnection, *args: Any, **kwargs: Any) -> Any:
        self._pool.check_holder()
        return plain(self, *args, **kwargs)

    method.__name__, method.__doc__ = name, plain.__doc__
    return method


for _name in (
    "set_isolation_level", "set_session", "set_client_encoding", "cancel", "poll",
    "tpc_begin", "tpc_prepare", "tpc_commit", "tpc_rollback", "tpc_recover",
):  # fmt: skip
    setattr(PooledConnection, _name, _for_its_holder(_name))


class _Large:
    """A large object, whose every step is its session's. Mixed into whatever class it is to have."""

    def __init__(self, connection: Any, *args: Any) -> None:
        self._session = connection._pool
        super().__init__(connection, *args)  # type: ignore[call-arg]


def _large_step(name: str) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        session = self._session
        session.check_holder()
        return session.call(f"lobject.{name}()", getattr(super(_Large, self), name), *args, **kwargs)

    return method


for _name in ("export", "read", "seek", "tell", "truncate", "unlink", "write"):
    setattr(_Large, _name, _large_step(_name))


@lru_cache(maxsize=16)
def _large(large_class: type) -> type:
    return type(large_class.__name__, (_Large, large_class), {})


class _Watched:
    """A cursor that tells the session what it executes. Mixed into whatever class the cursor is to have."""

    connection: Any
    name: Any
    statusmessage: Any

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        session = self.connection._pool
        found = session.begin(query)
        try:
            session.call(None if found & ROLLBACK else "", super().execute, query, *args, **kwargs)  # type: ignore[misc]
        except BaseException as error:
            session.failed(found, getattr(error, "pgcode", None))
            raise
        if self.statusmessage[:6] not in CLEAN_BEGINNINGS:
            session.done(found, self.statusmessage)

    def executemany(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        self._watch(query, super().executemany, query, *args, **kwargs)  # type: ignore[misc]

    def callproc(self, procname: Any, *args: Any, **kwargs: Any) -> Any:
        return self._watch(f"SELECT {procname}(", super().callproc, procname, *args, **kwargs)  # type: ignore[misc]

    def copy_expert(self, sql: Any, *args: Any, **kwargs: Any) -> Any:
        self._watch(sql, super().copy_expert, sql, *args, **kwargs)  # type: ignore[misc]

    def copy_from(self, file: Any, table: Any, *args: Any, **kwargs: Any) -> Any:
        self._watch(f"COPY {table} FROM STDIN", super().copy_from, file, table, *args, **kwargs)  # type: ignore[misc]

    def copy_to(self, file: Any, table: Any, *args: Any, **kwargs: Any) -> Any:
        self._watch(f"COPY {table} TO STDOUT", super().copy_to, file, table, *args, **kwargs)  # type: ignore[misc]

    def _watch(self, query: Any, work: Any, *args: Any, **kwargs: Any) -> Any:
        session = self.connection._pool
        found = session.begin(query)
        try:
            result = session.call(None if found & ROLLBACK else "", work, *args, **kwargs)
        except BaseException as error:
            session.failed(found, getattr(error, "pgcode", None))
            raise
        session.done(found, self.statusmessage)
        return result


class _WatchedNamed(_Watched):
    """The same for a cursor on the server, which asks it for rows, and would for another checkout."""

    over = False  # its checkout is
    withhold: Any

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        self._check()
        if self.withhold:
            self.connection._pool.held.add(self.name)  # outlives its transaction if nobody closes it
        return super().execute(query, *args, **kwargs)

    def close(self) -> None:
        # The collector closes cursors in whatever thread, while their checkout may be ending: CLOSE would fail in the
        # next holder's transaction, and end it. The server's own goes with its transaction, or with the reset.
        if not self.over and self.connection._pool.is_holder():
            failed = self.connection.get_transaction_status() == ext.TRANSACTION_STATUS_INERROR
            super().close()  # type: ignore[misc]
            if not failed:  # or psycopg2 has sent nothing, and the server has it still
                self.connection._pool.held.discard(self.name)

    def fetchone(self) -> Any:
        return self._fetch(super().fetchone)  # type: ignore[misc]

    def fetchmany(self, *args: Any, **kwargs: Any) -> Any:
        return self._fetch(super().fetchmany, *args, **kwargs)  # type: ignore[misc]

    def fetchall(self) -> Any:
        return self._fetch(super().fetchall)  # type: ignore[misc]

    def _fetch(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        self._check()
        return self.connection._pool.call("", work, *args, **kwargs)

    def scroll(self, *args: Any, **kwargs: Any) -> Any:
        return self._fetch(super().scroll, *args, **kwargs)  # type: ignore[misc]

    def __next__(self) -> Any:
        return self._fetch(super().__next__)  # type: ignore[misc]

    def _check(self) -> None:
        if self.over:
            raise psycopg2.InterfaceError(f"cursor {self.name!r}: {GIVEN_BACK}")


@lru_cache(maxsize=256)
def _watched(cursor_class: type, named: bool) -> type:
    return type(cursor_class.__name__, (_WatchedNamed if named else _Watched, cursor_class), {})


@lru_cache(maxsize=16)
def _pooled(connection_class: type) -> type:
    """A project's own connection class over ours: its `super()` then is ours, and psycopg2's after that."""
    if issubclass(PooledConnection, connection_class):
        return PooledConnection
    return type(connection_class.__name__, (connection_class, PooledConnection), {})


class PostgresSession(Session):
    """A Session over psycopg2."""

    __slots__ = ()

    driver_error = psycopg2.InterfaceError
    errors = (psycopg2.Error,)

    def connect_to(self, params: dict[str, Any], limit_s: float) -> Any:
        self.shown = self._connect(params)  # where a tracer has replaced psycopg2.connect, its proxy
        self.lend()
        return self.raw

    def _connect(self, params: dict[str, Any]) -> Any:
        factory = params.get("connection_factory") or ext.connection

        def make(*args: Any, **kwargs: Any) -> Any:  # perhaps in a thread of its own
            if self.raw is not None:  # a tracer has kept what was given to `connect`, to have queries explained
                return factory(*args, **kwargs)
            if isinstance(factory, type):
                made = _pooled(factory)
                self.raw = made.__new__(made, *args, **kwargs)
                self.raw._pool = self
                self.lend()  # a wait callback of the project's polls
                self.raw.__init__(*args, **kwargs)  # connects; who stops it finds `raw`, and so the socket
            else:
                self.raw = factory(*args, **kwargs)
                if not isinstance(self.raw, PooledConnection):
                    self.raw.close()
                    raise psycopg2.InterfaceError(
                        f"connection_factory={factory!r} is not accepted: give a class. What a function makes cannot "
                        "be watched, and its session state would reach the next request."
                    )
            return self.raw

        given = {**params, "connection_factory": make}
        limit_s = float(given.get("connect_timeout") or 0)
        if limit_s <= 0 or green.is_patched() or not is_one_address(given):
            return psycopg2.connect(**given)
        unlimited = {**given, "connect_timeout": 0}  # whatever PGCONNECT_TIMEOUT says
        attempt = Attempt(self, lambda: psycopg2.connect(**unlimited))
        try:
            attempt.start()
        except RuntimeError:
            return psycopg2.connect(**given)
        try:
            return attempt.result(limit_s)
        except TimeoutError:
            raise psycopg2.OperationalError(f"connecting took longer than connect_timeout={limit_s:g}") from None

    def run(self, statement: str) -> None:
        with ext.cursor(self.raw) as cursor:
            cursor.execute(statement)

    def is_closed(self) -> bool:
        return self.raw is None or bool(self.raw.closed)

    def is_idle(self) -> bool | None:
        raw = self.raw
        if raw.closed or raw.status == ext.STATUS_PREPARED:
            return None
        return _IDLE.get(raw.get_transaction_status())

    def is_waited_for(self) -> bool:
        return bool(self.raw.get_transaction_status() == ext.TRANSACTION_STATUS_ACTIVE)

    def roll_back(self) -> None:
        if self.raw.autocommit:  # psycopg2 rolls nothing back in this mode, whatever was begun
            self.run("ROLLBACK")
        else:
            ext.connection.rollback(self.raw)

    def has_other_settings(self) -> bool:
        return bool(_settings_of(self.raw) != self._settings)

    def put_back_settings(self) -> bool:
        raw = self.raw
        *characteristics, cursor_factory, encoding, string_types, binary_types = self._settings
        if raw.encoding != encoding:
            return False  # the driver keeps codecs of its own
        for dialect, kept in ((raw.string_types, string_types), (raw.binary_types, binary_types)):
            if dialect != kept:
                dialect.clear()
                dialect.update(kept)
        raw.cursor_factory = cursor_factory
        if [raw.autocommit, raw.isolation_level, raw.readonly, raw.deferrable] != characteristics:
            # With autocommit on they would be the server's defaults, of what is executed outside of transactions too.
            raw.set_session(*("DEFAULT" if value is None else value for value in characteristics[1:]), autocommit=False)
            raw.autocommit = characteristics[0]
        return True

    def opened(self) -> None:
        *plain, string_types, binary_types = _settings_of(self.raw)
        self._settings = (*plain, dict(string_types), dict(binary_types))
        if green.is_patched():
            self.readable = green.Readable(self.raw.fileno())
        super().opened()

    def discard_all(self) -> None:
        raw = self.raw
        raw.set_session("DEFAULT", "DEFAULT", "DEFAULT", True)  # in autocommit mode it keeps them on the server
        self.run("DISCARD ALL")

    def reported(self) -> tuple[Any, ...]:
        return tuple(map(self.raw.get_parameter_status, REPORTED))

    def end_checkout(self) -> None:
        super().end_checkout()
        self._forget_what_was_told()

    def clean(self) -> None:
        super().clean()
        self._forget_what_was_told()  # a reset reads what had come meanwhile

    def _forget_what_was_told(self) -> None:
        """Notices have words of the last holder's; who holds it may have put a list of its own there."""
        raw = self.raw
        if raw.notices or type(raw.notices) is not list:
            raw.notices = []
        if raw.notifies or type(raw.notifies) is not list:
            raw.notifies = []

    def end_cursor(self, cursor: Any) -> None:
        if cursor.name is None:
            ext.cursor.close(cursor)
        else:
            cursor.over = True

    def ask_to_cancel(self, then: Callable[[bool], None]) -> None:
        pointer = _libpq.PQgetCancel(self.raw.pgconn_ptr) if self.raw.pgconn_ptr else None
        try:
            green.start_aside(partial(_cancel, pointer), then)
        except RuntimeError:
            _libpq.PQfreeCancel(pointer)
            raise

    def finish(self) -> None:
        if self.readable is not None:
            self.readable.close()
        ext.connection.close(self.raw)


# psycopg2's own cancel() keeps the GIL while it asks: with a server that is silent the whole process would stand still.
# Its extension module leads to the libpq that it uses, wherever that is.
_libpq = ctypes.CDLL(psycopg2._psycopg.__file__)
_libpq.PQgetCancel.restype = ctypes.c_void_p
_libpq.PQgetCancel.argtypes = [ctypes.c_void_p]
_libpq.PQcancel.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
_libpq.PQfreeCancel.argtypes = [ctypes.c_void_p]


def _cancel(pointer: int | None) -> bool:
    """Whether the server has taken the request. It returns when the server has closed its end, having acted on it."""
    if pointer is None:  # it was closed meanwhile
        return False
    error = ctypes.create_string_buffer(256)
    try:
        return bool(_libpq.PQcancel(pointer, error, len(error)))
    finally:
        _libpq.PQfreeCancel(pointer)


def is_lost(connection: Any) -> bool:
    """Whether a driver's connection, of a pool or not, was closed or stopped in the midst of a call."""
    return bool(connection.closed) or connection.get_transaction_status() not in _IDLE


_IDLE = {
    ext.TRANSACTION_STATUS_IDLE: True,
    ext.TRANSACTION_STATUS_INTRANS: False,
    ext.TRANSACTION_STATUS_INERROR: False,
}

green.make_driver_green()
