"""Is PostgreSQL there, and what does it say? Asked on a plain connection, one question at a time, never longer than the
asker can wait."""

import logging
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from django.db import DEFAULT_DB_ALIAS

from pooldemo.postgresql import green, pools
from pooldemo.postgresql.unavailable import REFUSED, unavailable
from pooldemo.postgresql.unpooled import plain_connection

logger = logging.getLogger("pooldemo.monitor")

FRESH_S = 1.0  # askers that come sooner share an answer: a probe must not become a load
PATIENCE_S = 2.0
LASTS_S = 5.0  # a question; then the next is asked: what froze may have been replaced, and would keep us for ever


@dataclass(frozen=True)
class Answer:
    """The rows, or why there are none. `is_full`: because the server takes no more connections, or none that
    are new, as after the password has changed: what is connected serves on. `pid` is that of the server's process, as
    whoever took the connection said."""

    rows: list[tuple[Any, ...]]
    trouble: str = ""
    is_full: bool = False
    pid: int | None = None


class Question:
    """The last answer of one database to `sql`, and the asking that may be under way.

    It is asked in a thread of its own (a greenlet under gunicorn -k gevent): a server that accepts and never answers
    holds up that thread, a greenlet for LASTS_S, and everybody else gets "no" after PATIENCE_S.
    """

    def __init__(self, sql: str, alias: str = DEFAULT_DB_ALIAS) -> None:
        self.sql, self.alias = sql, alias
        self._lock = threading.Lock()
        self._asking: threading.Thread | None = None
        self._answered_at_s = float("-inf")
        self._answer = Answer([])

    @property
    def age_s(self) -> float:
        """How old the last answer is; infinity: there was none."""
        return time.monotonic() - self._answered_at_s

    def answer(self) -> Answer:
        """Blocks for PATIENCE_S at most."""
        with self._lock:
            if self.age_s < FRESH_S:
                return self._answer
            if self._asking is None:
                self._asking = threading.Thread(target=self._ask, name="question", daemon=True)
                self._asking.start()
            asking = self._asking
        asking.join(PATIENCE_S)
        late = Answer([], f"PostgreSQL did not answer within {PATIENCE_S:g} s")
        return late if asking.is_alive() else self._answer

    def _ask(self) -> None:
        try:
            with green.time_limit(LASTS_S), closing(plain_connection(self.alias)) as connection:
                with connection.cursor() as cursor:
                    cursor.execute(self.sql)
                    info = getattr(connection.connection, "info", None)  # another database's has none
                    answer = Answer(cursor.fetchall(), pid=info and info.backend_pid)
        except green.TimeLimit:
            answer = Answer([], f"PostgreSQL did not answer within {LASTS_S:g} s")
        except Exception as error:  # whatever it is, the answer is no and this is why
            reason = unavailable(error)
            is_full = reason is not None and reason.kind == "TooManyConnections"
            is_full = is_full or bool(REFUSED.search(str(error)))
            answer = Answer([], str(error).strip() or repr(error), is_full)
        with self._lock:
            self._answer, self._answered_at_s, self._asking = answer, time.monotonic(), None


class Readiness:
    """Whether one database answers at all."""

    def __init__(self, alias: str = DEFAULT_DB_ALIAS) -> None:
        self._question = Question("SELECT 1", alias)
        self._answered_at_s = float("-inf")
        self._logged: set[str] = set()

    def trouble(self, patience_s: float = 0.0) -> str:
        """Why the database does not answer; empty when it does, or did `patience_s` ago, also where it takes no more
        connections and the pool has some: those serve. Each reason is logged once. Blocks for PATIENCE_S at most."""
        answer = self._question.answer()
        serves = answer.is_full and self._has_connections()
        if serves or not answer.trouble:
            self._answered_at_s = time.monotonic()
        if not answer.trouble:
            self._logged = set()
            return ""
        said = f"{'ready by the open connections alone' if serves else 'not ready'}: {' '.join(answer.trouble.split())}"
        if said not in self._logged:
            self._logged.add(said)
            logger.warning("%s", said)
        return "" if serves or time.monotonic() - self._answered_at_s < patience_s else answer.trouble

    def _has_connections(self) -> bool:
        return any(pool.get_stats()["pool_size"] for pool in pools() if pool.name == self._question.alias)
