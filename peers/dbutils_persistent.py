"""Flask + DBUtils: `PersistentDB`, a connection for each thread.

Thread-local storage is a greenlet's own under gevent's monkey patch, and a greenlet serves one client's connection: as
many connections as clients that stay connected. Nothing limits them. `close()` does not close, unless CLOSEABLE.
"""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2
from dbutils.persistent_db import PersistentDB

from peers.common import DATABASE, Execute, flask_app, knob, on_cursor

persistent = PersistentDB(
    psycopg2,
    maxusage=knob("MAXUSAGE", 0),  # uses before a connection is opened anew; 0: no limit
    setsession=[],
    ping=knob(
        "PING", 0
    ),  # 0 never, 1 at each checkout (psycopg2 has no ping, so only as far as SQL is given), 7 always
    closeable=bool(knob("CLOSEABLE", 0)),
    threadlocal=threading.local,
    **DATABASE,
)


@contextmanager
def checkout() -> Iterator[Execute]:
    with closing(persistent.connection()) as connection:
        with closing(connection.cursor()) as cursor:
            yield on_cursor(cursor)
        connection.commit()


app = flask_app(checkout)
