"""The cure: `scoped_session`, a session for each thread, which is each greenlet under gevent's monkey patch.

Four greenlets at once use four connections of the pool. `remove()` ends the session and gives its connection back.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import create_engine
from sqlalchemy.orm import scoped_session, sessionmaker

from peers.common import MAX_CONNS, Execute, flask_app, on_session, sqlalchemy_url

engine = create_engine(sqlalchemy_url("psycopg2"), pool_size=MAX_CONNS, max_overflow=0)
session = scoped_session(sessionmaker(engine))


@contextmanager
def checkout() -> Iterator[Execute]:
    try:
        yield on_session(session)
        session.commit()
    finally:
        session.remove()


app = flask_app(checkout)
