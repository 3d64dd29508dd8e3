"""The facts of the five write-ups this project grew from (docs/stacks.md), each seen on its own system and on ours."""

import json
import statistics
import subprocess
import time

import pytest

from pooldemo.sweep.stacks.stack import ROOT

from .conftest import Answer, Fleet, Running

OURS = "pooldemo"


@pytest.fixture(scope="module", autouse=True)
def ordered(fleet: Fleet) -> None:
    """Start what the tests below ask for, in their order, while the first of them run: they mostly sleep."""
    for stack in ("flask-sqlalchemy", OURS, "connect-each"):
        fleet.order(stack, 20)
    for stack in ("sqlalchemy-async", "upool"):
        fleet.order(stack, 5)
    for stack in ("upool", OURS):
        fleet.order(stack, 3, workers=2)
    for stack in ("dbutils-pooled", "global-lock", "dbutils-persistent", OURS):
        fleet.order(stack, 3)
    fleet.order("dbutils-pooled", 1, BLOCKING=0)
    fleet.order(OURS, 1, POOL_TIMEOUT=0)
    fleet.order("shared-session", 4)
    for stack in ("scoped-session", OURS):
        fleet.order(stack, 8)


def statuses(answers: list[Answer]) -> list[int]:
    return sorted(answer.status for answer in answers)


def waves(answers: list[Answer]) -> list[int]:
    """How many answers came together, wave by wave: a new wave begins after a pause of more than half the first."""
    sizes, begun_s, first_s = [0], answers[0].at_s, answers[0].at_s
    for answer in answers:
        if answer.at_s - begun_s > first_s / 2:
            sizes.append(0)
            begun_s = answer.at_s
        sizes[-1] += 1
    return sizes


def wait_ms(running: Running, times: int = 15) -> float:
    return statistics.median(json.loads(running.get("/fast/").text)["wait_ms"] for _ in range(times))


class TestAsyncFlask:
    """Seed 0: with room for all they arrive together; else in waves, one for each time the slots are used."""

    @pytest.mark.parametrize("stack", ["flask-sqlalchemy", OURS])
    def test_it_answers_in_waves(self, fleet: Fleet, stack: str) -> None:
        running = fleet.get(stack, 20)
        assert waves(running.at_once(5, "/slow/?ms=400")) == [5]
        answers = running.at_once(30, "/slow/?ms=400")
        assert statuses(answers) == [200] * 30
        assert waves(answers) == [20, 10]
        assert 1.5 < answers[-1].at_s / answers[0].at_s < 2.5

    def test_without_a_pool_there_is_one_wave_and_no_cap(self, fleet: Fleet) -> None:
        running = fleet.get("connect-each", 20)
        answers = running.at_once(30, "/slow/?ms=400")
        assert (statuses(answers), waves(answers)) == ([200] * 30, [30])


class TestAsyncSqlalchemy:
    """Seed 1: connections that stay open when idle are the pool at work."""

    def test_its_pool_has_five_connections_by_default(self) -> None:
        code = "import sqlalchemy.ext.asyncio as a; print(a.create_async_engine('postgresql+asyncpg://').pool.size())"
        python = ROOT / ".venv-peers/bin/python"
        assert subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout == "5\n"

    @pytest.mark.parametrize(("stack", "size"), [("sqlalchemy-async", 5), (OURS, 20)])
    def test_idle_connections_stay_open_and_are_no_leak(self, fleet: Fleet, stack: str, size: int) -> None:
        running = fleet.get(stack, size)
        for _ in range(3):
            assert statuses(running.at_once(2 * size, "/slow/?ms=100")) == [200] * 2 * size
            states = running.wait_for_connections(lambda states: set(states) == {"idle"})
            assert states == ["idle"] * size


