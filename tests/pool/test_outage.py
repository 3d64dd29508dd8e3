"""While the server is down one filler asks it, who waits is told soon, and connects come back by 1, 2, 4 at once."""

import threading

import pytest

from pooldemo.pool import PoolError, PoolTimeout

from .world import (
    Clock,
    Gate,
    Holding,
    Refused,
    Worker,
    assert_whole,
    busy,
    eventually,
    make,
    taken,
    until_quiet,
    waiting,
)


def test_it_lets_one_filler_ask_a_server_that_is_down():
    pool, connector = make(MAX_CONNS=5, POOL_TIMEOUT=None, MAX_LIFETIME=0, spread=lambda: 0.0)
    down = [True]
    most = [0]

    def connect(number):
        most[0] = max(most[0], connector.connecting)
        if down[0]:
            raise busy()

    connector.on_connect = connect
    line = [Holding(pool, name=f"waiter-{number}") for number in range(5)]
    eventually(lambda: pool.slots.server.failure is not None and not connector.connecting)
    most[0] = 0
    before = pool.get_stats()["connections_num"]
    eventually(lambda: pool.get_stats()["connections_num"] >= before + 3)
    assert most == [1]
    down[0] = False
    for waiter in line:
        waiter.has_it()
    for waiter in line:
        waiter.give_back()
    assert_whole(pool, connector)


def test_it_tells_who_waits_after_a_quarter_of_the_time():
    pool, connector = make(MAX_CONNS=2, clock=Clock())

    def connect(number):
        raise busy()

    connector.on_connect = connect
    pool.slots.server.failed(busy(), pool.upkeep.clock() - 15, 0.0)
    with pytest.raises(PoolTimeout, match=r"starting up\) for .* s now, longer than a quarter of the 60 s") as told:
        pool.checkout(timeout=60)
    assert isinstance(told.value.__cause__, Refused)
    assert pool.histograms()["wait"].total_s == 0
    assert_whole(pool, connector)


def test_it_connects_one_two_four_at_once_when_the_server_is_back():
    pool, connector = make(MAX_CONNS=8, POOL_TIMEOUT=None)
    gates = [Gate() for _ in range(9)]
    connector.on_connect = lambda number: gates[number - 1].wait()
    pool.slots.server.failed(busy(), pool.upkeep.clock(), 0.0)
    line = [Holding(pool) for _ in range(8)]
    connected = 0
    for at_once in (1, 2, 4):
        eventually(lambda at_once=at_once: connector.connecting == at_once, f"{at_once} at once")
        for _ in range(at_once):
            gates[connected].open()
            connected += 1
    gates[7].open()
    for waiter in line:
        waiter.give_back()
    assert_whole(pool, connector)


def test_it_keeps_a_slot_empty_until_the_server_has_let_go_of_its_connection():
    pool, connector = make(MAX_CONNS=1)
    connector.linger = True
    with taken(pool) as (holder,):
        connector.dirty.add(1)
        holder.give_back()
    waiter = Holding(pool)
    eventually(lambda: pool.slots.usher is not None)
    assert connector.peak == 1
    assert waiter.slot is None
    connector.linger = False
    connector.lingering.clear()
    assert waiter.has_it().connection == 2
    waiter.give_back()
    assert connector.peak == 1
    assert_whole(pool, connector)


class Impatient:
    """An event that nobody waits for."""

    def wait(self, seconds):
        pass

    def set(self):
        pass


def test_it_looks_for_as_long_as_it_takes_the_server_to_let_go():
    pool, connector = make(MAX_CONNS=1, MAX_IDLE=0, MAX_LIFETIME=0)  # a keeper would look at the same event for ever
    looks = []

    def gone(connection):
        looks.append(connection)
        return len(looks) > 3000

    pool.upkeep.ended = Impatient()
    with taken(pool) as (holder,):
        connector.dirty.add(1)
        connector.gone = gone
        holder.give_back()
    waiter = Holding(pool)
    assert waiter.has_it().connection == 2
    waiter.give_back()


