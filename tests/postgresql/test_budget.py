"""The connection budget: what all pools want of a server, and what its narrowest limit leaves them."""

from contextlib import closing
from typing import Any

import pytest
from django.db import connections

from pooldemo.monitor import server_holders
from pooldemo.postgresql import budget, checks
from pooldemo.postgresql.base import DatabaseWrapper
from pooldemo.postgresql.budget import Budget, read_budget
from pooldemo.postgresql.place import place
from pooldemo.postgresql.room import Limits, Taken
from pooldemo.postgresql.unpooled import plain_connection
from pooldemo.site import project


@pytest.mark.parametrize(("max_conns", "fits"), [(48, True), (49, False)])
def test_it_counts_the_reserved_connections(max_conns: int, fits: bool) -> None:
    assert Budget(2, max_conns, Limits(100, 3)).fits is fits


def test_it_says_the_sum_and_the_cure() -> None:
    assert (
        str(Budget(2, 20, Limits(100, 3)))
        == "workers x MAX_CONNS = 2 x 20 = 40 of max_connections - reserved = 100 - 3"
    )
    assert "set MAX_CONNS to 48 or less" in str(Budget(2, 50, Limits(100, 3)))


def test_it_multiplies_by_hosts_and_names_the_narrowest_limit() -> None:
    assert str(Budget(2, 20, Limits(200, 3), hosts=3)) == (
        "hosts x workers x MAX_CONNS = 3 x 2 x 20 = 120 of max_connections - reserved = 200 - 3"
    )
    role = Budget(2, 20, Limits(100, 3, role_limit=30, database_limit=50))
    assert not role.fits
    assert "40 of the role's CONNECTION LIMIT = 30: too many" in str(role)
    assert "set MAX_CONNS to 15 or less, run fewer workers, or raise the role's CONNECTION LIMIT (ALTER ROLE)" in str(
        role
    )
    database = Budget(2, 20, Limits(100, 3, role_limit=60, database_limit=0))
    assert (database.fits, database.room) == (False, 0)
    assert Budget(2, 20, Limits(100, 3, role_limit=40)).fits
    nothing_helps = str(Budget(4, 20, Limits(100, 3), hosts=50))
    assert "connections; run fewer workers or hosts, or raise max_connections" in nothing_helps
    assert "MAX_CONNS to" not in nothing_helps


