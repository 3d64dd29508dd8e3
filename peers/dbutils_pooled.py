"""Flask + DBUtils: `PooledDB`, at most MAXCONNECTIONS, of which MAXCACHED are kept when idle.

With BLOCKING a request waits for a connection, without a time limit and in no order; without it, it fails at once with
TooManyConnectionsError. `close()` gives back, it does not close. A connection found dead is opened anew, except after
`begin()`, which nobody calls here.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2
from dbutils.pooled_db import PooledDB

from peers.common import DATABASE, MAX_CONNS, Execute, flask_app, knob, on_cursor

pool = PooledDB(
    psycopg2,
    mincached=knob("MINCACHED", 0),
    maxcached=knob("MAXCACHED", MAX_CONNS),
    maxconnections=knob("MAXCONNECTIONS", MAX_CONNS),
    maxshared=knob("MAXSHARED", 0),  # psycopg2's green connections serve one greenlet at a time, so none is shared
    blocking=bool(knob("BLOCKING", 1)),
    maxusage=knob("MAXUSAGE", 0),
    setsession=[],
    ping=knob("PING", 0),
    **DATABASE,
)


@contextmanager
def checkout() -> Iterator[Execute]:
    with closing(pool.connection()) as connection:
        with closing(connection.cursor()) as cursor:
            yield on_cursor(cursor)
        connection.commit()


app = flask_app(checkout)
