"""What a pool says of itself adds up."""

import pytest

from pooldemo.pool import BOUNDS_S, Histogram, PoolTimeout

from .world import Clock, Gate, Holding, Refused, assert_whole, make, queue, taken


def test_it_shows_its_state():
    pool, _ = make(MAX_CONNS=5, name="default")
    assert repr(pool) == "<Pool default: 0/5 in use, 0 idle, 0 waiting>"
    holders = [Holding(pool).has_it() for _ in range(5)]
    line = queue(pool, 2)
    assert repr(pool) == "<Pool default: 5/5 in use, 0 idle, 2 waiting>"
    for holding in [*holders, *line]:
        holding.give_back()
    assert repr(pool) == "<Pool default: 0/5 in use, 5 idle, 0 waiting>"
    pool.close()
    assert repr(pool) == "<Pool default (closed): 0/5 in use, 0 idle, 0 waiting>"


def test_it_counts_so_that_requests_are_served_failed_or_in_progress():
    pool, connector = make(MAX_CONNS=2)
    gate = Gate()

    def connect(number):
        if number == 3:
            raise Refused
        if number == 4:
            gate.wait()

    def in_progress():
        stats = pool.get_stats()
        return stats["requests_num"] - sum(pool.histograms()["wait"].counts) - stats["requests_errors"]

    connector.on_connect = connect
    with taken(pool) as holders:
        assert in_progress() == 0
        line = queue(pool, 3)
        assert in_progress() == 3
        assert pool.get_stats()["requests_queued"] == 3
        with pytest.raises(PoolTimeout):
            pool.checkout(timeout=0)
        assert in_progress() == 3
        connector.dead = {1, 2}
        holders[0].give_back()
        with pytest.raises(Refused):
            line[0].worker.result()
        gate.has(1)
        assert in_progress() == 2
        gate.open()
        line[1].give_back()
        line[2].give_back()
    stats = pool.get_stats()
    assert in_progress() == 0
    assert (stats["requests_num"], stats["requests_errors"], stats["requests_timeouts"]) == (6, 2, 1)
    assert (stats["connections_num"], stats["connections_errors"], stats["returns_bad"]) == (4, 1, 2)
    assert stats["returns_num"] == 4
    assert_whole(pool, connector)


def test_it_counts_dead_connections_found_at_checkout():
    pool, connector = make(MAX_CONNS=1)
    pool.checkin(pool.checkout())
    connector.dead.add(1)
    pool.checkin(pool.checkout())
    stats = pool.get_stats()
    assert stats["connections_lost"] == 1
    assert stats["requests_num"] == sum(pool.histograms()["wait"].counts) == 2


def test_it_measures_waits_holds_and_connects():
    clock = Clock()
    pool, connector = make(MAX_CONNS=1, clock=clock, POOL_TIMEOUT=None)
    connector.on_connect = lambda number: setattr(clock, "now", clock.now + 2)
    with taken(pool) as (holder,):
        (waiter,) = queue(pool, 1)
        clock.now += 3
        holder.give_back()
        waiter.has_it()
        clock.now += 4
        waiter.give_back()
    stats = pool.get_stats()
    assert stats["connections_ms"] == 2000
    assert stats["requests_wait_ms"] == 2000 + 3000
    assert stats["usage_ms"] == 3000 + 4000
    assert {name: sum(histogram.counts) for name, histogram in pool.histograms().items()} == {
        "wait": 2,
        "hold": 2,
        "connect": 1,
    }


def test_it_counts_a_duration_in_the_bucket_that_holds_it():
    histogram = Histogram()
    for seconds in (0.0, BOUNDS_S[0], BOUNDS_S[1], 1e9):
        histogram.add(seconds)
    assert histogram.counts[:3] == [2, 1, 0]
    assert histogram.counts[-1] == 1
    assert len(histogram.counts) == len(BOUNDS_S) + 1


def test_it_has_psycopg_pools_keys():
    pool, _ = make(MAX_CONNS=3, MIN_CONNS=1)
    stats = pool.get_stats()
    assert {
        "pool_min", "pool_max", "pool_size", "pool_available", "requests_waiting", "usage_ms", "requests_num",
        "requests_queued", "requests_wait_ms", "requests_errors", "returns_bad", "connections_num", "connections_ms",
        "connections_errors", "connections_lost",
    } <= set(stats)  # fmt: skip
    assert (stats["pool_min"], stats["pool_max"], stats["pool_size"]) == (1, 3, 0)