def test_it_looks_for_no_connection_that_another_thread_is_opening():
    """It was taken for one that has gone, and was not closed where it could not be opened."""
    pool, connector = make(MAX_CONNS=1, MAX_IDLE=0, MAX_LIFETIME=0)
    gate = Gate()
    connector.on_connect = gate.wait
    others = []

    class Unready(list):
        """Whoever reads it without the lock is overtaken by another thread."""

        def __iter__(self):
            known = self.copy()
            if not (pool.slots.busy_here() or others):
                others.append(Holding(pool))
                gate.has(1)
            return iter(known)

    pool.slots.unready = Unready(pool.slots.unready)
    assert pool.slots.leaving() == []
    if not others:
        pool.slots.unready = pool.slots.unready.copy()
    gate.open()
    for each in others:
        each.give_back()
    assert_whole(pool, connector)


def test_it_fills_another_slot_meanwhile():
    pool, connector = make(MAX_CONNS=2)
    connector.lingers = {1}
    slot = pool.checkout()
    connector.dirty.add(1)
    pool.checkin(slot)
    slot = pool.checkout()
    assert slot.connection == 2
    pool.checkin(slot)
    assert connector.peak == 2
    connector.lingering.clear()


def test_it_keeps_what_a_stopped_connect_left_with_its_slot():
    pool, connector = make(MAX_CONNS=1)
    connector.linger = True

    def connect(number):
        raise Refused("stopped half-way")

    connector.on_connect = connect
    with pytest.raises(Refused):
        pool.checkout()
    connector.on_connect = lambda number: None
    waiter = Holding(pool)
    eventually(lambda: pool.slots.usher is not None)
    assert connector.counted() == 1
    connector.linger = False
    connector.lingering.clear()
    waiter.give_back()
    assert connector.peak == 1
    assert_whole(pool, connector)


def test_it_lets_the_caller_connect_where_no_thread_can_be_started():
    def start(work):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    pool, connector = make(MAX_CONNS=1, start=start)
    pool.checkin(pool.checkout())
    connector.dead.add(1)
    pool.checkin(pool.checkout())
    assert connector.opened == {2}
    assert_whole(pool, connector)


def test_it_refuses_a_slot_of_another_pool_and_changes_nothing():
    pool, connector = make(MAX_CONNS=1)
    other, _ = make(MAX_CONNS=1, name="other")
    slot = pool.checkout()
    with pytest.raises(ValueError, match="of another pool than <Pool other"):
        other.checkin(slot)
    assert len(pool.holders()) == 1
    pool.checkin(slot)
    assert_whole(pool, connector)
    assert_whole(other, _)


def test_it_tells_threads_that_keep_their_connections_what_to_do():
    pool, _ = make(MAX_CONNS=2)
    keepers = [Holding(pool).has_it() for _ in range(2)]
    with pytest.raises(PoolTimeout, match=r"2 of 2 are held by threads: .* connection.close"):
        pool.checkout(timeout=0.05)
    for each in keepers:
        each.give_back()


def test_it_refuses_a_connection_to_who_asks_in_the_midst_of_a_decision():
    pool, connector = make(MAX_CONNS=1)
    with pool.slots.mutex, pytest.raises(PoolError, match="it would wait for itself"):
        pool.checkout()
    assert_whole(pool, connector)


def test_it_takes_back_what_is_given_back_in_the_midst_of_a_decision():
    pool, connector = make(MAX_CONNS=1)
    slot = pool.checkout()
    done = threading.Event()
    with pool.slots.mutex:
        Worker(done.set)
        pool.checkin(slot)
    assert_whole(pool, connector)


def test_it_asks_a_server_that_was_down_again_for_who_may_not_wait():
    clock = Clock()
    pool, connector = make(MAX_CONNS=1, POOL_TIMEOUT=0, clock=clock)

    def connect(number):
        if number == 1:
            raise busy()

    connector.on_connect = connect
    for _ in range(2):
        with pytest.raises(PoolTimeout, match="is starting up"):
            pool.checkout()
    assert connector.firsts == [True], "the second asks nobody: it is known to be down"
    clock.now += 1
    pool.checkin(pool.checkout())
    assert_whole(pool, connector)


