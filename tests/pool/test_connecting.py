"""A refused connect is told at once when waiting is no cure, else waited out with what comes back meanwhile."""

import itertools
import time

import pytest

from pooldemo.pool import PoolClosed, PoolError, PoolTimeout, start_thread

from .world import Clock, Gate, Holding, Refused, assert_whole, busy, eventually, make, queue, waiting


def test_it_passes_on_at_once_what_waiting_does_not_cure():
    pool, connector = make(MAX_CONNS=2)

    def connect(number):
        raise Refused("password authentication failed")

    connector.on_connect = connect
    with pytest.raises(Refused, match="password"):
        pool.checkout()
    assert next(connector.numbers) == 2
    assert_whole(pool, connector)
    assert pool.get_stats()["connections_errors"] == 1


def test_it_waits_a_busy_server_out_with_growing_pauses():
    pool, connector = make(MAX_CONNS=1, spread=lambda: 0.0)
    at = []

    def connect(number):
        at.append(time.monotonic())
        if number < 5:
            raise busy()

    connector.on_connect = connect
    pool.checkin(pool.checkout())
    gaps = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert [gap >= least for gap, least in zip(gaps, (0.024, 0.049, 0.099, 0.199), strict=True)] == [True] * 4
    assert pool.get_stats()["connections_errors"] == 4
    assert pool.get_stats()["requests_errors"] == 0
    assert_whole(pool, connector)


def test_it_spreads_the_pauses():
    at = []

    def connect(number):
        at.append(time.monotonic())
        if number == 1:
            raise busy()

    pool, connector = make(MAX_CONNS=1, spread=lambda: 0.99)
    connector.on_connect = connect
    pool.checkout()
    assert at[1] - at[0] >= 0.049


def test_it_never_waits_a_busy_server_out_when_nobody_may_wait():
    pool, connector = make(MAX_CONNS=1, POOL_TIMEOUT=0, clock=Clock())

    def connect(number):
        raise busy()

    connector.on_connect = connect
    with pytest.raises(PoolTimeout, match=r"says not to wait; connecting failed \(.*is starting up\)"):
        pool.checkout()
    assert next(connector.numbers) == 2
    with pytest.raises(PoolTimeout, match="is starting up"):  # asks nobody: it is known to be down
        pool.checkout()
    assert next(connector.numbers) == 3
    assert_whole(pool, connector)


def test_it_names_the_failed_connect_as_the_cause_at_the_deadline():
    pool, connector = make(MAX_CONNS=1)

    def connect(number):
        raise busy()

    connector.on_connect = connect
    with pytest.raises(PoolTimeout, match=r"within \d+\.\d s; connecting failed \(.*is starting up\)") as caught:
        pool.checkout(timeout=0.1)
    assert isinstance(caught.value.__cause__, Refused)
    assert pool.get_stats()["requests_timeouts"] == pool.get_stats()["requests_errors"] == 1
    assert_whole(pool, connector)


def test_it_does_not_try_again_when_the_deadline_has_passed():
    pool, connector = make(MAX_CONNS=1, MAX_LIFETIME=0, spread=lambda: 1000.0)
    attempts = []

    def connect(number):
        attempts.append(number)
        raise busy()

    connector.on_connect = connect
    with pytest.raises(PoolTimeout):
        pool.checkout(timeout=0.05)
    assert attempts == [1]


def test_it_tells_the_driver_whether_there_ever_was_a_connection():
    pool, connector = make(MAX_CONNS=2)

    def connect(number):
        if number != 2:
            raise busy()

    connector.on_connect = connect
    pool.checkout()
    with pytest.raises(PoolTimeout):
        pool.checkout(timeout=0.02)
    assert connector.firsts[0] is True
    assert set(connector.firsts[1:]) <= {False}


