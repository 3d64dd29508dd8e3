"""Async Flask: gevent, psycogreen, and SQLAlchemy's QueuePool: POOL_SIZE connections kept, MAX_OVERFLOW more.

An overflow connection is closed at checkin unless there is room among the kept ones; MAX_CONNS is the sum of the two
(its authors had 10 and 10). `manage.py burst N --stack flask-sqlalchemy` sends N requests at once and prints each as it
arrives.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import create_engine
from sqlalchemy.orm import scoped_session, sessionmaker

from peers.common import MAX_CONNS, Execute, flask_app, knob, on_session, sqlalchemy_url

MAX_OVERFLOW = knob("MAX_OVERFLOW", MAX_CONNS // 2)
POOL_SIZE = knob("POOL_SIZE", MAX_CONNS - MAX_OVERFLOW)

engine = create_engine(sqlalchemy_url("psycopg2"), pool_size=POOL_SIZE, max_overflow=MAX_OVERFLOW)
session = scoped_session(sessionmaker(engine))


@contextmanager
def checkout() -> Iterator[Execute]:
    try:
        yield on_session(session)
        session.commit()
    finally:
        session.remove()


app = flask_app(checkout)
