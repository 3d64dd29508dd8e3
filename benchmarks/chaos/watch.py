"""What PostgreSQL shows of the workers while they are under fault: how many connections each has, how many work.

One look each hundredth of a second, on a connection of the superuser's, who is let in when nobody else is.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import psycopg2

from pooldemo.sweep.measure import database
from pooldemo.sweep.measure.observe import Poll

EVERY_S = 0.01
LOOK_SQL = """
    SELECT application_name, count(*), count(*) FILTER (WHERE state <> 'idle' AND query LIKE '%%chaos_ledger%%')
    FROM pg_stat_activity WHERE starts_with(application_name, %s)
    OR (backend_type = 'client backend' AND usesysid IS NULL AND application_name = '') GROUP BY 1
"""
LOGS_IN = ""  # has no name yet, and PostgreSQL does not know its user
STILL_SQL = """
    SELECT count(*) FROM pg_stat_activity
    WHERE starts_with(application_name, %s) AND state = 'active' AND query LIKE '%%chaos_ledger%%'
    AND clock_timestamp() - query_start > interval '1 second'
"""


class Watch(Poll):
    """A thread that looks at the connections whose name begins with `name`, until its block is left.

    While PostgreSQL is away nothing is seen. `peaks` are the most connections by worker, `above_s` the seconds for
    which a worker was seen with more than `size`. Where a network is between that fails, `clients` counts the
    connections by worker: PostgreSQL goes on counting those of which only the network knows that they are no more.
    While `with_logins` is set, `most` and `most_s` tell of all connections together, those that log in among them: the
    most beyond `cap`, and for how long. `most_at_once` are the most of all workers together, at two looks in a row.
    """

    with_logins = False

    def __init__(self, url: str, name: str, size: int, clients: Callable[[], Mapping[str, int]] | None = None) -> None:
        super().__init__(self._note, EVERY_S)
        self._url, self._name, self._size, self._clients = url, f"{name}/", size, clients
        self._connection: Any = None
        self.peaks: dict[str, int] = defaultdict(int)
        self.above_s: dict[str, float] = defaultdict(float)
        self.cap, self.most, self.most_s, self._last = 0, 0, 0.0, 0
        self.most_at_once, self._last_at_once = 0, 0
        self.at_work: list[tuple[float, int]] = []  # (epoch seconds, connections with a request's query)

    def still_running(self) -> int:
        """Queries of requests that run for more than a second now. Blocks; raises when PostgreSQL does not answer."""
        connection = database.connect(self._url)
        try:
            with connection.cursor() as cursor:
                cursor.execute(STILL_SQL, [self._name])
                count: int = cursor.fetchone()[0]
                return count
        finally:
            connection.close()

    def connections(self) -> int:
        """How many there are now."""
        connection = database.connect(self._url)
        try:
            with connection.cursor() as cursor:
                cursor.execute(LOOK_SQL, [self._name])
                return sum(row[1] for row in cursor.fetchall() if row[0] != LOGS_IN)
        finally:
            connection.close()

    def most_at_work(self, since_s: float) -> int:
        """The most connections that were seen with a query at once, from `since_s` (epoch) on."""
        return max((count for at_s, count in self.at_work if at_s >= since_s), default=0)

    def _note(self) -> None:
        seen = self._seen()
        for worker, connections in (self._clients() if self._clients else seen).items():
            self.peaks[worker] = max(self.peaks[worker], connections)
            if connections > self._size:
                self.above_s[worker] += EVERY_S

    def _seen(self) -> dict[str, int]:
        """The connections by worker as PostgreSQL counts them."""
        try:
            if self._connection is None:
                self._connection = database.connect(self._url)
            with self._connection.cursor() as cursor:
                cursor.execute(LOOK_SQL, [self._name])
                rows: list[tuple[str, int, int]] = cursor.fetchall()
        except (psycopg2.Error, database.DatabaseDown):
            self._close()
            return {}
        if self.with_logins:
            self._note_all(sum(connections for _, connections, _ in rows))
        rows = [row for row in rows if row[0] != LOGS_IN]
        at_once = sum(connections for _, connections, _ in rows)
        self.most_at_once = max(self.most_at_once, min(at_once, self._last_at_once))
        self._last_at_once = at_once
        self.at_work.append((time.time(), sum(working for _, _, working in rows)))
        return {worker: connections for worker, connections, _ in rows}

    def _note_all(self, connections: int) -> None:
        # Twice in a row: PostgreSQL reads its processes one by one, and may tell of one that ends and of the next.
        above = min(connections, self._last) - self.cap
        self._last = connections
        self.most = max(self.most, above)
        if above > 0:
            self.most_s += EVERY_S

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._close()
        if self.error is not None:  # what it did not see would read as a promise kept
            raise self.error