class TestUpool:
    """Seed 2: it fails fast, and pays for it; pools multiply by the number of processes."""

    def test_it_fails_before_the_first_success_when_queries_outlast_its_retries(self, fleet: Fleet) -> None:
        running = fleet.get("upool", 5)
        running.at_once(5, "/slow/?ms=50")
        answers = running.at_once(20, "/slow/?ms=700")
        assert [answer.status for answer in answers] == [503] * 15 + [200] * 5
        assert json.loads(answers[0].text) == {"code": 0, "msg": "queue empty"}

    def test_ours_serves_them_all(self, fleet: Fleet) -> None:
        assert statuses(fleet.get(OURS, 20).at_once(80, "/slow/?ms=200")) == [200] * 80

    @pytest.mark.parametrize("stack", ["upool", OURS])
    def test_each_process_has_a_pool_of_its_own(self, fleet: Fleet, stack: str) -> None:
        running = fleet.get(stack, 3, workers=2)
        deadline_s = time.monotonic() + 20
        while len(running.connections()) <= 3 and time.monotonic() < deadline_s:
            running.at_once(20, "/slow/?ms=50")
        assert 3 < len(running.connections()) <= 6


class TestDbutils:
    """Seed 3: a connection each time; one under a lock; one for each thread; a pool."""

    def test_a_connection_each_time_is_slow_and_leaves_none(self, fleet: Fleet) -> None:
        each, locked = fleet.get("connect-each", 20), fleet.get("global-lock", 3)
        assert wait_ms(each) > 5 * wait_ms(locked)
        assert each.wait_for_connections(lambda states: not states) == []

    def test_one_under_a_lock_is_serial(self, fleet: Fleet) -> None:
        running = fleet.get("global-lock", 3)
        assert waves(running.at_once(3, "/slow/?ms=200")) == [1, 1, 1]
        assert len(running.connections()) == 1

    def test_persistent_opens_one_for_each_thread_whatever_the_size(self, fleet: Fleet) -> None:
        running = fleet.get("dbutils-persistent", 3)
        assert waves(running.at_once(12, "/slow/?ms=400")) == [12]

    @pytest.mark.parametrize("stack", ["dbutils-pooled", OURS])
    def test_a_pool_serves_three_users_on_one_two_or_three_connections(self, fleet: Fleet, stack: str) -> None:
        running = fleet.get(stack, 3)
        assert statuses([running.get("/slow/?ms=1") for _ in range(3)]) == [200] * 3
        assert len(running.connections()) == 1, "in turn"
        running.at_once(2, "/slow/?ms=200")
        assert len(running.connections()) == 2, "two overlapped"
        running.at_once(3, "/slow/?ms=200")
        assert len(running.connections()) == 3, "all at once"
        assert waves(running.at_once(6, "/slow/?ms=300")) == [3, 3], "and three more wait"
        assert running.wait_for_connections(lambda states: set(states) == {"idle"}) == ["idle"] * 3

    @pytest.mark.parametrize(
        ("stack", "knob", "refusal"),
        [("dbutils-pooled", {"BLOCKING": 0}, "TooManyConnectionsError"), (OURS, {"POOL_TIMEOUT": 0}, "PoolTimeout")],
    )
    def test_a_full_pool_refuses_when_told_not_to_wait(
        self, fleet: Fleet, stack: str, knob: dict[str, int], refusal: str
    ) -> None:
        answers = fleet.get(stack, 1, **knob).at_once(3, "/slow/?ms=400")
        refused = [answer for answer in answers if answer.status != 200]
        assert [json.loads(answer.text)["error"] for answer in refused] == [refusal] * 2


class TestSessions:
    """Seed 4: one session for all fails as soon as two requests meet on it; one for each greenlet does not."""

    def test_a_shared_session_fails_on_its_one_connection(self, fleet: Fleet) -> None:
        running = fleet.get("shared-session", 4)
        answers = running.at_once(4, "/slow/?ms=400")
        assert 500 in statuses(answers)
        assert len(running.connections()) <= 1

    @pytest.mark.parametrize("stack", ["scoped-session", OURS])
    def test_four_greenlets_have_four_connections(self, fleet: Fleet, stack: str) -> None:
        running = fleet.get(stack, 8)
        assert statuses(running.at_once(4, "/slow/?ms=300")) == [200] * 4
        assert len(running.connections()) == 4
