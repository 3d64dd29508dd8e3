"""Who asks first is served first, directly; and who may wait, for how long, and what he is told."""

import re
import threading

import pytest

from pooldemo.pool import ROWS, PoolFull, PoolTimeout
from pooldemo.pool.line import Line
from pooldemo.pool.options import CONNECT_LIMIT_S, Options
from pooldemo.pool.slot import Waiter

from .world import (
    PATIENCE_S,
    Clock,
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


def test_it_serves_in_the_order_of_asking():
    pool, connector = make(MAX_CONNS=1)
    served = []

    def request(number):
        slot = pool.checkout()
        served.append(number)
        pool.checkin(slot)

    with taken(pool):
        workers = []
        for number in range(50):
            workers.append(Worker(request, number))
            waiting(pool, number + 1)
    for worker in workers:
        worker.result()
    assert served == list(range(50))
    assert_whole(pool, connector)


def test_it_serves_in_the_order_of_asking_also_those_who_were_handed_a_dead_connection():
    """As with HEALTH_CHECK "always", where each is asked for: of two who waited the later one was first."""
    clock, gate = Clock(), Gate()
    pool, connector = make(MAX_CONNS=2, POOL_TIMEOUT=None, MAX_IDLE=0, MAX_LIFETIME=0, clock=clock)
    slots = [pool.checkout(), pool.checkout()]
    line = []
    for _ in range(2):
        line += queue(pool, 1)
        clock.now += 1
    connector.on_check = connector.dead.add
    connector.on_ping = gate.wait
    for slot in slots:
        pool.checkin(slot)
    gate.has(2)
    assert [waiter.asked_at for waiter in pool.slots.line.normal] == [1000.0, 1001.0]
    connector.on_check = connector.dead.discard
    gate.open()
    for waiter in line:
        waiter.give_back()
    assert_whole(pool, connector)


def test_it_puts_who_gives_back_and_asks_again_at_the_end():
    pool, connector = make(MAX_CONNS=1)
    served = []
    slot = pool.checkout()
    line = queue(pool, 3)
    pool.checkin(slot)

    def again():
        slot = pool.checkout()
        served.append("again")
        pool.checkin(slot)

    last = Worker(again)
    waiting(pool, 3)
    for number, waiter in enumerate(line):
        waiter.has_it()
        assert not served
        served_before = [other for other in line[number + 1 :] if other.slot is not None]
        assert not served_before
        waiter.give_back()
    last.result()
    assert served == ["again"]
    assert_whole(pool, connector)


def test_it_hands_a_slot_over_directly_so_that_nobody_can_come_between():
    pool, connector = make(MAX_CONNS=1)
    slot = pool.checkout()
    (waiter,) = queue(pool, 1)
    pool.checkin(slot)
    with pytest.raises(PoolTimeout):  # no switch since the checkin: the waiter does not even know yet
        pool.checkout(timeout=0)
    assert waiter.has_it().connection == 1
    waiter.give_back()
    assert_whole(pool, connector)


def test_it_forgets_waiters_that_gave_up():
    pool, connector = make(MAX_CONNS=1)
    with taken(pool) as (holder,):
        first, second, third = queue(pool, 1), queue(pool, 1, timeout=0.01), queue(pool, 1)
        with pytest.raises(PoolTimeout):
            second[0].worker.result()
        waiting(pool, 2)
        holder.give_back()
        first[0].has_it()
        assert third[0].slot is None
        first[0].give_back()
        third[0].give_back()
    assert_whole(pool, connector)


def test_it_refuses_at_once_beyond_max_waiting():
    pool, connector = make(MAX_CONNS=1, MAX_WAITING=2)
    with taken(pool):
        line = queue(pool, 2)
        with pytest.raises(PoolFull, match=r"MAX_WAITING=2.*1/1 in use, 2 waiting"):
            pool.checkout()
        assert pool.get_stats()["requests_refused"] == 1
        assert pool.get_stats()["requests_timeouts"] == 0
    for waiter in line:
        waiter.give_back()
    assert_whole(pool, connector)


def test_it_lets_any_number_wait_without_max_waiting():
    pool, connector = make(MAX_CONNS=1)
    with taken(pool):
        line = queue(pool, 100)
    for waiter in line:
        waiter.give_back()
    assert_whole(pool, connector)


def test_it_gives_up_after_pool_timeout():
    pool, connector = make(MAX_CONNS=1, POOL_TIMEOUT=0.02)
    with taken(pool), pytest.raises(PoolTimeout, match=r"no connection within 0.02 s: 1/1 in use, 1 waiting; held"):
        pool.checkout()
    assert pool.get_stats()["requests_timeouts"] == 1
    assert pool.histograms()["hold"].total_s >= 0.02
    assert_whole(pool, connector)


def test_it_waits_as_long_as_it_takes_without_pool_timeout():
    pool, connector = make(MAX_CONNS=1, POOL_TIMEOUT=None)
    with taken(pool):
        line = queue(pool, 1)
    assert line[0].has_it().connection == 1
    line[0].give_back()
    assert_whole(pool, connector)


def test_it_waits_for_the_time_that_the_checkout_says_instead():
    pool, _connector = make(MAX_CONNS=1, POOL_TIMEOUT=None)
    with taken(pool), pytest.raises(PoolTimeout, match=r"no connection within 0\.01 s"):
        pool.checkout(timeout=0.01)


def test_it_takes_what_is_free_even_if_nobody_may_wait():
    pool, connector = make(MAX_CONNS=1, POOL_TIMEOUT=0)
    pool.checkin(pool.checkout())
    pool.checkin(pool.checkout())
    assert connector.opened == {1}


def test_it_gives_connecting_a_time_of_its_own_if_nobody_may_wait(monkeypatch):
    """For a slot, that is. Who comes next has the connection."""
    monkeypatch.setattr("pooldemo.pool.pool.CONNECT_LIMIT_S", 0.05)
    gate = Gate()
    pool, connector = make(MAX_CONNS=1, POOL_TIMEOUT=0, MAX_IDLE=0, MAX_LIFETIME=0)
    connector.on_connect = gate.wait
    with pytest.raises(PoolTimeout, match="POOL_TIMEOUT=0 waits for no slot, and connecting took longer than 5 s"):
        pool.checkout()
    gate.open()
    eventually(lambda: connector.opened == {1})
    pool.checkin(pool.checkout())
    assert connector.timeouts == [10]
    [row] = [row for row in ROWS if row.name == "POOL_TIMEOUT"]
    assert f"with 0, connecting may take {CONNECT_LIMIT_S:g} s" in row.help
    assert_whole(pool, connector)


def test_it_gives_a_doubtful_connection_time_even_if_nobody_may_wait():
    pool, connector = make(MAX_CONNS=1, POOL_TIMEOUT=0)
    pool.checkin(pool.checkout())
    asked = []
    connector.on_ping = asked.append
    pool._check = lambda connection: False
    pool.checkin(pool.checkout())
    assert asked == [1]
    assert connector.opened == {1}


def test_it_keeps_the_deadline_while_the_connect_goes_on():
    """Who asks next has what was connected for who gave up."""
    pool, connector = make(MAX_CONNS=1, POOL_TIMEOUT=0.3)
    gate = Gate()
    connector.on_connect = gate.wait
    late = Holding(pool)
    gate.has(1)
    with pytest.raises(PoolTimeout, match=r"within 0.3 s: 1/1 in use \(1 connecting\), 1 waiting"):
        late.worker.result()
    waiter = Holding(pool, timeout=None)
    gate.open()
    assert waiter.give_back() == 1
    assert_whole(pool, connector)


@pytest.mark.parametrize(("given", "limit_s"), [(0, 10), (None, 30), (2, 10), (60, 60)])
def test_it_gives_a_connect_a_limit_of_its_own(given, limit_s):
    pool, connector = make(MAX_CONNS=1, POOL_TIMEOUT=given)
    pool.checkin(pool.checkout())
    assert connector.timeouts == [limit_s]


def test_it_accepts_a_timeout_longer_than_any_lock_can_wait():
    pool, connector = make(MAX_CONNS=1, POOL_TIMEOUT=1e9)
    with taken(pool):
        line = queue(pool, 1, timeout=1e300)
    line[0].give_back()
    assert_whole(pool, connector)


def test_it_says_who_holds_the_connections_longest():
    clock = Clock()
    pool, _ = make(MAX_CONNS=4, clock=clock)
    holders = []
    for number in (3, 1, 4, 2):
        clock.now += 1
        holders.append(Holding(pool, name=f"holder-{number}").has_it())
    clock.now += 1
    with pytest.raises(PoolTimeout) as caught:
        pool.checkout(timeout=0)
    names = "holder-3 for 4.0 s (SELECT 1), holder-1 for 3.0 s (SELECT 2), holder-4 for 2.0 s (SELECT 3)"
    assert str(caught.value).endswith(f"4/4 in use, 0 waiting; held longest by {names}")
    assert [holding.name for holding in pool.holders()] == ["holder-3", "holder-1", "holder-4", "holder-2"]
    for holder in holders:
        holder.give_back()
    assert pool.holders() == []


def test_it_tells_a_holder_who_asks_for_a_second_slot_that_it_would_wait_for_itself():
    pool, connector = make(MAX_CONNS=1)
    slot = pool.checkout()
    with pytest.raises(PoolFull, match="holds every connection of this pool already") as caught:
        pool.checkout(timeout=None)
    assert threading.current_thread().name in str(caught.value)
    pool.checkin(slot)
    pool.checkin(pool.checkout())
    assert_whole(pool, connector)


def test_it_tells_a_waiter_for_whom_no_slot_is_left_after_a_resize_that_it_would_wait_for_itself():
    pool, connector = make(MAX_CONNS=2)
    other = Holding(pool).has_it()

    def both():
        slot = pool.checkout()
        try:
            pool.checkout(timeout=PATIENCE_S)
        finally:
            pool.checkin(slot)

    worker = Worker(both)
    eventually(lambda: (pool.slots.in_use, pool.slots.waiting) == (2, 1))
    pool.resize(1)
    with pytest.raises(PoolFull, match="holds every connection of this pool already"):
        worker.result()
    other.give_back()
    assert_whole(pool, connector)


def test_it_lets_a_holder_wait_for_what_others_hold():
    pool, connector = make(MAX_CONNS=2)
    other = Holding(pool).has_it()

    def both():
        slots = [pool.checkout(), pool.checkout()]
        assert {slot.connection for slot in slots} == {1, 2}
        for slot in slots:
            pool.checkin(slot)

    worker = Worker(both)
    waiting(pool, 1)
    other.give_back()
    worker.result()
    assert_whole(pool, connector)


def test_it_gives_a_holder_a_second_slot_while_one_is_free():
    pool, connector = make(MAX_CONNS=2)
    first, second = pool.checkout(), pool.checkout()
    assert {first.connection, second.connection} == {1, 2}
    pool.checkin(first)
    pool.checkin(second)
    assert_whole(pool, connector)


def test_it_keeps_what_waits_apart_from_what_connects_or_holds():
    pool, connector = make(MAX_CONNS=2)
    gate = Gate()
    connector.on_connect = gate.wait
    line = [Holding(pool) for _ in range(2)]
    gate.has(2)
    more = queue(pool, 2)
    assert pool.get_stats()["pool_size"] == 2
    assert re.search("2/2 in use, 0 idle, 2 waiting", repr(pool))
    gate.open()
    for holding in [*line, *more]:
        holding.give_back()
    assert_whole(pool, connector)


def test_it_hands_on_what_a_failing_crowd_leaves():
    pool, connector = make(MAX_CONNS=1)
    gate = Gate()
    gate_first = [True]

    def connect(number):
        if gate_first:
            gate_first.clear()
            gate.wait()
        if number < 20:
            raise Refused

    connector.on_connect = connect
    first = Holding(pool)
    gate.has(1)
    line = queue(pool, 30)
    gate.open()
    failed = [first, *line[:18]]
    eventually(lambda: all(holding.worker.done for holding in failed))
    assert all(isinstance(holding.worker.error, Refused) for holding in failed)
    for holding in line[18:]:
        holding.give_back()
    assert_whole(pool, connector)


def test_a_place_in_front_is_given_whoever_a_finaliser_serves_meanwhile():
    """The one before him, whom it was about to move, was no more there: nobody had the slot of who raised KeyError."""

    class Asked(float):
        def __lt__(self, other):
            line.leave(first)
            return float(self) < other

    line = Line(Options.read())
    first, second = (Waiter(None, None, asked_at, object(), None) for asked_at in (Asked(1), 2.0))
    line.normal[first] = None
    line.push_front(second)
    assert list(line.normal) == [second]


def test_who_is_turned_away_where_the_stack_ends_is_still_in_the_line():
    """He was out of it, and never woken."""

    class Deep:
        def locked(self):
            raise RecursionError

    line, waiter = Line(Options.read()), Waiter(None, None, 1.0, object(), Deep())
    line.normal[waiter] = None
    with pytest.raises(RecursionError):
        line.turn_away(waiter, "closed")
    assert (list(line.normal), waiter.outcome) == ([waiter], "")
