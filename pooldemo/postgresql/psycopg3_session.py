"""Sessions over psycopg 3. Everything that a connection or cursor of whatever class does passes `Connection.wait` as a
generator: that is watched, and refused to those whose checkout is over.

Each checkout has a driver's connection of its own over the one libpq connection: it costs some microseconds, and what
a project sets on one, or keeps of it, ends with the checkout.
"""

import contextlib
import math
import threading
import time
from _thread import get_ident
from collections.abc import Callable, Generator
from typing import Any

import psycopg
from psycopg import capabilities, pq
from psycopg.adapt import AdaptersMap
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.waiting import READY_R, WAIT_R

from . import green
from .limits import PENDING, current
from .session import GIVEN_BACK, REPORTED, Session
from .statements import CLEAN_BEGINNINGS, ROLLBACK

MODULE = psycopg

# psycopg's generators that change nothing a reset would have to undo ...
_QUIET = frozenset({
    "_commit_gen", "_rollback_gen", "_set_autocommit_gen", "_set_isolation_level_gen", "_set_read_only_gen",
    "_set_deferrable_gen", "_fetch_gen", "_scroll_gen", "_stream_fetchone_gen", "_enter_gen", "_exit_gen", "_sync_gen",
    "copy_from", "copy_to", "copy_end", "_read_gen", "_end_copy_in_gen", "_end_copy_out_gen", "notifies", "_close_gen",
})  # fmt: skip
# ... and those that execute a cursor's statement, which is among their arguments.
_STATEMENTS = frozenset({
    "_execute_gen", "_executemany_gen_pipeline", "_executemany_gen_no_pipeline", "_stream_send_gen", "_start_copy_gen",
    "_declare_gen",
})  # fmt: skip

# Bounded by a limit, as statements are: what the application waits for, never the end of a transaction that failed.
_LIMITED = {
    "_commit_gen": "COMMIT", "_fetch_gen": "", "_scroll_gen": "", "_stream_fetchone_gen": "", "_read_gen": "",
    "copy_to": "", "copy_end": PENDING, "_sync_gen": PENDING, "_exit_gen": PENDING,  # of executemany() as well
}  # fmt: skip

_REPORTED = [name.encode() for name in REPORTED]
_LOOK_S = 0.1  # from one look to the next whether a limit is over, where the server has nothing to cancel
_CANCEL_S = 5.0  # to tell the server to cancel; its connection is given up long before
_NO_LOCK = contextlib.nullcontext()
_connecting = threading.local()  # the session for which this thread or greenlet connects


def _closed() -> Any:
    """A libpq connection that is none: for the driver's connections whose checkout is over."""
    closed = pq.PGconn.connect_start(b"port=none")  # fails before it asks the network
    closed.finish()
    return closed


_CLOSED = _closed()


def _waiting(gen: Any, readable: green.Readable) -> Generator[Any, Any, Any]:
    """A generator of psycopg's that waits by itself for what it is to read; under gevent psycopg takes thrice as long.

    Where it is stopped meanwhile the connection stays in the midst of its call, as with psycopg.
    """
    try:
        state = next(gen)
        while True:
            if state == WAIT_R:
                readable.wait()
                state = gen.send(READY_R)
            else:
                state = gen.send((yield state))
    except StopIteration as done:
        return done.value


def _executes(gen: Any) -> tuple[Any, Any]:
    """The cursor and the statement of one of `_STATEMENTS`. Since Python 3.13 who keeps what is local there keeps its
    frame, and so, once it has ended, the frames of everybody who called it."""
    its = gen.gi_frame.f_locals
    return its["self"], its["query"] if "query" in its else its["statement"]