def test_it_uses_what_comes_back_while_the_server_refuses():
    pool, connector = make(MAX_CONNS=2, MAX_LIFETIME=0, spread=lambda: 1000.0)

    def connect(number):
        if number > 1:
            raise busy()

    connector.on_connect = connect
    first = Holding(pool).has_it()
    second = Holding(pool)
    waiting(pool, 1)
    first.give_back()
    assert second.has_it().connection == 1
    second.give_back()
    assert pool.get_stats()["pool_size"] == 1
    assert_whole(pool, connector)


def test_it_takes_an_idle_connection_rather_than_pausing():
    pool, connector = make(MAX_CONNS=2, MAX_LIFETIME=0, spread=lambda: 1000.0)
    gate = Gate()

    def connect(number):
        if number > 1:
            gate.wait()
            raise busy()

    connector.on_connect = connect
    first = Holding(pool).has_it()
    second = Holding(pool)
    gate.has(1)
    first.give_back()
    gate.open()
    assert second.has_it().connection == 1
    second.give_back()
    assert_whole(pool, connector)


def test_it_serves_those_who_were_refused_in_the_order_of_asking():
    pool, connector = make(MAX_CONNS=4, MAX_LIFETIME=0, spread=lambda: 1000.0)

    def connect(number):
        if number > 1:
            raise busy()

    connector.on_connect = connect
    first = Holding(pool).has_it()
    line = queue(pool, 3)
    plain = queue(pool, 2)
    for earlier, later in zip([first, *line, *plain], [*line, *plain], strict=False):
        assert later.slot is None
        earlier.give_back()
        assert later.has_it().connection == 1
    plain[-1].give_back()
    assert_whole(pool, connector)


def test_it_tells_who_pauses_that_the_pool_was_closed():
    pool, connector = make(MAX_CONNS=1, MAX_LIFETIME=0, spread=lambda: 1000.0)

    def connect(number):
        raise busy()

    connector.on_connect = connect
    (refused,) = queue(pool, 1)
    eventually(lambda: connector.firsts)
    pool.close()
    with pytest.raises(PoolClosed) as caught:
        refused.worker.result()
    assert isinstance(caught.value.__cause__, Refused)
    assert_whole(pool, connector)


def test_it_connects_anew_when_what_came_back_is_dead():
    pool, connector = make(MAX_CONNS=2, MAX_LIFETIME=0)

    def connect(number):
        if number == 2:
            raise busy()

    connector.on_connect = connect
    holder = Holding(pool).has_it()
    (refused,) = queue(pool, 1)
    pool._recycle = lambda connection: not connector.dead.add(connection)
    holder.give_back()
    assert refused.has_it().connection == 3
    refused.give_back()
    eventually(lambda: connector.closed == [1])


def test_it_tells_one_waiter_what_stopped_a_filler():
    class Stop(BaseException):
        pass

    def connect(number):
        if number == 1:
            raise Stop

    pool, connector = make(MAX_CONNS=1)
    connector.on_connect = connect
    with pytest.raises(PoolError, match="connecting was stopped by Stop") as caught:
        pool.checkout()
    assert isinstance(caught.value.__cause__, Stop)
    pool.checkin(pool.checkout())
    assert_whole(pool, connector)


def test_it_has_one_filler_wait_for_a_server_that_is_down_though_many_wait():
    """And not one for each of them, a thread perhaps: they would all look when it may be asked again."""
    clock, started = Clock(), []

    def start(work):
        started.append(work)
        start_thread(work)

    pool, connector = make(MAX_CONNS=4, POOL_TIMEOUT=None, MAX_IDLE=0, MAX_LIFETIME=0, clock=clock, start=start)
    pool.slots.server.failed(busy(), clock.now, 0.0)
    line = []
    for _ in range(4):
        line += queue(pool, 1)
        eventually(lambda: pool.slots.usher is not None)
    assert len(started) == 1
    clock.now += 1
    for waiter in line:
        waiter.give_back()
    assert_whole(pool, connector)
