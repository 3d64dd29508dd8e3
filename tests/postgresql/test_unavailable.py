"""Which errors mean "not now", whoever raises them."""

import pytest
from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError, ProgrammingError, connection
from django.test import RequestFactory

from pooldemo.demo.middleware import PooldemoMiddleware
from pooldemo.postgresql.errors import PoolClosed, PoolFull, PoolTimeout
from pooldemo.postgresql.unavailable import unavailable


class DriverError(Exception):
    """What Django's errors have as their cause."""

    def __init__(self, pgcode: str | None) -> None:
        self.pgcode = pgcode


class PlainError(DriverError):
    """Of no class that a driver has for it."""


PlainError.__name__ = "DatabaseError"


def caused(error: DatabaseError | InterfaceError, pgcode: str | None, by: type[DriverError] = DriverError) -> Exception:
    error.__cause__ = by(pgcode)
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PoolTimeout("no connection within 0.2 s"), "PoolTimeout"),
        (PoolFull("12 waiting"), "PoolFull"),
        (PoolClosed("closed"), "PoolClosed"),
        (caused(OperationalError("FATAL:  sorry, too many clients already"), None), "TooManyConnections"),
        (caused(OperationalError('FATAL:  too many connections for role "x"'), None), "TooManyConnections"),
        (caused(OperationalError("ERROR:  no more connections allowed (max_client_conn)"), None), "TooManyConnections"),
        (
            caused(OperationalError("FATAL:  client connections exceeded (max_user_client_connections)"), None),
            "TooManyConnections",
        ),
        (caused(OperationalError("remaining connection slots are reserved"), "53300"), "TooManyConnections"),
        (caused(OperationalError("connection refused"), None), "DatabaseDown"),
        (caused(OperationalError("terminating connection due to administrator command"), "57P01"), "DatabaseDown"),
        (caused(InterfaceError("connection already closed"), None), "DatabaseDown"),
        (caused(DatabaseError("server closed the connection unexpectedly"), None, PlainError), "DatabaseDown"),
        (caused(ProgrammingError('relation "pooldemo_row" does not exist\nLINE 1'), "42P01"), "NotMigrated"),
    ],
)
def test_it_names_what_is_only_a_bad_time(error: Exception, kind: str) -> None:
    reason = unavailable(error)
    assert reason is not None
    assert reason.kind == kind
    assert str(error).splitlines()[0] in reason.message


@pytest.mark.parametrize(
    "error",
    [
        caused(OperationalError("canceling statement due to statement timeout"), "57014"),
        caused(OperationalError("deadlock detected"), "40P01"),
        caused(ProgrammingError("syntax error"), "42601"),
        caused(DatabaseError("raised with an ERRCODE of its own"), "MY001", PlainError),
        DatabaseError("Save with update_fields did not affect any rows."),
        IntegrityError("duplicate key"),
        ValueError("bug"),
        TimeoutError("of something else"),
    ],
)
def test_it_leaves_other_errors_what_they_are(error: Exception) -> None:
    assert unavailable(error) is None


def test_it_answers_503_for_any_view_that_got_no_slot() -> None:
    middleware = PooldemoMiddleware(lambda request: None)  # type: ignore[arg-type, return-value]
    response = middleware.process_exception(RequestFactory().get("/admin/"), PoolTimeout("no connection within 0.2 s"))
    assert response is not None
    assert (response.status_code, response["Retry-After"]) == (503, "1")


@pytest.mark.django_db
def test_it_knows_the_drivers_own_error_of_a_missing_table() -> None:
    with pytest.raises(ProgrammingError) as raised, connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pooldemo_nothing")
    reason = unavailable(raised.value)
    assert reason is not None
    assert reason.kind == "NotMigrated"
    assert "manage.py migrate" in reason.message
