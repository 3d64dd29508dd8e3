"""`POOL_MODE: "transaction"`: a slot is held for a transaction, or for a statement outside of one, not for a request.

What is here comes before the wrapper's own methods in that mode alone: in request mode nothing of it exists.
"""

import sys
import weakref
from _thread import get_ident
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db.backends.signals import connection_created

from .results import StatementCursor, StatementDebugCursor, asker, keeps

if TYPE_CHECKING:
    from django.db.backends.postgresql.base import DatabaseWrapper as Wrapper
else:
    Wrapper = object

# They ask whether the wrapper has a connection in order to give it one, or to close it, and are told the truth.
_WRAPPER_ITSELF = frozenset({
    "django.db.backends.base.base", "django.db.backends.postgresql.base", "django.db.transaction",
    "django.test.testcases", f"{__package__}.base",
})  # fmt: skip

_frame = sys._getframe


def in_mode(wrapper_class: Any, mode: str) -> Any:
    """The class of wrappers like `wrapper_class`, whatever its mode is, in another mode."""
    plain = wrapper_class.__dict__.get("request_mode", wrapper_class)
    if mode == "request":
        return plain
    if plain not in _in_transaction_mode:
        names = {"request_mode": plain, "__module__": plain.__module__, "__doc__": plain.__doc__}
        _in_transaction_mode[plain] = type(plain.__name__, (TransactionMode, plain), names)
    return _in_transaction_mode[plain]


_in_transaction_mode: dict[Any, Any] = {}