def test_it_waits_until_a_server_lets_go_however_long_and_tells_once(caplog):
    """Or there would be more than MAX_CONNS. The others' slots serve meanwhile."""
    clock = Clock()
    pool, connector = make(MAX_CONNS=2, POOL_TIMEOUT=None, MAX_IDLE=0, MAX_LIFETIME=0, clock=clock)
    held, stuck = pool.checkout(), pool.checkout()
    connector.lingers = connector.dirty = {stuck.connection}
    pool.checkin(stuck)
    waiter = Holding(pool)
    waiting(pool, 1)
    clock.now += 59
    until_quiet(pool)
    assert not caplog.records
    clock.now += 3600
    eventually(lambda: caplog.records)
    until_quiet(pool)
    assert "(1 closed here and not yet at the server)" in str(pool._refusal(next(iter(pool.slots.line.normal))).error())
    pool.checkin(held)
    assert waiter.has_it().connection == 1
    late = Holding(pool)
    waiting(pool, 1)
    until_quiet(pool)
    assert late.slot is None
    connector.lingering.clear()
    assert late.has_it().connection == 3
    assert connector.peak == 2
    [line] = caplog.messages
    assert "3659 s ago" in line
    assert "(SELECT 2)" in line
    assert "pg_terminate_backend" in line
    waiter.give_back()
    late.give_back()
    assert_whole(pool, connector)


def test_it_has_one_filler_ask_though_many_wait():
    """Slow start: while the server's first answer is awaited, nobody else connects, however many slots are empty."""
    pool, connector = make(MAX_CONNS=4, POOL_TIMEOUT=None)
    gate = Gate()
    connector.on_connect = gate.wait
    pool.slots.server.failed(busy(), pool.upkeep.clock() - 60, 0.0)
    line = [Holding(pool) for _ in range(4)]
    gate.has(1)
    for _ in range(20):
        pool.upkeep.call_filler()
    until_quiet(pool)
    assert gate.parked == 1
    gate.open()
    for waiter in line:
        waiter.give_back()
    assert_whole(pool, connector)


def test_it_tells_nobody_before_a_quarter_of_the_time():
    """Neither at the first failure nor at the next ones."""
    clock = Clock()
    pool, connector = make(MAX_CONNS=1, clock=clock, spread=lambda: 0.0)

    def connect(number):
        raise busy()

    connector.on_connect = connect
    waiter = Holding(pool, timeout=20)
    server = pool.slots.server
    for second in range(1, 6):
        eventually(lambda second=second: len(connector.firsts) >= second and server.probe_at > clock.now)
        assert pool.slots.line.normal, f"told after {clock.now - 1000} s"
        clock.now += 1
    with pytest.raises(PoolTimeout, match="longer than a quarter of the 20 s"):
        waiter.worker.result()
    assert_whole(pool, connector)


def test_it_connects_ahead_no_sooner_than_at_the_next_round_after_a_failure(caplog):
    pool, connector = make(MAX_CONNS=2, MIN_CONNS=2, MAX_IDLE=0, MAX_LIFETIME=0)

    def connect(number):
        if number > 1:
            raise Refused("password authentication failed")

    connector.on_connect = connect
    pool.checkin(pool.checkout())
    eventually(lambda: connector.firsts and not connector.connecting)
    until_quiet(pool, lambda: len(connector.firsts))
    before = len(connector.firsts)
    assert before <= 2, "by who connected first, and in the first round"
    pool.upkeep.look_after({})
    eventually(lambda: len(connector.firsts) > before)
    until_quiet(pool, lambda: len(connector.firsts))
    assert len(connector.firsts) == before + 1
    assert "cannot connect ahead" in caplog.text


def test_it_closes_what_a_filler_was_stopped_at_asking():
    class Stop(BaseException):
        pass

    def stop(connection):
        raise Stop

    pool, connector = make(MAX_CONNS=1)
    pool.checkin(pool.checkout())
    connector.dead.add(1)
    connector.on_ping = stop
    with pytest.raises(PoolError, match="stopped by Stop"):
        pool.checkout()
    assert connector.closed == [1]
    pool.checkin(pool.checkout())
    assert_whole(pool, connector)


def test_it_calls_another_filler_when_one_was_stopped_before_it_came():
    works = []
    pool, connector = make(MAX_CONNS=1, start=works.append)
    waiter = Holding(pool)
    eventually(lambda: works)
    works.clear()  # as a greenlet that is killed before its first turn drops what it was to do
    eventually(lambda: (pool.upkeep.call_filler(), works)[1])
    works.pop(0)()
    waiter.give_back()
    assert_whole(pool, connector)


def test_it_starts_its_housekeeping_again_when_it_was_stopped_before_it_came():
    works = []
    pool, _ = make(MAX_CONNS=1, start=works.append)
    pool.upkeep.keeper.start()
    assert pool.upkeep.keeper.running
    works.clear()
    eventually(lambda: not pool.upkeep.keeper.running)
    pool.upkeep.keeper.start()
    assert len(works) == 1