def test_it_counts_the_pools_of_other_databases_on_the_same_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each fitted alone, and all together did not."""
    assert not Budget(2, 30, Limits(100, 3), beside=Taken(server=20)).fits
    assert "60 of max_connections - reserved = 100 - 3 less the 40 of its other databases: too many" in str(
        Budget(2, 30, Limits(100, 3), beside=Taken(server=20))
    )
    assert "set MAX_CONNS to 28 or less" in str(Budget(2, 30, Limits(100, 3), beside=Taken(server=20)))
    assert Budget(2, 30, Limits(100, 3, role_limit=60), beside=Taken(server=10)).fits, "of another role"
    assert not Budget(2, 30, Limits(100, 3, role_limit=60), beside=Taken(server=10, role=1)).fits
    assert Budget(2, 30, Limits(100, 3), beside=Taken(server=60)).room == 0

    def alias(**changes: Any) -> Any:
        own = connections["default"].settings_dict
        return DatabaseWrapper({**own, "OPTIONS": {**own["OPTIONS"], "MAX_CONNS": 7}} | changes, "other")

    others = [alias(), alias(USER="reports"), alias(NAME="reports"), alias(HOST="replica.example")]
    others.append(alias(OPTIONS={"pool": False}))
    monkeypatch.setattr(connections, "all", lambda: [connections["default"], *others])
    assert budget.beside("default") == Taken(server=21, role=14, database=14)
    own = connections["default"].settings_dict
    of_url = {"host": own["HOST"], "user": own["USER"], "MAX_CONNS": 7}  # as the query of an address leaves it
    others[:] = [
        alias(HOST="", USER="", OPTIONS=of_url),
        alias(HOST="", OPTIONS=of_url | {"host": "/cloudsql/replica"}),
    ]
    assert budget.beside("default") == Taken(server=7, role=7, database=7)


def test_it_leaves_postgresqls_limits_to_whoever_stands_between() -> None:
    pooled = Budget(4, 50, Limits(100, 3, between=True))
    assert pooled.fits
    assert "200 connections to PgBouncer or another proxy, which must take so many clients" in str(pooled)
    assert "no more than max_connections - reserved = 100 - 3 itself" in str(pooled)
    two = str(Budget(4, 50, Limits(100, 3, between=True), beside=Taken(server=20, role=20, database=20)))
    assert "so many clients and the 80 of its other databases (max_client_conn)" in two
    assert two.endswith("no more than max_connections - reserved = 100 - 3 itself")


def test_the_proxy_takes_all_our_clients_and_is_held_to_the_narrowest_limit() -> None:
    """The others have a role of their own: left out beside a small limit of ours, or that limit beside many of them."""
    for others in (0, 40):
        said = str(Budget(2, 5, Limits(40, 3, role_limit=15, between=True), beside=Taken(server=others)))
        assert said.endswith("no more than the role's CONNECTION LIMIT = 15 itself")
    said = str(Budget(2, 5, Limits(40, 3, role_limit=10, between=True), beside=Taken(server=12)))
    assert "so many clients and the 24 of its other databases (max_client_conn)" in said


@pytest.mark.django_db
def test_it_reads_the_limit_of_the_role_and_of_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    name = connections["default"].settings_dict["NAME"]
    monkeypatch.setenv("WEB_HOSTS", "2")
    before = read_budget(1)
    assert (before.hosts, before.limits.database_limit, before.limits.between) == (2, -1, False)
    with closing(plain_connection()) as other, other.cursor() as cursor:
        cursor.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT 290')
        try:
            assert (
                read_budget(1).limits.database_limit == 290
            )  # fewer than other tests' sites may have open would refuse us
            swept = project.conditions(project.database_url(), "")
            assert (swept.room, swept.room_limit) == (read_budget(1).room, read_budget(1).limits.room().raised)
            assert server_holders.look().limits == read_budget(1).limits
        finally:
            cursor.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT -1')


@pytest.mark.django_db
def test_it_reads_the_budget_from_postgresql() -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("SHOW max_connections")
        max_connections = int(cursor.fetchone()[0])
    found = read_budget(3)
    assert (found.workers, found.limits.max_connections) == (3, max_connections)
    assert found.max_conns == connections["default"].pool_options.max_conns  # type: ignore[attr-defined]
    assert found.limits.reserved >= 1


@pytest.mark.parametrize("given", ["many", "0", "9" * 5000])
def test_it_refuses_a_number_of_workers_or_hosts_that_is_none(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more than 4,300 digits Python refuses to read one: it was a traceback."""
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    for variable in ("WEB_HOSTS", "WEB_CONCURRENCY"):
        monkeypatch.setenv(variable, given)
        [error] = checks.check_budget()
        assert error.id == "pooldemo.E003"
        assert f"{variable}={given!r} is not accepted" in error.msg


def test_it_knows_a_server_by_its_port_however_that_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """5432, "5432" and none were three servers: the check said that all fits."""
    for name in ("PGHOST", "PGHOSTADDR", "PGPORT", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    own: dict[str, Any] = {"HOST": "db", "NAME": "shop", "OPTIONS": {}}
    same = [{**own, "PORT": port} for port in ("5432", 5432, "", None)] + [{**own, "OPTIONS": {"port": 5432}}]
    assert len({place(each) for each in same}) == 1
    assert place({**own, "PORT": 5433}) not in {place(each) for each in same}
    monkeypatch.setenv("PGPORT", "5433")
    assert place(own) == place({**own, "PORT": 5433}), "as libpq reads it"
    assert place({**own, "OPTIONS": {"service": "shop"}}) != place(own), "its file may say a port"
    monkeypatch.setenv("PGHOST", "db")
    assert place({**own, "HOST": ""}) == place(own), "as libpq reads it"
    monkeypatch.setenv("PGSERVICE", "shop")
    monkeypatch.delenv("PGPORT")
    assert place({**own, "PORT": 5432}) != place(own), "its file may say a port"
