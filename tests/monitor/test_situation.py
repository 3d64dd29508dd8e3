"""The sentence over the live pool: what is the case, with its numbers, and what to do."""

from dataclasses import replace

import pytest

from pooldemo.monitor.overview import Overview, Pool, Times, View
from pooldemo.monitor.server_connections import Census
from pooldemo.monitor.situation import situation

FULL = Pool(1, active=4, idle=0, pending=40, max=4, timeouts=0, errors=0)
WAITED = (Times("wait", 90, ("800", "1,200", "1,300")), Times("hold", 90, ("90", "100", "120")))


def pools(*workers: Pool, views: tuple[View, ...] = ()) -> Overview:
    active, idle, pending, slots = (
        sum(getattr(each, name) for each in workers) for name in ("active", "idle", "pending", "max")
    )
    total = Pool(None, active, idle, pending, slots, 0, 0)
    return Overview(workers, total, WAITED, (), views=views)


@pytest.mark.parametrize(
    ("census", "said"),
    [
        (Census(4, running=0), "PostgreSQL is idle: raise MAX_CONNS or hold for less"),
        (Census(4, running=2), "PostgreSQL works on 2 statements at once, on 2 cores: cheaper queries help"),
        (Census(4, running=1), "PostgreSQL works on 1 of 4: raise MAX_CONNS"),
        (Census(4, running=0, locked=3), "3 of their connections wait for locks"),
        (Census(4, running=0, thinking=3), "3 of 4 slots are held by transactions that think: hold for less"),
    ],
)
def test_it_says_who_waits_how_long_and_what_would_help(census: Census, said: str) -> None:
    found = situation(pools(FULL), census, cores=2)
    assert found.kind == "saturated"
    assert found.sentence.startswith(f"Saturated: 40 wait, p95 wait 1.20 s; {said}")


def test_it_names_the_view_that_holds_without_work() -> None:
    found = situation(pools(FULL, views=(View("orders", 10.0, 8.0, ""),)), Census(4, running=0), cores=2)
    assert found.sentence.endswith("hold for less (orders holds 80% of its time without work)")
    seldom = (View("login", 1.0, 0.9, ""), View("orders", 100.0, 1.0, ""))
    assert situation(pools(FULL, views=seldom), Census(4, running=0), cores=2).sentence.endswith("hold for less")


def test_it_says_that_postgresql_is_down_and_how_many_wait() -> None:
    found = situation(pools(FULL), Census(None, trouble="connection refused"))
    assert (found.kind, found.sentence) == (
        "down",
        "PostgreSQL does not answer: connection refused, 40 wait for a slot",
    )


def test_it_counts_one_as_one() -> None:
    """It said "1 wait", and "1 statements at once, on 1 cores"."""
    one = replace(FULL, active=1, max=1, pending=1)
    said = situation(pools(one), Census(1, running=1), cores=1).sentence
    assert said.startswith("Saturated: 1 waits")
    assert "PostgreSQL works on 1 statement at once, on 1 core: cheaper queries help" in said


def test_it_says_when_one_worker_has_the_line_and_another_the_slots() -> None:
    idle = replace(FULL, pid=2, active=1, pending=0)
    assert situation(pools(FULL, idle), Census(5)).sentence.startswith("Saturated at 1 of 2 workers: 40 wait")
    assert (
        "40 wait at worker 1 while worker 2 has 3 of its 4 slots free"
        in situation(pools(FULL, idle), Census(5)).more[0]
    )
    assert situation(pools(FULL, replace(FULL, pid=2)), Census(8)).more == ()


@pytest.mark.parametrize(
    ("worker", "kind"),
    [
        (replace(FULL, pending=0), "full"),
        (replace(FULL, active=2), "full"),
        (replace(FULL, active=1, pending=0), "calm"),
    ],
)
def test_it_calls_a_line_saturated_only_when_the_slots_are_taken(worker: Pool, kind: str) -> None:
    assert situation(pools(worker), Census(1)).kind == kind
