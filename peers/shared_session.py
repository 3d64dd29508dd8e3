"""The misuse: one global SQLAlchemy session shared by every request.

The pool behind it is configured and never used: one session holds one connection. As soon as two requests overlap, they
meet on it and fail: "connection is busy with results for another command" there, in psycopg2's and SQLAlchemy's words.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from peers.common import MAX_CONNS, Execute, flask_app, on_session, sqlalchemy_url

engine = create_engine(sqlalchemy_url("psycopg2"), pool_size=MAX_CONNS, max_overflow=0)
session = Session(engine)


@contextmanager
def checkout() -> Iterator[Execute]:
    yield on_session(session)
    session.commit()


app = flask_app(checkout)
