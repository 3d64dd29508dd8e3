"""Cursors of transaction mode: each statement may go over another connection; what it returned outlives its slot."""

import contextlib
import functools
import sys
from collections.abc import Iterator
from typing import Any

from django.db.backends.postgresql.base import CursorDebugWrapper
from django.db.backends.postgresql.psycopg_any import is_psycopg3
from django.db.backends.utils import CursorWrapper

_NO_SLOT = -1
_MOST_ROWS = 1000  # a larger result is left with its cursor, and the cursor with its slot, until it is closed

# What is asked of a driver's cursor about the statement that it executed last; everything else is work.
_READ = frozenset(
    "_query arraysize closed description fetchall fetchmany fetchone itersize lastrowid name nextset pgresult query "
    "results row_factory rowcount rownumber scroll statusmessage tzinfo_factory".split()
)

_PROXY = "django.utils.connection"  # asks for whoever has imported django.db.connection
# Modules that are done with the driver's connection before the next statement: Django's own, those of Sentry's SDK,
# which looks before each statement where its connection leads, and those of django-pgbulk, which quotes names with it.
_ON_THE_SPOT = ("django.", "sentry_sdk.", "pgbulk.")


def asker() -> str:
    """The module that asks the calling function for something."""
    name: str = sys._getframe(2).f_globals.get("__name__", "")
    return sys._getframe(3).f_globals.get("__name__", "") if name == _PROXY else name


def keeps(who: str) -> bool:
    """Whether a module may keep the driver's connection that it is given."""
    return not who.startswith(_ON_THE_SPOT)


class Rows:
    """What is left of a driver's cursor whose slot went back: the rows that it had, and what it says of them."""

    closed = False

    def __init__(self, driver: Any, errors: Any, rows: list[Any] | None, rownumber: int = 0) -> None:
        self.driver, self._errors, self._rows, self.rownumber = driver, errors, rows, rownumber
        self.description, self.rowcount, self.statusmessage = driver.description, driver.rowcount, driver.statusmessage
        self.arraysize = driver.arraysize

    def __getattr__(self, name: str) -> Any:
        if name in _READ:
            its_own = getattr(self.driver, name)
            return its_own if name != "results" else self._results
        raise AttributeError(
            f"{name!r}: the driver's cursor went back with its connection after the statement (POOL_MODE is "
            '"transaction"): ask connection.cursor() for another'
        )

    def _read(self) -> list[Any]:
        if self.closed:
            raise self._errors.InterfaceError("cursor already closed")
        if self._rows is None:
            raise self._errors.ProgrammingError("no results to fetch")
        return self._rows

    def fetchone(self) -> Any:
        rows = self._read()
        if self.rownumber >= len(rows):
            return None
        self.rownumber += 1
        return rows[self.rownumber - 1]

    def fetchmany(self, size: int | None = None) -> list[Any]:
        rows, first = self._read(), self.rownumber
        if size is None or (is_psycopg3 and not size):
            size = self.arraysize
        taken = rows[first : first + size]
        self.rownumber += len(taken)
        return taken

    def fetchall(self) -> list[Any]:
        rows, first = self._read(), self.rownumber
        self.rownumber = len(rows)
        return rows[first:]

    def __iter__(self) -> Iterator[Any]:
        self._read()
        return iter(self.fetchone, None)

    def nextset(self) -> None:
        """There is no other: a text of several statements keeps its slot."""
        if not is_psycopg3:
            raise self._errors.NotSupportedError("not supported by PostgreSQL")

    def _results(self) -> Iterator[Any]:
        """The only one, for who asks psycopg 3 for all of them; none of a statement that failed."""
        if self.statusmessage is not None and not self.closed:
            yield self

    def scroll(self, value: int, mode: str = "relative") -> None:
        position = value + (self.rownumber if mode == "relative" else 0)
        if not 0 <= position < len(self._read()):
            raise (IndexError if is_psycopg3 else self._errors.ProgrammingError)("scroll destination out of bounds")
        self.rownumber = position

    def close(self) -> None:
        self.closed, self._rows = True, None


