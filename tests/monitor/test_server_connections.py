"""PostgreSQL's own count of connections."""

from contextlib import closing
from dataclasses import replace

import psycopg2
import pytest

from pooldemo.monitor import readiness, server_connections, terminal
from pooldemo.monitor.overview import Overview, Pool
from pooldemo.monitor.readiness import Question
from pooldemo.monitor.server_connections import Census, Comparer, Comparison
from pooldemo.postgresql.unpooled import APPLICATION_NAME


@pytest.fixture(autouse=True)
def asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_connections, "_question", Question(server_connections.SQL))
    monkeypatch.setattr(readiness, "FRESH_S", 0.0)


@pytest.mark.django_db
def test_it_counts_the_connections_of_a_name_and_the_others_apart(database_url: str) -> None:
    before = server_connections.take("counted")
    with closing(psycopg2.connect(database_url, application_name="counted")):
        after = server_connections.take("counted")
    assert (before.connections, after.connections) == (0, 1)
    assert server_connections.take("someone else").others >= 1


@pytest.mark.django_db
def test_it_does_not_count_itself() -> None:
    assert server_connections.take(APPLICATION_NAME).connections == 0


def test_it_says_why_it_cannot_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(alias: str) -> None:
        raise OSError("connection refused")

    monkeypatch.setattr(readiness, "plain_connection", refuse)
    found = server_connections.take("counted")
    assert (found.connections, found.trouble) == (None, "connection refused")


@pytest.mark.django_db
def test_it_knows_a_proxy_by_the_numbers_that_it_gives_out(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    """PgBouncer has other connections than the pools: "they differ" stood there all the time."""
    with closing(psycopg2.connect(database_url, application_name="counted")):
        assert not server_connections.take("counted").between
        real = server_connections._question.answer()
        monkeypatch.setattr(server_connections._question, "answer", lambda: replace(real, pid=-1761524991))
        counted = server_connections.take("counted")
    assert (counted.connections, counted.between) == (1, True)
    looks = Looks()
    looks.after(0, counted.connections, 8, between=True)
    seen = looks.after(5, counted.connections, 8, between=True)
    assert (seen.differs, seen.moves) == (False, False)
    assert "PgBouncer or another proxy stands between" in terminal._counted(seen).plain


class Looks:
    """A comparer with a clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.comparer = Comparer(lambda: self.now_s)

    def after(
        self, seconds: float, counted: int | None, told: int, between: bool = False
    ) -> server_connections.Comparison:
        self.now_s += seconds
        worker = Pool(1, active=told, idle=0, pending=0, max=9, timeouts=0, errors=0, age_s=0.9)
        return self.comparer.compare(
            Census(counted, age_s=0.4, between=between), Overview((worker,), worker, (), (), counted=worker.connections)
        )


@pytest.fixture
def looks() -> Looks:
    return Looks()


def test_it_calls_no_number_different_that_is_only_older(looks: Looks) -> None:
    first = looks.after(0.0, 4, 3)
    assert (first.differs, first.moves, first.apart_s) == (False, True, 0.9)
    assert not looks.after(2.0, 4, 3).differs
    same = looks.after(2.0, 4, 4)
    assert (same.differs, same.moves) == (False, False)


def test_it_calls_numbers_different_that_stay_so(looks: Looks) -> None:
    looks.after(0.0, 4, 3)
    looks.after(2.0, 4, 3)
    found = looks.after(1.0, 4, 3)
    assert (found.differs, found.moves) == (True, False)


def test_it_calls_numbers_that_move_not_different(looks: Looks) -> None:
    assert not any(looks.after(1.0, 4 + second, 3 + second).differs for second in range(9))


def test_it_calls_nothing_different_that_nobody_looked_at_meanwhile(looks: Looks) -> None:
    looks.after(0.0, 4, 3)
    assert not looks.after(60.0, 4, 3).differs


def test_it_calls_a_server_that_is_down_not_different(looks: Looks) -> None:
    looks.after(0.0, None, 3)
    down = looks.after(5.0, None, 3)
    assert (down.differs, down.moves) == (False, False)


@pytest.mark.parametrize(("counted", "is_shared"), [(9, True), (4, False)])
def test_it_blames_no_pool_for_connections_of_other_processes_of_the_same_name(counted: int, is_shared: bool) -> None:
    """Of two hosts without an application_name each was told that its counts differ, by those of the other one."""
    seen = Comparison(Census(counted), 5, 0.0, differs=True)
    assert ("other processes have the same application_name" in seen.difference) is is_shared
    assert seen.difference in terminal._counted(seen).plain