class _Lock:
    """A lock that who has it may take again: the collector closes a server cursor in the midst of another call. Another
    thread may leave it for him: a stream has it while it goes on, and may be ended by whoever collects it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None
        self._again = 0

    def __enter__(self) -> None:
        if self._owner == (caller := get_ident()):
            self._again += 1
        else:
            self._lock.acquire()
            self._owner = caller

    def __exit__(self, *_: Any) -> None:
        if self._again and self._owner == get_ident():
            self._again -= 1
        else:
            self._owner, self._again = None, 0
            self._lock.release()


class PooledConnection(psycopg.Connection[Any]):
    """psycopg's connection for one checkout. `_pool` is its session for as long as that lasts."""

    _pool: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lock = _Lock()

    @property
    def lock(self) -> Any:
        """What psycopg's calls take, where threads share the connection. Else nobody waits: it is one caller's, and
        `wait` refuses the others, as a thread whose collector closes a server cursor."""
        session = self._pool
        is_shared = session is not None and session.leaving is None and session.is_shared()
        return self._lock if is_shared else _NO_LOCK

    @lock.setter
    def lock(self, lock: Any) -> None:
        self._lock = lock

    @classmethod
    def _connect_gen(cls, *args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator = super()._connect_gen(*args, **kwargs)
        answer = None
        while True:
            try:
                asked = generator.send(answer)
            except StopIteration as done:
                _connecting.session.raw = done.value
                return done.value
            _connecting.session.note_socket(asked[0])
            answer = yield asked

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        session = self._pool
        if session is None:
            raise psycopg.InterfaceError(GIVEN_BACK)
        cursor = super().cursor(*args, **kwargs)
        session.add_cursor(cursor)
        return cursor

    def close(self) -> None:
        session = self._pool
        if session is None:
            super().close()
        elif session.shown is self or session.is_holder():  # a tracer's proxy leads here who kept it
            session.close()  # its server's process is waited for: it counts until it has ended

    def cancel(self) -> None:
        self._begin_to_cancel()
        super().cancel()

    def cancel_safe(self, *, timeout: float = 30.0) -> None:
        self._begin_to_cancel()
        super().cancel_safe(timeout=timeout)

    def _begin_to_cancel(self) -> None:
        if (session := self._pool) is not None:
            if session.shown is not self:  # a tracer's proxy leads here who kept it
                session.check_holder()
            session.ends = True  # it lets others run while it asks: it could end the next holder's query

    def notifies(self, *, timeout: float | None = None, stop_after: int | None = None) -> Generator[Any, None, None]:
        """psycopg's, within the present limit. The server is idle meanwhile, and a cancel would end nothing."""
        limit, received = current(), 0
        if limit is None:
            yield from super().notifies(timeout=timeout, stop_after=stop_after)
            return
        ends_at = math.inf if timeout is None else time.monotonic() + timeout
        while stop_after is None or received < stop_after:
            if limit.is_over() and self._pool is not None:
                error = limit.refusal("waiting for notifies()")
                self._pool.pool.note_end(error)
                raise error
            left_s = ends_at - time.monotonic()
            more = None if stop_after is None else stop_after - received
            for each in super().notifies(timeout=max(0.0, min(left_s, limit.left_s(), _LOOK_S)), stop_after=more):
                received += 1
                yield each
            if left_s <= 0:
                return

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        session = self._pool
        if session is None:
            raise psycopg.InterfaceError(GIVEN_BACK)
        name = gen.__name__
        try:
            session.check_holder()
        except psycopg.InterfaceError:
            if name != "_close_gen":
                raise
            gen.close()  # of a server cursor that the collector closes in whatever thread: it goes with the reset
            return None
        is_timed = args or kwargs  # by psycopg, in its own way
        waited = gen if session.readable is None or is_timed else _waiting(gen, session.readable)
        if name not in _STATEMENTS:
            if name not in _QUIET:
                session.dirty = True
            elif name == "_close_gen" and self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                gen.close()  # the server has another call's statement: its cursor goes with its transaction
                return None
            elif name == "_close_gen" and self.pgconn.transaction_status != pq.TransactionStatus.INERROR:
                session.held.discard(getattr(gen.gi_frame.f_locals["self"], "name", None))
            return session.call(_LIMITED.get(name), super().wait, waited, *args, **kwargs)
        cursor, query = _executes(gen)
        session.add_cursor(cursor)
        found = session.begin(query)
        if name == "_declare_gen" and cursor.withhold:
            session.held.add(cursor.name)  # outlives its transaction if nobody closes it
        try:
            result = session.call(None if found & ROLLBACK else "", super().wait, waited, *args, **kwargs)
        except BaseException as error:
            session.failed(found, getattr(error, "sqlstate", None))
            raise
        tag = cursor.statusmessage
        if tag is None or tag[:6] not in CLEAN_BEGINNINGS:
            session.done(found, tag)
        return result


class PostgresSession(Session):
    """A Session over psycopg 3. `raw` is the driver's connection of the present checkout."""

    __slots__ = ("_adapters", "_factories", "_prepared", "_threshold")

    driver_error = psycopg.InterfaceError
    errors = (psycopg.Error,)

    def connect_to(self, params: dict[str, Any], limit_s: float) -> Any:
        params["connect_timeout"] = max(2, math.ceil(limit_s))  # in seconds, from two
        self.lend()
        _connecting.session = self
        try:
            self.shown = PooledConnection.connect(**params)  # where a tracer has replaced that, its proxy
        finally:
            del _connecting.session
        self.raw._pool = self
        return self.raw

    def run(self, statement: str) -> None:
        with psycopg.Cursor(self.raw) as cursor:
            cursor.execute(statement.encode())

    def is_closed(self) -> bool:
        return self.raw is None or self.raw.pgconn.status == pq.ConnStatus.BAD

    def is_idle(self) -> bool | None:
        pgconn = self.raw.pgconn
        if pgconn.status == pq.ConnStatus.BAD or pgconn.pipeline_status != PipelineStatus.OFF:
            return None
        return _IDLE.get(pgconn.transaction_status)

    def is_waited_for(self) -> bool:
        return self.in_work > 0

    def roll_back(self) -> None:
        self.raw.rollback()

    def has_other_settings(self) -> bool:
        return False  # each checkout has its own

    def put_back_settings(self) -> bool:
        raw = self.raw
        raw._autocommit, raw._isolation_level, raw._read_only, raw._deferrable = self._settings
        return True

    def opened(self) -> None:
        raw = self.raw
        self._settings = (raw._autocommit, raw._isolation_level, raw._read_only, raw._deferrable)
        self._factories = (raw.row_factory, raw.cursor_factory, raw.server_cursor_factory)
        self._adapters = AdaptersMap(raw.adapters)
        self._prepared = raw._prepared
        self._threshold = (raw.prepare_threshold, raw.prepared_max)
        if green.is_patched():
            self.readable = green.Readable(raw.pgconn.socket)
        super().opened()

    def discard_all(self) -> None:
        self.raw._autocommit = True
        self.run("DISCARD ALL")
        self._prepared.clear()

    def reported(self) -> tuple[Any, ...]:
        return tuple(map(self.raw.pgconn.parameter_status, _REPORTED))

    def end_cursor(self, cursor: Any) -> None:
        cursor._close()

    def clean(self) -> None:
        super().clean()
        if backlog := getattr(self.raw, "_notifies_backlog", None):  # what a reset read came for the last holder
            backlog.clear()

    def end_checkout(self) -> None:
        super().end_checkout()
        old = self.raw
        pgconn = old.pgconn
        new = PooledConnection(pgconn)
        new._pool, old._pool, old.pgconn = self, None, _CLOSED
        new.row_factory, new.cursor_factory, new.server_cursor_factory = self._factories
        new._adapters = AdaptersMap(self._adapters)
        new._autocommit, new._isolation_level, new._read_only, new._deferrable = self._settings
        new._prepared = prepared = self._prepared
        if (prepared.prepare_threshold, prepared.prepared_max) != self._threshold:
            prepared.prepare_threshold, prepared.prepared_max = self._threshold
            self.dirty = True  # what it prepared meanwhile is on the server
        elif prepared.prepare_threshold is None and prepared._names:  # by execute(..., prepare=True)
            self.dirty = True
        self.raw = new
        if self.shown is not old:
            with contextlib.suppress(Exception):
                self.shown.__wrapped__ = new  # wrapt's proxies, which tracers use, lead there from now on
        if self.shown is old or self.shown.pgconn is not pgconn:
            self.shown = new

    def ask_to_cancel(self, then: Callable[[bool], None]) -> None:
        raw = self.raw

        def ask() -> None:
            told = False
            try:
                with contextlib.suppress(psycopg.Error):  # it broke, or the server is silent
                    if capabilities.has_cancel_safe():
                        psycopg.Connection.cancel_safe(raw, timeout=_CANCEL_S)
                    else:  # of a libpq before 17
                        psycopg.Connection.cancel(raw)
                    told = True
            finally:
                then(told)

        green.starter()(ask)

    def finish(self) -> None:
        if self.readable is not None:
            self.readable.close()
        psycopg.Connection.close(self.raw)


def is_lost(connection: Any) -> bool:
    """Whether a driver's connection, of a pool or not, was closed or stopped in the midst of a call."""
    pgconn = connection.pgconn
    stopped = pgconn.pipeline_status == PipelineStatus.OFF and pgconn.transaction_status not in _IDLE
    return bool(connection.closed) or stopped


_IDLE = {TransactionStatus.IDLE: True, TransactionStatus.INTRANS: False, TransactionStatus.INERROR: False}
