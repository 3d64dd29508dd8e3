"""What the systems in peers/ are known for (docs/stacks.md): each fact is seen on its own system and on ours."""

import json
import subprocess

import pytest
from served import until

from pooldemo.sweep.stacks.stack import ROOT

from .conftest import Answer, Fleet, Running

OURS = "pooldemo"


@pytest.fixture(scope="module", autouse=True)
def ordered(fleet: Fleet) -> None:
    """Start what the tests below ask for, in their order, while the first of them run: they mostly sleep."""
    for stack in ("flask-sqlalchemy", OURS, "connect-each", "sqlalchemy-async", "upool", "scoped-session"):
        fleet.order(stack, 5)
    for stack in ("upool", OURS):
        fleet.order(stack, 3, workers=2)
    for stack in ("dbutils-pooled", "global-lock", "dbutils-persistent", OURS):
        fleet.order(stack, 3)
    fleet.order("dbutils-pooled", 1, BLOCKING=0)
    fleet.order(OURS, 1, POOL_TIMEOUT=0)
    fleet.order("shared-session", 4)


def statuses(answers: list[Answer]) -> list[int]:
    return sorted(answer.status for answer in answers)


def wait_ms(running: Running, times: int = 15) -> float:
    """The least: nothing but luck makes it less."""
    return min(json.loads(running.get("/fast/").text)["wait_ms"] for _ in range(times))


class TestAsyncFlask:
    """With room for all they are at work together; else as many as there are slots, and then the others."""

    @pytest.mark.parametrize("stack", ["flask-sqlalchemy", OURS])
    def test_it_works_on_as_many_at_once_as_it_has_slots(self, fleet: Fleet, stack: str) -> None:
        running = fleet.get(stack, 5)
        assert running.crowd(3, working=3).working == 3
        crowd = running.crowd(8, working=5)
        assert (crowd.working, crowd.early) == (5, [])
        assert statuses(crowd.answers) == [200] * 8

    def test_without_a_pool_all_are_at_work_at_once(self, fleet: Fleet) -> None:
        crowd = fleet.get("connect-each", 5).crowd(8, working=8)
        assert (statuses(crowd.answers), crowd.working) == ([200] * 8, 8)


class TestAsyncSqlalchemy:
    """Connections that stay open when idle are the pool at work."""

    def test_its_pool_has_five_connections_by_default(self) -> None:
        code = "import sqlalchemy.ext.asyncio as a; print(a.create_async_engine('postgresql+asyncpg://').pool.size())"
        python = ROOT / ".venv-peers/bin/python"
        assert subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout == "5\n"

    @pytest.mark.parametrize("stack", ["sqlalchemy-async", OURS])
    def test_idle_connections_stay_open_and_are_no_leak(self, fleet: Fleet, stack: str) -> None:
        running = fleet.get(stack, 5)
        for _ in range(3):
            assert statuses(running.at_once(10, "/slow/?ms=100")) == [200] * 10
            states = running.wait_for_connections(lambda states: set(states) == {"idle"})
            assert states == ["idle"] * 5


class TestUpool:
    """It fails fast, and pays for it; pools multiply by the number of processes."""

    def test_it_fails_before_the_first_success_when_queries_outlast_its_retries(self, fleet: Fleet) -> None:
        running = fleet.get("upool", 5)
        running.crowd(5, working=5)  # its connections are open now
        crowd = running.crowd(20, working=5, answered=15)
        assert statuses(crowd.early) == [503] * 15
        assert statuses(crowd.answers) == [200] * 5 + [503] * 15
        assert json.loads(crowd.early[0].text) == {"code": 0, "msg": "queue empty"}

    def test_ours_serves_them_all(self, fleet: Fleet) -> None:
        assert statuses(fleet.get(OURS, 5).at_once(20, "/slow/?ms=100")) == [200] * 20

    @pytest.mark.parametrize("stack", ["upool", OURS])
    def test_each_process_has_a_pool_of_its_own(self, fleet: Fleet, stack: str) -> None:
        running = fleet.get(stack, 3, workers=2)

        def more_than_one_has() -> bool:  # which worker takes a connection is the kernel's choice
            running.at_once(20, "/slow/?ms=50")
            return len(running.connections()) > 3

        until(more_than_one_has)
        assert len(running.connections()) <= 6


class TestDbutils:
    """A connection each time; one under a lock; one for each thread; a pool."""

    def test_a_connection_each_time_is_slow_and_leaves_none(self, fleet: Fleet) -> None:
        each, locked = fleet.get("connect-each", 5), fleet.get("global-lock", 3)
        assert wait_ms(each) > 5 * wait_ms(locked)
        assert each.wait_for_connections(lambda states: not states) == []

    def test_one_under_a_lock_is_serial(self, fleet: Fleet) -> None:
        running = fleet.get("global-lock", 3)
        crowd = running.crowd(3, working=1)
        assert (crowd.working, crowd.connections, statuses(crowd.answers)) == (1, 1, [200] * 3)

    def test_persistent_opens_one_for_each_thread_whatever_the_size(self, fleet: Fleet) -> None:
        assert fleet.get("dbutils-persistent", 3).crowd(12, working=12).working == 12

    @pytest.mark.parametrize("stack", ["dbutils-pooled", OURS])
    def test_a_pool_serves_three_users_on_one_two_or_three_connections(self, fleet: Fleet, stack: str) -> None:
        running = fleet.get(stack, 3)
        assert statuses([running.get("/slow/?ms=1") for _ in range(3)]) == [200] * 3
        assert len(running.connections()) == 1, "in turn"
        assert running.crowd(2, working=2).connections == 2, "two overlapped"
        assert running.crowd(3, working=3).connections == 3, "all at once"
        crowd = running.crowd(6, working=3)
        assert (crowd.connections, crowd.early, statuses(crowd.answers)) == (3, [], [200] * 6), "and three more wait"
        assert running.wait_for_connections(lambda states: set(states) == {"idle"}) == ["idle"] * 3

    @pytest.mark.parametrize(
        ("stack", "knob", "refusal"),
        [("dbutils-pooled", {"BLOCKING": 0}, "TooManyConnectionsError"), (OURS, {"POOL_TIMEOUT": 0}, "PoolTimeout")],
    )
    def test_a_full_pool_refuses_when_told_not_to_wait(
        self, fleet: Fleet, stack: str, knob: dict[str, int], refusal: str
    ) -> None:
        crowd = fleet.get(stack, 1, **knob).crowd(3, working=1, answered=2)
        assert [json.loads(answer.text)["error"] for answer in crowd.early] == [refusal] * 2
        assert statuses(crowd.answers)[0] == 200


class TestSessions:
    """One session for all fails as soon as two requests meet on it; one for each greenlet does not."""

    def test_a_shared_session_fails_on_its_one_connection(self, fleet: Fleet) -> None:
        running = fleet.get("shared-session", 4)
        crowd = running.crowd(4, working=1, answered=1)
        assert 500 in statuses(crowd.early)
        assert crowd.connections <= 1

    @pytest.mark.parametrize("stack", ["scoped-session", OURS])
    def test_four_greenlets_work_on_four_connections(self, fleet: Fleet, stack: str) -> None:
        crowd = fleet.get(stack, 5).crowd(4, working=4)
        assert (crowd.working, statuses(crowd.answers)) == (4, [200] * 4)
