"""It never has more than MAX_CONNS connections, on their way, held and idle together; and it loses no slot."""

from collections.abc import Callable

import pytest

from pooldemo.pool import OptionError, PoolTimeout

from .world import (
    GREEN,
    FakeConnector,
    Gate,
    Holding,
    Refused,
    Worker,
    assert_whole,
    eventually,
    make,
    queue,
    taken,
    waiting,
)

CROWD = 1000 if GREEN else 200


def slow(connector: FakeConnector) -> Callable[[int], None]:
    gate = Gate()
    seen: list[int] = []

    def connect(number: int) -> None:
        seen.append(number)
        if len(seen) >= 5:
            gate.open()  # only when the whole cap connects at once
        gate.wait()

    return connect


def failing(connector: FakeConnector) -> Callable[[int], None]:
    def connect(number: int) -> None:
        if number % 3:
            raise Refused

    return connect


@pytest.mark.parametrize("manner", [slow, failing])
def test_it_never_opens_more_than_max_conns_when_cold(manner):
    pool, connector = make(MAX_CONNS=5)
    connector.on_connect = manner(connector)

    def request():
        slot = pool.checkout()
        assert connector.connecting + len(connector.opened) <= 5
        pool.checkin(slot)

    outcomes = []
    for worker in [Worker(request) for _ in range(CROWD)]:
        try:
            outcomes.append(worker.result())
        except Refused as error:
            outcomes.append(error)
    assert outcomes.count(None) == CROWD - pool.get_stats()["requests_errors"]
    assert outcomes.count(None) >= CROWD / 5
    assert connector.peak <= 5
    assert_whole(pool, connector)


def test_it_lets_a_hung_connect_block_nobody_elses_capacity():
    pool, connector = make(MAX_CONNS=5)
    hung = Gate()
    connector.on_connect = lambda number: hung.wait() if number <= 3 else None

    def request():
        slot = pool.checkout()
        assert connector.connecting + len(connector.opened) <= 5
        pool.checkin(slot)

    stuck = [Worker(request) for _ in range(3)]
    hung.has(3)
    for worker in [Worker(request) for _ in range(CROWD)]:
        worker.result()
    assert hung.parked == 3
    assert 3 < connector.peak <= 5
    hung.open()
    for worker in stuck:
        worker.result()
    assert_whole(pool, connector)


def test_it_gives_the_slot_of_a_failed_connect_to_the_next_waiter():
    pool, connector = make(MAX_CONNS=1)
    gate = Gate()

    def connect(number):
        if number == 1:
            gate.wait()
            raise Refused("no such role")

    connector.on_connect = connect
    first = Holding(pool)
    gate.has(1)
    (second,) = queue(pool, 1)
    gate.open()
    with pytest.raises(Refused, match="no such role"):
        first.worker.result()
    assert second.has_it().connection == 2
    second.give_back()
    assert_whole(pool, connector)


def test_it_rather_takes_an_idle_connection_than_opens_one():
    pool, connector = make(MAX_CONNS=5)
    for _ in range(10):
        pool.checkin(pool.checkout())
    assert connector.opened == {1}


def test_it_gives_out_the_connection_that_idled_least():
    pool, _connector = make(MAX_CONNS=3)
    slots = [pool.checkout() for _ in range(3)]
    for slot in slots:
        pool.checkin(slot)
    assert pool.checkout().connection == 3


def test_it_keeps_reuse_conns_idle_and_closes_the_others():
    pool, connector = make(MAX_CONNS=4, REUSE_CONNS=1)
    slots = [pool.checkout() for _ in range(4)]
    for slot in slots:
        pool.checkin(slot)
    assert connector.opened == {1}
    assert pool.get_stats()["pool_available"] == 1
    assert_whole(pool, connector)


def test_it_hands_connections_on_whatever_reuse_conns_is():
    pool, connector = make(MAX_CONNS=2, REUSE_CONNS=0)
    with taken(pool) as holders:
        line = queue(pool, 4)
        for holder in [*holders, *line]:
            holder.give_back()
    assert connector.closed == [1, 2] or connector.closed == [2, 1]
    assert next(connector.numbers) == 3
    assert_whole(pool, connector)


def test_it_gives_new_slots_to_waiters_when_it_grows():
    pool, connector = make(MAX_CONNS=1)
    with taken(pool):
        line = queue(pool, 4)
        pool.resize(4)
        for waiter in line[:3]:
            waiter.has_it()
        waiting(pool, 1)
        assert connector.peak == 4
        for waiter in line:
            waiter.give_back()
    assert_whole(pool, connector)
    assert pool.get_stats()["pool_max"] == 4


def test_it_shrinks_as_held_connections_come_back():
    pool, connector = make(MAX_CONNS=4)
    with taken(pool) as holders:
        line = queue(pool, 2)
        pool.resize(2)
        holders[0].give_back()
        holders[1].give_back()
        assert len(connector.opened) == 2
        assert pool.get_stats()["requests_waiting"] == 2
        holders[2].give_back()
        line[0].has_it()
        for waiter in line:
            waiter.give_back()
    assert_whole(pool, connector)
    assert connector.peak == 4


def test_it_ends_idle_connections_when_it_shrinks():
    pool, connector = make(MAX_CONNS=4)
    with taken(pool):
        pass
    pool.resize(1)
    assert len(connector.opened) == 1
    assert_whole(pool, connector)


