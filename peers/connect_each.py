"""Flask: a connection for each request. Slow, since each pays a connect, and without a limit."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2

from peers.common import DATABASE, Execute, flask_app, on_cursor


@contextmanager
def checkout() -> Iterator[Execute]:
    with closing(psycopg2.connect(**DATABASE)) as connection, connection, connection.cursor() as cursor:
        yield on_cursor(cursor)


app = flask_app(checkout)
