"""What the backend knows of one connection, in one object.

The driver's connection has a reference to it as `_pool`, the name that Django asks for, and nothing else of ours.
"""

import _socket
import contextlib
import os
import select
import time
import weakref
from _thread import get_ident
from collections.abc import Callable
from typing import Any

from . import green
from .addresses import first_that_answers, in_turn
from .leaving import Duplicate, Leaving, duplicate
from .limits import current
from .statements import ENDS, LOCAL, PLAIN, REMEMBERED, SUSPECT, first_words, leaves, look, recall

_KEPT = 240  # characters of the last statement, for messages
_FEW = 64  # cursors, before the list of them is rid of those that are no more
# What is beyond ASCII is part of a name for PostgreSQL, and in no word that we search for; nor is this letter.
_ASCII = bytes(range(128)) + b"j" * 128
_CALLS = 30  # more than follow on one another where a connection is closed
_NOBODY, _ANYBODY = -1, 0  # holders that are no greenlet or thread

# Reported by the server whenever they change (search_path since PostgreSQL 18), so comparing them costs no round trip.
REPORTED = (
    "TimeZone", "search_path", "session_authorization", "is_superuser", "application_name", "client_encoding",
    "DateStyle", "IntervalStyle", "default_transaction_read_only", "standard_conforming_strings",
    "in_hot_standby",  # the last one: no reset brings back another
)  # fmt: skip


