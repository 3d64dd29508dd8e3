"""Errors that mean "not now": what a visitor is told when no slot came in time or PostgreSQL cannot be reached.

Every pool says it in its own way, so here stand the words of Django, psycopg, psycopg_pool and SQLAlchemy. Other
database errors are bugs of the request and stay what they are.
"""

import re
from dataclasses import dataclass

from django.db import DatabaseError, Error, InterfaceError, OperationalError, ProgrammingError

_POOL_ERRORS = (
    "PoolTimeout",
    "PoolFull",
    "PoolClosed",
    "DeadlineExceeded",
    "ClientGone",
    "TooManyRequests",
)  # the last one is psycopg_pool's PoolFull
ENDED = ("DeadlineExceeded", "ClientGone")  # of these a limit is the reason, not the database
# Of a refused connect libpq gives no code, only the text: PgBouncer's, PostgreSQL's, its database's, its role's.
BETWEEN = re.compile("no more connections allowed|client connections exceeded")  # of one user or database since 1.24
FULL = re.compile(f"too many clients|too many connections|connection slots are reserved|{BETWEEN.pattern}")
# What may change while open connections serve: a password (PostgreSQL's words, PAM's, PgBouncer's), a certificate.
REFUSED = re.compile("authentication failed|certificate")
_CLOSED_TEXTS = ("connection already closed", "connection is closed")
_UNDEFINED_TABLE = "42P01"
_TOO_MANY_CONNECTIONS = "53300"


@dataclass(frozen=True)
class Unavailable:
    """Why a request cannot be served now: a stable `kind`, a sentence with the numbers, and when to ask again."""

    kind: str
    message: str
    retry_after_s: int


def unavailable(error: BaseException) -> Unavailable | None:
    """What to answer with 503 for `error`, or None when it is an error of another kind."""
    for each in (error, error.__cause__):
        if kind := _pool_error(each):
            return Unavailable(kind, str(each).strip(), 1)
    text = str(error).strip()
    if not isinstance(error, Error):
        return None
    sqlstate = getattr(error.__cause__, "pgcode", None) or getattr(error.__cause__, "sqlstate", None) or ""
    if isinstance(error, ProgrammingError) and sqlstate == _UNDEFINED_TABLE:
        return Unavailable("NotMigrated", f"{text.splitlines()[0]}: run python manage.py migrate", 5)
    if not is_operational(error):
        return None
    if sqlstate == _TOO_MANY_CONNECTIONS or FULL.search(text):
        return Unavailable("TooManyConnections", f"PostgreSQL takes no more connections: {text}", 1)
    if isinstance(error, InterfaceError) and not any(words in text for words in _CLOSED_TEXTS):
        return None  # a cursor that was used wrongly
    if not sqlstate or sqlstate.startswith(("08", "57P")):
        return Unavailable("DatabaseDown", f"PostgreSQL cannot be reached or ended the connection: {text}", 5)
    return None


def is_operational(error: Error) -> bool:
    """Whether it is about the connection or the server, not about the statement or the row. psycopg2 has no class for
    that where the server ended a connection for the crash of another's process; errors of that class that are Django's
    own, such as of a row that is not there, have no cause."""
    has_no_class = type(error) is DatabaseError and type(error.__cause__).__name__ == "DatabaseError"
    return has_no_class or isinstance(error, OperationalError | InterfaceError)


def _pool_error(error: BaseException | None) -> str | None:
    name = type(error).__name__
    if name in _POOL_ERRORS:
        return name
    return "PoolTimeout" if name == "TimeoutError" and type(error).__module__.startswith("sqlalchemy") else None