class TransactionMode(Wrapper):
    """A wrapper that gives its connection back as soon as nothing needs this one, and takes one again when asked.

    Needed is the connection inside a transaction, with autocommit off, while its session carries state, with a result
    that is not read yet, when somebody has taken the driver's connection, and while threads share the wrapper.
    """

    _checkout: Any
    _checks_out: bool
    _pool: Any
    _pool_made_for: Any
    _thread_ident: int
    _share: Any
    _take_back: Any
    _is_pooled: bool
    _thread_sharing_count: int
    request_number = 0  # raised when the wrapper is closed: cursors of before then refuse
    slot_number = 0  # raised with each slot that goes back: the driver's cursors of before are ended
    _between = False  # it had a connection in this request, and gave it back: to the application it has it still
    _in_order = False  # Django's connect() has set it up, for the present settings
    _taken = False  # somebody outside of Django has the driver's connection
    _taking = False  # in the midst of asking for one, to show it
    _open: Any = ()  # cursors with work of their own on the present connection
    _unread: Any = ()  # cursors that executed something on it, and may have something to read
    in_work = 0  # statements that are executed; they may call code that executes others: wrappers, parameters

    @property
    def connection(self) -> Any:
        """The driver's connection. Who asks for it has it, and its slot, until the request ends. May block.

        Django's own modules ask to work with it at once, so that only the next statement's end gives it back.
        """
        raw = self.__dict__["connection"]
        if _frame(1).f_globals.get("__name__", "") in _WRAPPER_ITSELF or (who := asker()) in _WRAPPER_ITSELF:
            return raw
        if raw is None:
            if not self._between or self._taking or self._checks_out:  # or it connects just now
                return None
            self._taking = True  # whoever stands around ensure_connection() may look as well
            self.in_work += 1
            try:
                self.ensure_connection()
                raw = self.__dict__["connection"]
                if keeps(who):
                    self._taken = True
            finally:
                self.in_work -= 1
                self._taking = False
        elif keeps(who):
            self._taken = True
        return raw

    @connection.setter
    def connection(self, raw: Any) -> None:
        self.__dict__["connection"] = raw

    # ---- when it goes back ----

    def may_let_go(self) -> bool:
        """Whether nothing needs this connection rather than another. Asks no server."""
        raw = self.__dict__["connection"]
        if raw is None or self.in_atomic_block or not self.autocommit or self._taken or self._open:
            return False
        if self._checks_out or not self._is_pooled or self._thread_sharing_count:
            return False
        session = raw._pool  # None: a finaliser or a signal's handler has given it back meanwhile
        return session is not None and bool(session.is_free())

    def let_go(self) -> bool:
        """Give the connection back, if it may go. Whether it went. Does not block."""
        if self.in_work or not (self.may_let_go() and self.reads_the_rest()):
            return False
        self.give_back()
        return True

    def give_back(self) -> None:
        """Give the connection back, of which `may_let_go` was said just now. Does not block."""
        raw = self.__dict__["connection"]
        if raw is None:  # a finaliser or a signal's handler was quicker
            return
        self.__dict__["connection"] = None
        self._between = True
        self.slot_number += 1
        raw._pool.found_free = True
        try:
            raw._pool.putconn(raw)
        except BaseException as error:
            if isinstance(error, ValueError) and self._thread_ident != get_ident():
                self.__dict__["connection"] = raw  # the owner, of whose cursors this was one, gives it back
                raw._pool.found_free = False
                return
            self._take_back()  # it was a signal's handler
            raise

    def keep_slot(self) -> None:
        """From now on until the request ends the slot is kept."""
        self._taken = True

    def keep_for(self, cursor: Any) -> None:
        """Keep the slot until `cursor` is closed, or is no more."""
        if not self._open:
            self._open = weakref.WeakSet()
        self._open.add(cursor)

    def note_unread(self, cursor: Any) -> None:
        """`cursor` executed a statement, and the slot stays: see `reads_the_rest`."""
        if not self._unread:
            self._unread = weakref.WeakSet()
        self._unread.add(cursor)

    def reads_the_rest(self) -> bool:
        """Let the cursors take over what they can say of their statements, for they work on when the slot has gone.

        Whether it may go: a large result keeps it, and so may what turns rows into Python's values.
        """
        if not self._unread:
            return True
        cursors, self._unread = list(self._unread), ()
        if not self.__dict__["connection"].closed:
            self.in_work += 1
            try:
                for cursor in cursors:
                    cursor.read()
            finally:
                self.in_work -= 1
        return self.may_let_go()

    def done_with(self, cursor: Any) -> None:
        """A cursor of the present connection was closed, perhaps by the collector: in whatever thread or greenlet, and
        in the midst of whatever this one does."""
        if self._open:
            self._open.discard(cursor)
        if self._thread_ident == get_ident():
            self.let_go()

    def _end_request(self) -> None:
        self.request_number += 1
        self.slot_number += 1
        self._between = self._taken = False
        self._open = self._unread = ()
        if self.in_work or self.in_atomic_block:
            return
        if self._pool is not None and self._pool.options.pool_mode == "request":
            self.__class__ = in_mode(type(self), "request")  # it was changed in the settings

    # ---- Django's own, where it matters ----

    def connect(self) -> None:
        """Take a connection as Django does for a wrapper's first one, and for the next ones more cheaply.

        Not where somebody wants to be told of each connection, perhaps to SET something on it. Blocks.
        """
        made_for = self._pool_made_for
        pool = self.pool if self._may_connect_cheaply() else None
        if pool is None or made_for is not self._pool_made_for:  # the settings were changed
            self._in_order = False
            super().connect()
            self._in_order = True
            return
        self.validate_thread_sharing()
        self.errors_occurred, self.health_check_done = False, True
        self.run_on_commit = []  # of a transaction that was lost with its connection
        self._checkout = (pool, object())
        try:
            raw = self.__dict__["connection"] = pool.getconn(self._checkout[1])
            if self.allow_thread_sharing:
                self._share(raw)
        except BaseException:
            if self.__dict__["connection"] is None:  # a signal's handler may have raised after the checkout
                self._take_back()
            raise

    def _may_connect_cheaply(self) -> bool:
        """Whether Django's own connect() would change nothing of this wrapper."""
        return (
            self._in_order
            and self._pool is not None
            and self.autocommit
            and not self.in_atomic_block
            and not self.closed_in_transaction
            and not connection_created.receivers
        )

    def make_cursor(self, cursor: Any) -> StatementCursor:
        return StatementCursor(cursor, self)

    def make_debug_cursor(self, cursor: Any) -> StatementDebugCursor:
        return StatementDebugCursor(cursor, self)

    def _cursor(self, name: str | None = None) -> Any:
        self.in_work += 1  # it is sure of a connection, and then uses it
        try:
            return super()._cursor(name)  # type: ignore[misc]
        finally:
            self.in_work -= 1

    def set_autocommit(self, autocommit: bool, *args: Any, **kwargs: Any) -> None:
        if autocommit:  # no transaction is open when it calls what waits for the commit
            super().set_autocommit(autocommit, *args, **kwargs)
            if not self._checks_out and isinstance(self, TransactionMode):  # or a copy has found it out just now
                self.let_go()
            return
        self.in_work += 1
        try:
            super().set_autocommit(autocommit, *args, **kwargs)
        finally:
            self.in_work -= 1

    def run_and_clear_commit_hooks(self) -> None:
        self.let_go()  # what is done after a commit takes its time, and may ask by itself
        super().run_and_clear_commit_hooks()

    def get_autocommit(self) -> bool:
        """As Django's, but that nobody takes a slot for it."""
        if self.__dict__["connection"] is None and not self.in_atomic_block:
            return bool(self.settings_dict["AUTOCOMMIT"])
        return bool(super().get_autocommit())

    @contextmanager
    def temporary_connection(self) -> Iterator[Any]:
        if self._between:
            with self.cursor() as cursor:
                yield cursor
        else:
            with super().temporary_connection() as cursor:
                yield cursor

    def is_usable(self) -> bool:
        self.in_work += 1
        try:
            if self._between:
                self.ensure_connection()
            usable = bool(super().is_usable())
        finally:
            self.in_work -= 1
        self.let_go()
        return usable

    def _close(self) -> None:
        self._between = False  # to who asks now, it has none
        super()._close()  # type: ignore[misc]

    def close_if_unusable_or_obsolete(self) -> None:
        super().close_if_unusable_or_obsolete()
        # What it closed may have ended the mode as well.
        if self.__dict__["connection"] is None and not self.in_atomic_block and isinstance(self, TransactionMode):
            self._end_request()

    def close(self) -> None:
        super().close()
        self._end_request()
