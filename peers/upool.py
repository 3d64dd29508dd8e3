"""uPool: one queue of connections for each process, taken without waiting; three retries, then an error.

Its authors run it under uWSGI with `lazy-apps` (each process makes its own pool) and pymysql; here it is gunicorn and
psycopg2. DB_POOL_MAX_CONN (theirs is 5) is MAX_CONNS. It answers `{"code": 0, "msg": "queue empty"}` with a status of
200; here the status is 503, so that who counts failures sees one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import psycopg2
from gevent.queue import Empty, Queue

from peers.common import DATABASE, MAX_CONNS, Execute, flask_app, knob, on_cursor

DB_POOL_MAX_CONN = knob("DB_POOL_MAX_CONN", MAX_CONNS)
RETRIES, RETRY_S = 3, 0.1


class QueueEmptyException(Exception):
    """Every connection was taken, RETRIES + 1 times in a row."""


class Pool:
    """At most `max_conn` connections, made at the first need; one that is seen dead at checkin leaves its place."""

    def __init__(self, max_conn: int) -> None:
        self.idle: Queue[Any] = Queue()
        self.max_conn, self.opened = max_conn, 0

    def get(self) -> Any:
        for retry in range(RETRIES + 1):
            if retry:
                gevent.sleep(RETRY_S)
            try:
                return self.idle.get_nowait()
            except Empty:
                if self.opened < self.max_conn:
                    return self.connect()
        raise QueueEmptyException("queue empty")

    def connect(self) -> Any:
        self.opened += 1
        try:
            return psycopg2.connect(**DATABASE)
        except psycopg2.OperationalError:
            self.opened -= 1
            raise

    def put(self, connection: Any) -> None:
        if connection.closed:
            self.opened -= 1
        else:
            self.idle.put(connection)


pool = Pool(DB_POOL_MAX_CONN)


@contextmanager
def checkout() -> Iterator[Execute]:
    connection = pool.get()
    try:
        with connection, connection.cursor() as cursor:
            yield on_cursor(cursor)
    finally:
        pool.put(connection)


app = flask_app(checkout)


@app.errorhandler(QueueEmptyException)
def queue_empty(error: QueueEmptyException) -> Any:
    return {"code": 0, "msg": str(error)}, 503