def test_it_never_exceeds_the_new_size_once_it_has_shrunk():
    pool, connector = make(MAX_CONNS=6)
    with taken(pool):
        pool.resize(2)
    connector.peak = 0
    workers = [Worker(lambda: pool.checkin(pool.checkout())) for _ in range(50)]
    for worker in workers:
        worker.result()
    assert connector.peak <= 2
    assert_whole(pool, connector)


@pytest.mark.parametrize("size", [0, -1, 2.0, "3", None, True])
def test_it_refuses_a_size_that_is_none(size):
    pool, _ = make(MAX_CONNS=2)
    with pytest.raises(OptionError, match="whole number from 1"):
        pool.resize(size)
    assert pool.get_stats()["pool_max"] == 2


def test_it_refuses_a_size_below_min_conns():
    pool, _ = make(MAX_CONNS=4, MIN_CONNS=2)
    with pytest.raises(OptionError, match="whole number from 2"):
        pool.resize(1)


def test_it_keeps_the_cap_while_a_dead_connection_is_replaced():
    pool, connector = make(MAX_CONNS=2)
    with taken(pool):
        pass
    connector.dead = {1, 2}
    with taken(pool) as holders:
        assert sorted(holder.connection for holder in holders) == [3, 4]
    assert connector.peak == 2
    assert pool.get_stats()["connections_lost"] == 2


def test_it_serves_the_first_request_after_a_restart_and_keeps_the_cap():
    pool, connector = make(MAX_CONNS=50)
    slots = [pool.checkout() for _ in range(50)]
    for slot in slots:
        pool.checkin(slot)
    connector.dead = set(range(1, 51))
    pool.checkin(pool.checkout())
    assert pool.get_stats()["requests_errors"] == 0
    assert connector.peak == 50


def test_it_serves_a_waiter_when_a_held_connection_comes_back_dead():
    pool, connector = make(MAX_CONNS=1)
    with taken(pool) as (holder,):
        (waiter,) = queue(pool, 1)
        connector.dead.add(1)
        holder.give_back()
        assert waiter.has_it().connection == 2
        waiter.give_back()
    assert pool.get_stats()["returns_bad"] == 1
    assert_whole(pool, connector)


def test_it_takes_a_slot_back_only_once():
    pool, connector = make(MAX_CONNS=2)
    slot = pool.checkout()
    pool.checkin(slot)
    with pytest.raises(ValueError, match="given back already"):
        pool.checkin(slot)
    assert_whole(pool, connector)


@pytest.mark.parametrize("dirty", [set(), {1}])
def test_it_takes_a_slot_back_only_once_even_at_the_same_time(dirty):
    pool, connector = make(MAX_CONNS=2)
    gate = Gate()
    slot = pool.checkout()
    connector.dirty = dirty
    connector.on_recycle = gate.wait
    both = [Worker(pool.checkin, slot) for _ in range(2)]
    gate.has(2)
    gate.open()
    eventually(lambda: all(worker.done for worker in both))
    assert [type(worker.error) for worker in both].count(ValueError) == 1
    assert pool.get_stats()["returns_num"] == 1
    assert_whole(pool, connector)


def test_it_gives_the_slot_back_when_recycling_is_stopped():
    class Stop(BaseException):
        pass

    def stop(connection):
        raise Stop

    pool, connector = make(MAX_CONNS=1)
    slot = pool.checkout()
    connector.on_recycle = stop
    with pytest.raises(Stop):
        pool.checkin(slot)
    assert connector.closed == [1]
    connector.on_recycle = lambda connection: None
    connector.on_check = stop
    pool.checkin(pool.checkout())
    with pytest.raises(Stop):
        pool.checkout()
    assert connector.closed == [1, 2]
    assert_whole(pool, connector)


def test_it_closes_what_it_was_stopped_at_looking_at():
    class Stop(BaseException):
        pass

    def stop(connection):
        raise Stop

    pool, connector = make(MAX_CONNS=1)
    with taken(pool) as (holder,):
        first, second = queue(pool, 2)
        connector.on_check = stop
        holder.give_back()
        with pytest.raises(Stop):
            first.worker.result()
        assert connector.closed == [1]
        assert second.has_it().connection == 2
        second.give_back()
    assert_whole(pool, connector)


def test_it_refuses_at_once_when_nothing_is_free_and_nobody_may_wait():
    pool, _ = make(MAX_CONNS=2)
    with taken(pool), pytest.raises(PoolTimeout, match="POOL_TIMEOUT=0 says not to wait"):
        pool.checkout(timeout=0)


def test_it_ends_no_more_connections_than_it_must_when_it_shrinks():
    """Though the server takes its time to let go of the one."""
    pool, connector = make(MAX_CONNS=4, MAX_IDLE=0, MAX_LIFETIME=0)
    with taken(pool) as holders:
        for holder in holders[:2]:
            holder.give_back()
        connector.linger = True
        pool.resize(3)
    assert len(connector.opened) == 3
    connector.lingering.clear()
    pool.upkeep.look_after({})
    assert_whole(pool, connector)
    assert connector.peak == 4


def test_it_forgets_the_slot_of_a_connect_that_fails_when_it_has_shrunk_meanwhile():
    pool, connector = make(MAX_CONNS=2)
    holder, gate = Holding(pool).has_it(), Gate()

    def connect(_: int) -> None:
        gate.wait()
        raise Refused("no")

    connector.on_connect = connect
    late = Holding(pool)
    gate.has(1)
    pool.resize(1)
    gate.open()
    with pytest.raises(Refused):
        late.worker.result()
    holder.give_back()
    assert_whole(pool, connector)
