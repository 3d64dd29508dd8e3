"""What `make bench` says of whole requests: ratios to the reference of the same driver, and how short a p99 can be."""

from benchmarks.pool.requests import FLOOR, OURS, PSYCOPG2, PSYCOPG3, REFERENCE, RIVAL, WHO_ASKS, Asked, Subject, table
from pooldemo.sweep import stacks


def asked(cpu_us: float, rps: float, p99_ms: float) -> Asked:
    return Asked([cpu_us, cpu_us, 1e9], [rps, rps, 0.0], [p99_ms, p99_ms, 1e9])  # one turn that was disturbed


def test_it_compares_with_the_same_drivers_reference_and_tells_how_short_a_p99_can_be():
    stack = stacks.get("persistent")
    found = {
        Subject(PSYCOPG2, REFERENCE, stack): asked(400, 2500, 25),
        Subject(PSYCOPG2, FLOOR, stack): asked(420, 2000, 30),
        Subject(PSYCOPG2, OURS, stack): asked(500, 1500, 50),
        Subject(PSYCOPG2, RIVAL, stack): asked(480, 1000, 200),
        Subject(PSYCOPG3, REFERENCE, stack): asked(800, 1000, 60),
    }
    lines = table(found).splitlines()
    assert f"| {OURS} | 500 | 1.25 | 1500 | 0.60 | 33 | 50 |" in lines
    assert f"| {REFERENCE} | 800 | 1.00 | 1000 | 1.00 | 50 | 60 |" in lines
    assert (
        f"20 ms at the rate of `{REFERENCE}` and 25 ms at the rate of `{FLOOR}`, 0.10 and 0.12 of {RIVAL}" in lines[-1]
    )
    assert lines[-1].endswith(f"That of {OURS} is 0.25 of it, and it carries 1.50 of its requests.")
    assert WHO_ASKS in lines