class Session:
    """One connection to PostgreSQL, from before it is opened until it is closed. Each driver has its subclass.

    `dirty`: something may have changed that a reset undoes. `ends`: something that it does not. `held`: names of
    cursors WITH HOLD that nobody has closed. They are for the checkout that is; `end_checkout` asks and clears them.
    """

    __slots__ = (
        "__weakref__", "_cursors", "_few", "_half_open", "_look", "_reported", "_settings", "cancel", "dirty",
        "ends", "found_free", "held", "holder", "in_work", "is_parents", "leaving", "pool", "raw", "readable",
        "shown", "slot", "statement",
        "worked_s",
    )  # fmt: skip

    driver_error: type[Exception]
    errors: tuple[type[Exception], ...]

    def __init__(self) -> None:
        self.raw: Any = None  # the driver's connection
        self.shown: Any = None  # what the application has of it: `raw`, or a tracer's proxy, which sees statements
        self.pool: Any = None
        self.slot: Any = None
        self.holder = _NOBODY  # the greenlet or thread that may use it
        self.statement = ""
        self.dirty = self.ends = False
        self.held: set[str] = set()
        self.cancel: Any = None  # what may end at the server what is executed: see `limits`
        self.in_work = 0  # calls of the driver: parameters may be made by code that gives it back
        self.worked_s = 0.0  # seconds of this checkout in calls of the driver
        self.found_free = False  # by who gives it back at once: nobody need look again
        self._cursors: set[weakref.ref[Any]] = set()
        self._few = _FEW
        # Sockets that may have to be waited for once it is closed, as of a connect that is not finished: inode -> the
        # driver's descriptor and ours.
        self._half_open: dict[int, tuple[int, Duplicate]] = {}
        self.is_parents = False  # of the process from which this one was forked
        self.leaving: Any = None  # what the server may still have of it, once it is closed
        self._look: Any = None
        self.readable: Any = None  # waits for its socket; None: as whoever waits for any
        self._reported: tuple[Any, ...] = ()
        self._settings: tuple[Any, ...] = ()
        _all.add(self)  # complete by now

    # ---- asked of each driver ----

    def connect_to(self, params: dict[str, Any], limit_s: float) -> Any:
        """Open the driver's connection. Blocks. Raises the driver's errors."""
        raise NotImplementedError

    def run(self, statement: str) -> None:
        """Execute a statement past everything that watches. Blocks."""
        raise NotImplementedError

    def is_closed(self) -> bool:
        """Whether the driver knows that the connection has ended."""
        raise NotImplementedError

    def is_idle(self) -> bool | None:
        """True: outside any transaction. False: inside one, which can be rolled back. None: cannot be used again.

        libpq's word, which is the server's, and not the driver's: a BEGIN may have been sent as any other statement.
        """
        raise NotImplementedError

    def is_waited_for(self) -> bool:
        """Whether a greenlet or thread is in the middle of a call of the driver's connection."""
        raise NotImplementedError

    def roll_back(self) -> None:
        """End the transaction, whoever began it. Blocks."""
        raise NotImplementedError

    def has_other_settings(self) -> bool:
        """Whether what the driver keeps on its side is not as it was: autocommit, isolation, factories, codecs."""
        raise NotImplementedError

    def put_back_settings(self) -> bool:
        """Make the driver's settings those of the new connection; False if that cannot be. Outside any transaction."""
        raise NotImplementedError

    def discard_all(self) -> None:
        """Let server and driver forget what the session had; leaves autocommit on. Outside any transaction. Blocks."""
        raise NotImplementedError

    def reported(self) -> tuple[Any, ...]:
        """The values of REPORTED."""
        raise NotImplementedError

    def end_cursor(self, cursor: Any) -> None:
        """Let a cursor refuse everything from now on, without a word to the server."""
        raise NotImplementedError

    def ask_to_cancel(self, then: Callable[[bool], None]) -> None:
        """Begin to ask the server to end what it is executing. Does not block. Raises RuntimeError without a thread.

        Then `then` is called, anywhere, and neither blocks nor switches. True: it has taken the request, so none comes
        any more. False: nobody knows.
        """
        raise NotImplementedError

    def finish(self) -> None:
        """Close the driver's connection. Only where nobody waits in it."""
        raise NotImplementedError

    # ---- its life ----

    def connect(self, params: dict[str, Any], limit_s: float) -> Any:
        """Open the driver's connection, at the first address that answers within `limit_s`. Blocks. Raises the driver's
        errors."""

        def connect(each: dict[str, Any]) -> Any:
            self._forget()  # an address which did not answer: nobody may ever let go of that
            self.raw = None
            return self.connect_to(each, limit_s)

        turns = in_turn(params)
        try:
            return first_that_answers(turns, limit_s, connect)
        except BaseException:
            if len(turns) > 1:
                self._forget()  # the last one as well: the next try begins with the first
            raise

    def opened(self) -> None:
        """Remember what a new, configured connection is like."""
        self._half_open.clear()  # attempts at other hosts
        poll = green.native_poll()()
        poll.register(self.raw.fileno(), select.POLLIN)
        self._look = poll.poll
        self._reported = self.reported()
        self.clean()

    def clean(self) -> None:
        """It is as it was when it was opened."""
        self.statement, self.dirty, self.ends, self.holder = "", False, False, _NOBODY
        self.held.clear()

    def note_socket(self, descriptor: int) -> None:
        """Keep the socket of a connect that may yet be stopped: the driver closes its own then."""
        inode = os.fstat(descriptor).st_ino
        if inode not in self._half_open:
            self._half_open[inode] = descriptor, duplicate(descriptor)

    def begin_checkout(self, pool: Any, slot: Any) -> None:
        """The calling greenlet or thread has it from now on."""
        self.pool, self.slot, self.holder, self.worked_s, self.statement = pool, slot, get_ident(), 0.0, ""

    def share(self) -> object:
        """Let every greenlet and thread use this checkout. It ends at the latest when what is returned is collected."""
        self.holder = _ANYBODY
        lifeline = self.pool.lifeline()
        self.pool.rebind(self.slot, lifeline)
        return lifeline

    def lend(self) -> None:
        """The calling greenlet or thread may use it though nobody has it."""
        self.holder = get_ident()

    def end_checkout(self) -> None:
        """From now on what the last holder kept, its cursors first, refuses to work."""
        self.holder = _NOBODY
        if self._cursors:
            for reference in list(self._cursors):
                if (cursor := reference()) is not None:
                    self.end_cursor(cursor)
            self._cursors.clear()

    def close(self) -> None:
        """Close it, whole or half open; the second time nothing happens. As `hang_up` otherwise."""
        if self.leaving is None:
            self.leaving = self.hang_up()

    def _forget(self) -> None:
        """Hang up, and wait for nobody to let go of that. As `hang_up` otherwise."""
        self.hang_up()
        self._half_open.clear()

    def hang_up(self) -> Leaving | None:
        """Say goodbye on its sockets. Returns what the server may still have. Neither blocks nor switches. Raises
        RecursionError alone, where the stack ends. Who is stopped in it repeats it: the sockets are known until it has
        returned what has them."""
        _has_room(_CALLS)
        try:
            if not self.is_closed():
                with contextlib.suppress(OSError, *self.errors):  # no descriptor is left for a duplicate, say
                    self.note_socket(self.raw.fileno())
                # Where somebody waits inside, closing would abort the process (psycopg 3: the event loop watches the
                # socket) or block (psycopg2). The server sees our goodbye, and who waits sees the server's.
                if not self.is_waited_for():
                    self.finish()
        except RecursionError:  # since Python 3.12 calls of C have an end of their own
            raise
        except Exception:  # noqa: S110  it was broken anyway
            pass
        return Leaving(ours for _, ours in self._half_open.values()) if self._half_open else None

    def is_gone(self) -> bool:
        """Whether the server counts it no more, closed as it is. Neither blocks nor switches."""
        return self.leaving is None or self.leaving.gone()

    def leave_to_parent(self, ended: int) -> None:
        """In a forked child, whose greenlets go on: neither speak nor listen on the sockets of the parent's connection.
        `ended` is a descriptor of one that has ended, which they become here."""
        self.is_parents, self.holder = True, _NOBODY
        waited_for = {inode: both for inode, both in self._half_open.items() if both[1].fileno() >= 0}
        sockets = [ours.fileno() for _, ours in waited_for.values()]
        sockets += [theirs for inode, (theirs, _) in waited_for.items() if _is_at(theirs, inode)]
        with contextlib.suppress(Exception):  # it was closed
            sockets.append(self.raw.fileno())
        for descriptor in sockets:
            os.dup2(ended, descriptor, inheritable=False)

    def looks_alive(self) -> bool:
        """Whether the socket is silent. Something to read is a goodbye, or a message of TLS. 0.5 us."""
        return not self.raw.closed and not self._look(0)

    # ---- its checkout ----

    def putconn(self, raw: Any) -> None:
        """Give it back: Django's wrapper asks `connection._pool` for that."""
        self.pool.putconn(raw)

    def is_holder(self) -> bool:
        """Whether the caller may use it: it has not given it back, and no other greenlet or thread has it."""
        return self.holder == get_ident() or self.holder == _ANYBODY

    def is_shared(self) -> bool:
        """Whether every greenlet and thread may use it."""
        return self.holder == _ANYBODY

    def check_holder(self) -> None:
        """Raise the driver's InterfaceError where the caller may not use it."""
        if self.holder != get_ident() and self.holder != _ANYBODY:  # is_holder(), spelled out: each cursor asks
            raise self.driver_error(GIVEN_BACK)

    def add_cursor(self, cursor: Any) -> None:
        """Remember a cursor for as long as it lives."""
        cursors = self._cursors
        cursors.add(weakref.ref(cursor))
        if len(cursors) > self._few:
            known = list(cursors)  # other threads add theirs
            gone = [each for each in known if each() is None]
            cursors.difference_update(gone)
            self._few = 2 * (len(known) - len(gone)) + _FEW

    def call(self, step: str | None, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Ask the server by `work(...)`, within the present limit, and count the seconds. Blocks.

        `step` is what it is called where it must be ended; empty: the statement; None: the limit does not hold for it.
        Raises what `Limit.run` does.
        """
        began = time.monotonic()
        self.in_work += 1
        try:
            if step is None or (limit := current()) is None:
                return work(*args, **kwargs)
            return limit.run(self, step, work, *args, **kwargs)
        finally:
            self.in_work -= 1
            self.worked_s += time.monotonic() - began

    # ---- its statements ----

    def begin(self, query: Any) -> int:
        """Note a statement that is about to be executed. Returns what its text says."""
        if type(query) is str:
            length = len(query)
            self.statement = query if length <= _KEPT else query[:_KEPT]
            found = recall(query) if length <= REMEMBERED else look(query)
        else:
            text = self._text(query)
            self.statement = text[:_KEPT]
            found = look(text)
        if found & SUSPECT:
            self.dirty = True
        if found & ENDS:
            self.ends = True
        return found

    def done(self, found: int, tag: str | None) -> None:
        """It succeeded, and the server calls it so."""
        left = leaves(tag, found)
        if left & SUSPECT:
            self.dirty = True
        elif left & ENDS:
            self.ends = True

    def failed(self, found: int, sqlstate: str | None) -> None:
        """It did not. What it did was undone, but for code that commits by itself."""
        if not found & (PLAIN | LOCAL):
            self.dirty = True
        if sqlstate == _READ_ONLY:
            self.ends = True

    def _text(self, query: Any) -> str:
        if isinstance(query, str):
            return str.__str__(query)  # of a template's, say, whose methods are its own
        if isinstance(query, bytes):
            return query.translate(_ASCII).decode("ascii")  # letters beyond ASCII are lowered dearly
        if hasattr(query, "as_string"):
            return str(query.as_string(self.raw))
        if hasattr(query, "strings"):  # a template string
            return " ".join(query.strings)
        return ";;"  # the driver will say what it thinks of it

    def is_changed(self) -> bool:
        """Whether anything differs on the server from a new connection, as far as it can be known without asking it."""
        return bool(self.dirty or self.held or self.reported() != self._reported)

    def is_free(self) -> bool:
        """Whether the next statement may as well go over another connection: no transaction is open, nothing differs
        from a new one. Also when it broke, unless it carried something: the next statement shall not go without."""
        if self.dirty or self.ends or self.held:
            return False
        if self.is_idle():
            return self.reported() == self._reported and not self.has_other_settings()
        return self.is_closed()

    def has_moved(self) -> bool:
        """Whether the server has become, or ceased to be, a standby."""
        return bool(self.reported()[-1] != self._reported[-1])

    def first_words(self) -> str:
        """The beginning of the last statement."""
        return first_words(self.statement)


def _has_room(calls: int) -> None:
    """Raises RecursionError where the stack ends within so many calls."""
    if calls:
        _has_room(calls - 1)


def _is_at(descriptor: int, inode: int) -> bool:
    """Whether a descriptor still leads there: the driver closes its own, and another file gets the number."""
    try:
        return os.fstat(descriptor).st_ino == inode
    except OSError:
        return False


_all: "weakref.WeakSet[Session]" = weakref.WeakSet()


def _leave_all_to_parent() -> None:
    ended, other = _socket.socketpair()  # past gevent, whose loop is not to be asked now
    other.close()
    for session in list(_all):
        session.leave_to_parent(ended.fileno())
    ended.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all_to_parent)


GIVEN_BACK = (
    "this connection was given back to the pool, or is another greenlet's, thread's or process's: ask "
    "django.db.connection again"
)
_READ_ONLY = "25006"  # read_only_sql_transaction: among others what a server says that has become a standby
