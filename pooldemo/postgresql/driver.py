"""The driver's seam: psycopg2 or psycopg 3, whichever Django chose."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from django.db.backends.postgresql.psycopg_any import is_psycopg3

if TYPE_CHECKING:
    from .psycopg2_session import MODULE, PostgresSession, is_lost
elif is_psycopg3:
    from .psycopg3_session import MODULE, PostgresSession, is_lost
else:
    from .psycopg2_session import MODULE, PostgresSession, is_lost

__all__ = ["Error", "OperationalError", "PostgresSession", "connecting", "is_lost", "is_psycopg3"]

Error: type[Exception] = MODULE.Error
OperationalError: type[Exception] = MODULE.OperationalError


def connecting(session: PostgresSession, limit_s: float) -> Any:
    """The driver's module as Django's wrapper knows it, whose `connect` opens this session."""
    return SimpleNamespace(**{**vars(MODULE), "connect": lambda **params: session.connect(params, limit_s)})
