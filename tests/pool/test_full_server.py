"""A server that takes no more connections, and lives: the pool goes on with those that it has."""

import pytest

from pooldemo.pool import PoolTimeout

from .world import Clock, Holding, assert_whole, eventually, full, make, queue, until_quiet


def test_it_serves_with_what_comes_back_while_the_server_is_full(caplog):
    """Who waits for that is nobody to give up, however long it takes and the server refuses another connection."""
    clock = Clock()
    pool, connector = make(MAX_CONNS=2, MAX_LIFETIME=0, MAX_IDLE=0, clock=clock)

    def connect(number):
        if number > 1:
            raise full()

    connector.on_connect = connect
    first = Holding(pool).has_it()
    line = queue(pool, 2, timeout=30)
    for asked in (1, 2, 3):
        eventually(lambda asked=asked: pool.get_stats()["connections_errors"] == asked)
        clock.now += 9
    until_quiet(pool)
    assert [waiter.worker.done for waiter in line] == [False, False]
    assert "goes on with the connections that it has: the server takes no more (too many clients)" in caplog.text
    first.give_back()
    for waiter in line:
        assert waiter.give_back() == 1
    assert_whole(pool, connector)


def test_it_tells_the_reason_when_the_server_is_full_and_nothing_can_come_back(caplog):
    clock = Clock()
    pool, connector = make(MAX_CONNS=2, MAX_LIFETIME=0, MAX_IDLE=0, clock=clock)

    def connect(number):
        raise full()

    connector.on_connect = connect
    waiter = Holding(pool, timeout=30)
    eventually(lambda: pool.get_stats()["connections_errors"] == 1)
    clock.now += 9
    with pytest.raises(PoolTimeout, match=r"too many clients\) for 9.0 s now"):
        waiter.has_it()
    assert "has no connection, and waits: the server takes no more (too many clients)" in caplog.text
    assert_whole(pool, connector)


def test_it_tells_in_the_log_that_the_server_is_full_once_a_second_at_most(caplog):
    clock = Clock()
    pool, _connector = make(clock=clock, name="alone")
    for seconds, told in ((0, 1), (0.6, 1), (0.6, 2), (0.6, 2)):
        clock.now += seconds
        pool.upkeep._tell_of_full_server(full())
        assert sum("alone" in text for text in caplog.messages) == told
