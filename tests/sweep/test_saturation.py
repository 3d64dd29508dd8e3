"""The bottleneck is named, with the numbers that it was read from."""

from dataclasses import replace

import pytest
from synthetic import CONDITIONS, verdict_of

from benchmarks.verdicts.truth import flat, hinge
from pooldemo.sweep.facts import Plan

MANY = {"Lock:tuple": 12.0, "Lock:transactionid": 1.0, "Timeout:PgSleep": 1.0, "idle": 30.0}


@pytest.mark.parametrize(
    ("fields", "cause", "witness"),
    [
        ({"postgresql_cpu": 1.9}, "postgresql-cpu", "PostgreSQL's CPU: it used 1.9 of 2 cores"),
        ({"postgresql_cpu": 1.6, "server_cpu": 0.2, "generator_cpu": 0.1}, "postgresql-cpu", "used 1.6 of 2 cores"),
        (
            {"worker_cpu": 0.97},
            "hub",
            "one thread runs all its greenlets, and its core is full (97%)",
        ),
        (
            {"postgresql_cpu": 0.8, "server_cpu": 0.5, "generator_cpu": 0.5},
            "machine-cpu",
            "by all (PostgreSQL 0.8",
        ),
        (
            {"other_cpu": 1.5, "postgresql_cpu": 0.3, "server_cpu": 0.1},
            "neighbour",
            "something else on it used 1.5",
        ),
        ({"steal_cpu": 0.9, "postgresql_cpu": 1.0}, "steal", "the host of this machine: it gave 0.9 of 2 cores"),
        ({"throttled": 0.8, "postgresql_cpu": 0.3}, "quota", "its 0.5 cores ran out in 80% of the periods"),
        ({"throttled": 0.2, "postgresql_cpu": 0.3}, "", ""),
        ({"waits": MANY}, "lock", "a lock inside PostgreSQL (13 of 14 busy connections, most of them in Lock:tuple)"),
        ({"waits": {"IO:WalSync": 5.0, "CPU": 1.0}}, "wal", "write-ahead log: its flush at each commit (5 of 6"),
        ({"waits": {"LWLock:WALWrite": 3.0, "IO:WALSync": 2.0}}, "wal", "most of them in LWLock:WALWrite"),
        ({"waits": {"IO:DataFileRead": 5.0, "CPU": 1.0}}, "disk", "PostgreSQL's disk"),
        (
            {"waits": {"IO:DataFileRead": 5.0, "CPU": 1.0}, "io": {"reads": 3200.0, "writes": 15.0}},
            "disk",
            "most of them in IO:DataFileRead; 3.2 pages read for each request)",
        ),
        (
            {"waits": {"IO:WalSync": 5.0}, "io": {"reads": 4500.0, "wal_fsyncs": 900.0}},
            "wal",
            "most of them in IO:WalSync; 0.9 flushes for each request)",
        ),
        (
            {"waits": {"IO:WalSync": 5.0}, "io": {"reads": 4500.0, "wal_fsyncs": 0.0}},
            "wal",
            "most of them in IO:WalSync)",
        ),
        ({"waits": {"LWLock:ProcArray": 5.0, "CPU": 1.0}}, "contention", "shared memory"),
        (
            {"waits": {"idle in transaction": 5.0, "CPU": 1.0}},
            "transactions",
            "while they hold a slot (5 of 6",
        ),
        ({"throttled": 0.5, "postgresql_cpu": 0.3}, "quota", "in 50% of the periods"),
        ({"waits": {"Lock:tuple": 2.0, "CPU": 2.0}}, "lock", "(2 of 4 busy connections"),
        ({"waits": {"Lock:tuple": 1.9, "CPU": 2.1}}, "", ""),
        ({"hold_mean_ms": lambda size: size**0.65}, "lock", "the more slots"),
        ({"hold_mean_ms": lambda size: size**0.55}, "", ""),
        ({"waits": {"Timeout:PgSleep": 5.0, "idle": 50.0}}, "", ""),
        ({"hold_mean_ms": lambda size: 10.0 * size}, "lock", "a lock inside PostgreSQL: the more slots"),
        ({"hold_mean_ms": 10.0, "postgresql_cpu": 0.2}, "", ""),
    ],
)
def test_it_names_what_ran_out_first_and_its_witness(fields, cause, witness):
    verdict = verdict_of(flat, conditions=replace(CONDITIONS, cpu_quota=0.5), **fields)
    assert (verdict.cause, bool(verdict.saturated)) == (cause, bool(cause))
    assert witness in verdict.saturated


def test_it_looks_at_the_plateau_for_a_hold_that_grows():
    assert verdict_of(hinge(16), hold_mean_ms=lambda size: size**0.65).cause == "lock"
    assert verdict_of(hinge(16), hold_mean_ms=lambda size: min(size, 16)).cause == ""


def test_it_names_the_demand_where_no_more_was_asked_for():
    carried = hinge(4)(16)
    asked = verdict_of(hinge(4), plan=Plan(users=1000, rate=carried), noise=0.01)
    assert (asked.cause, asked.saturated) == ("rate", f"the demand: no more than {carried:g} requests/s were asked for")
    assert verdict_of(hinge(4), plan=Plan(users=1000, rate=1.2 * carried), noise=0.01).cause == ""


GROWS = {"hold_mean_ms": lambda size: 10.0 * size}


@pytest.mark.parametrize(
    ("plan", "local"), [(Plan(users=1000), False), (Plan(users=1000, host="http://127.0.0.1:8000"), True)]
)
def test_it_calls_nothing_a_lock_on_a_machine_whose_cpu_it_does_not_see(plan, local):
    conditions = replace(CONDITIONS, postgresql_is_local=local)
    seen = verdict_of(flat, plan=plan, conditions=conditions, **GROWS)
    assert seen.cause == ""
    assert "behind the slots, on a machine that cannot be seen from here: the more slots" in seen.because
    assert "no CPU that can be seen from here was full" in verdict_of(flat, plan=plan, conditions=conditions).because
    locked = verdict_of(flat, plan=plan, conditions=conditions, waits=MANY, **GROWS)
    assert locked.cause == "lock", "PostgreSQL says so itself"


def test_it_names_the_cpu_where_the_connections_wait_for_nothing_else():
    """A container's one CPU, on a host of eight."""
    seen = verdict_of(flat, waits={"CPU": 7.0, "Lock:tuple": 1.0, "idle": 3.0}, **GROWS)
    assert seen.cause == "postgresql-cpu"
    assert "PostgreSQL's CPU, or what it may have of it: 7 of 8 busy connections wait for nothing else" in seen.because


def test_it_says_nothing_of_slots_that_it_was_not_told_of():
    assert "no CPU was full, and slots were not held longer." in verdict_of(flat, hold_mean_ms=10.0).because
    assert "no CPU was full." in verdict_of(flat).because
