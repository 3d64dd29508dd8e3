"""Is PostgreSQL there, and what does it say? Asked on a plain connection, one question at a time, never longer than the
asker can wait."""

import threading
import time
from contextlib import closing
from typing import Any

from django.db import DEFAULT_DB_ALIAS

from pooldemo.postgresql.unpooled import plain_connection

FRESH_S = 1.0  # askers that come sooner share an answer: a probe must not become a load
PATIENCE_S = 2.0


class Question:
    """The last answer of one database to `sql`, and the asking that may be under way.

    It is asked in a thread of its own (a greenlet under gunicorn -k gevent): a server that accepts and never answers
    holds up that thread, and everybody else gets "no" after PATIENCE_S.
    """

    def __init__(self, sql: str, alias: str = DEFAULT_DB_ALIAS) -> None:
        self.sql, self.alias = sql, alias
        self._lock = threading.Lock()
        self._asking: threading.Thread | None = None
        self._answered_at_s = float("-inf")
        self._answer: tuple[list[tuple[Any, ...]], str] = ([], "")

    @property
    def age_s(self) -> float:
        """How old the last answer is; infinity: there was none."""
        return time.monotonic() - self._answered_at_s

    def answer(self) -> tuple[list[tuple[Any, ...]], str]:
        """The rows, and why there are none (empty: there is no trouble). Blocks for PATIENCE_S at most."""
        with self._lock:
            if self.age_s < FRESH_S:
                return self._answer
            if self._asking is None:
                self._asking = threading.Thread(target=self._ask, name="question", daemon=True)
                self._asking.start()
            asking = self._asking
        asking.join(PATIENCE_S)
        return ([], f"PostgreSQL did not answer within {PATIENCE_S:g} s") if asking.is_alive() else self._answer

    def _ask(self) -> None:
        rows, trouble = [], ""
        try:
            with closing(plain_connection(self.alias)) as connection, connection.cursor() as cursor:
                cursor.execute(self.sql)
                rows = cursor.fetchall()
        except Exception as error:  # whatever it is, the answer is no and this is why
            trouble = str(error).strip() or repr(error)
        with self._lock:
            self._answer, self._answered_at_s, self._asking = (rows, trouble), time.monotonic(), None


class Readiness:
    """Whether one database answers at all."""

    def __init__(self, alias: str = DEFAULT_DB_ALIAS) -> None:
        self._question = Question("SELECT 1", alias)

    def trouble(self) -> str:
        """Why the database does not answer; empty when it does. Blocks for PATIENCE_S at most."""
        return self._question.answer()[1]