class StatementCursor(CursorWrapper):
    """Django's cursor over one driver's cursor after another: each ends with the slot that it was made on.

    It works for as long as its request has the database: once the wrapper was closed it refuses, as any cursor does.
    """

    _closed = False
    _left: Rows | None = None  # of the last statement, where a driver's cursor is ready for the next one already

    def __init__(self, cursor: Any, db: Any) -> None:
        super().__init__(cursor, db)
        self._request, self._slot = db.request_number, db.slot_number

    def execute(self, sql: Any, params: Any = None) -> Any:
        return self._run(super().execute, sql, params)

    def executemany(self, sql: Any, param_list: Any) -> Any:
        return self._run(super().executemany, sql, param_list)

    def callproc(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(super().callproc, *args, **kwargs)

    def _run(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        db = self.db
        db.in_work += 1
        try:
            if self._slot != db.slot_number or self._closed:
                self._renew()
            driver, self._left = self.cursor, None
            try:
                result = work(*args, **kwargs)
            except Exception:
                if db.in_work == 1 and db.may_let_go() and db.reads_the_rest():
                    self.cursor = Rows(driver, db.Database, None)
                    db.give_back()
                raise
            if db.in_work > 1 or not self._let_go():
                db.note_unread(self)
        finally:
            db.in_work -= 1
        is_cursor = result is driver or result is getattr(driver, "__wrapped__", driver)  # of a tracer's proxy
        return self if is_cursor else result

    def _let_go(self) -> bool:
        """Give the slot back after a statement, with its rows read, if nothing else needs it. Whether it went."""
        db, slot = self.db, self._slot
        if not (db.may_let_go() and db.reads_the_rest() and self.read()):
            return False
        if slot == db.slot_number:  # what turned the rows into Python's values did not ask for itself
            db.give_back()
        return True

    def read(self) -> bool:
        """Take over what the driver's cursor has, which ends with the slot. False: not all of it, and the slot stays.

        A named cursor's rows are the server's, and end with its transaction.
        """
        driver, rows, rownumber = self.cursor, None, 0
        if self._closed or self._slot != self.db.slot_number or getattr(driver, "name", None) is not None:
            return True
        if driver.description is not None:
            rownumber, rows = driver.rownumber or 0, []
            if driver.rowcount > _MOST_ROWS and rownumber < driver.rowcount:
                self.db.keep_for(self)
                return False
            if driver.rowcount <= _MOST_ROWS:
                try:
                    if rownumber:
                        driver.scroll(-rownumber)
                    rows = driver.fetchall()
                except Exception:  # a value that Python cannot take: said where it is fetched, as ever
                    with contextlib.suppress(Exception):  # where nothing is left to fetch, or the driver's is closed
                        driver.scroll(rownumber, "absolute")
                    self.db.keep_for(self)
                    return False
        self.cursor, self._slot = Rows(driver, self.db.Database, rows, rownumber), _NO_SLOT
        return True

    def _renew(self) -> None:
        """Take a slot, and a driver's cursor on it. Blocks, and raises as `connection.cursor()` does."""
        db = self.db
        self._check_open()
        db.ensure_connection()
        with db.wrap_database_errors:
            self.cursor = db.create_cursor()
        self._slot = db.slot_number

    def _check_open(self) -> None:
        with self.db.wrap_database_errors:
            if self._closed:
                raise self.db.Database.InterfaceError("cursor already closed")
            self._check_request()

    def __getattr__(self, name: str) -> Any:
        if name in _READ:
            return super().__getattr__(name) if self._left is None else getattr(self._left, name)
        its_own = getattr(self.cursor.driver if type(self.cursor) is Rows else self.cursor, name)
        if callable(its_own):
            return functools.partial(self._work, name)
        is_taken = name == "connection" and keeps(asker())
        if name == "connection" and not is_taken and self._slot == self.db.slot_number:
            return its_own
        self._begin_work()
        if is_taken:
            self.db.keep_slot()
        return super().__getattr__(name)

    @property
    def description(self) -> Any:
        return (self._left or self.cursor).description

    def mogrify(self, *args: Any, **kwargs: Any) -> Any:
        """The driver's; rows that are left stay."""
        if self._slot == self.db.slot_number and not self._closed:
            return self.cursor.mogrify(*args, **kwargs)
        self._check_open()
        with self.db.cursor() as other:
            return other.cursor.mogrify(*args, **kwargs)

    def fetchone(self) -> Any:
        with self.db.wrap_database_errors:
            return self._result().fetchone()

    def fetchmany(self, *args: Any, **kwargs: Any) -> Any:
        with self.db.wrap_database_errors:
            return self._result().fetchmany(*args, **kwargs)

    def fetchall(self) -> Any:
        with self.db.wrap_database_errors:
            return self._result().fetchall()

    def scroll(self, *args: Any, **kwargs: Any) -> Any:
        return self._result().scroll(*args, **kwargs)  # whose errors are the driver's, as ever

    def __iter__(self) -> Iterator[Any]:
        with self.db.wrap_database_errors:
            if getattr(self.cursor, "name", None) is not None:  # the server's, which gives many at a time
                yield from self._result()
            else:
                yield from iter(lambda: self._result().fetchone(), None)  # it may be another one's in the midst of them

    def _result(self) -> Any:
        self._check_request()
        return self._left or self.cursor

    def _check_request(self) -> None:
        if self._request != self.db.request_number:
            raise self.db.Database.InterfaceError("this cursor's connection was closed: ask django.db.connection again")

    def _work(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Do what the driver's own is asked for: copy, stream ... As with the driver, rows of before are gone then."""
        self._begin_work()
        result = getattr(self.cursor, name)(*args, **kwargs)
        self._left = None
        return result

    def _begin_work(self) -> None:
        """Have a driver's own, and leave what can be read. Nobody tells when its work is done, but for close()."""
        self.db.in_work += 1
        try:
            if self._slot != self.db.slot_number or self._closed:
                left = self.cursor
                self._renew()
                self._left = left if type(left) is Rows else None
            self.db.keep_for(self)
        finally:
            self.db.in_work -= 1

    def close(self) -> None:
        self._closed, self._left = True, None
        try:
            self.cursor.close()
        finally:
            if self._slot == self.db.slot_number:  # or the connection is another one by now
                self.db.done_with(self)


class StatementDebugCursor(StatementCursor, CursorDebugWrapper):
    """The same, with its statements logged."""

    def _log(self, name: str, *args: Any, **kwargs: Any) -> Any:
        self._begin_work()
        self._left = None
        return getattr(super(), name)(*args, **kwargs)


for _name in ("copy", "copy_expert", "copy_to"):
    if hasattr(CursorDebugWrapper, _name):
        setattr(StatementDebugCursor, _name, functools.partialmethod(StatementDebugCursor._log, _name))
