"""Flask: one global connection under one lock. Serial: it never has two queries at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import psycopg2

from peers.common import DATABASE, Execute, flask_app, on_cursor

lock = Lock()
connection: Any = None


@contextmanager
def checkout() -> Iterator[Execute]:
    global connection
    with lock:
        if connection is None or connection.closed:
            connection = psycopg2.connect(**DATABASE)
        with connection, connection.cursor() as cursor:
            yield on_cursor(cursor)


app = flask_app(checkout)
