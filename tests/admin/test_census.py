"""PostgreSQL's own count of connections."""

from contextlib import closing

import psycopg2
import pytest

from pooldemo import census, readiness
from pooldemo.plain import APPLICATION_NAME
from pooldemo.readiness import Question


@pytest.fixture(autouse=True)
def asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "_question", Question(census.SQL))
    monkeypatch.setattr(readiness, "FRESH_S", 0.0)


@pytest.mark.django_db
def test_it_counts_the_connections_of_a_name_and_the_others_apart(database_url: str) -> None:
    before = census.take("counted")
    with closing(psycopg2.connect(database_url, application_name="counted")):
        after = census.take("counted")
    assert (before.connections, after.connections) == (0, 1)
    assert census.take("someone else").others >= 1


@pytest.mark.django_db
def test_it_does_not_count_itself() -> None:
    assert census.take(APPLICATION_NAME).connections == 0


def test_it_says_why_it_cannot_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(alias: str) -> None:
        raise OSError("connection refused")

    monkeypatch.setattr(readiness, "plain_connection", refuse)
    found = census.take("counted")
    assert (found.connections, found.trouble) == (None, "connection refused")
