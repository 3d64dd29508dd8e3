"""Who is served when there is too much: low priority never takes the last slots, and a line that stands is shed."""

import contextlib

import pytest

from pooldemo.pool import PoolFull, PoolTimeout
from pooldemo.pool.slot import Waiter, closed_gate

from .world import Clock, Gate, Holding, assert_whole, busy, eventually, make, queue, taken, waiting


@pytest.mark.parametrize(("size", "left"), [(1, 0), (2, 1), (4, 1), (8, 2), (20, 5)])
def test_it_leaves_the_last_slots_to_the_others(size, left):
    pool, connector = make(MAX_CONNS=size)
    low = [Holding(pool, low=True).has_it() for _ in range(size - left)]
    blocked = Holding(pool, low=True)
    waiting(pool, 1)
    with pytest.raises(PoolTimeout):
        pool.checkout(timeout=0, low=True)
    others = [Holding(pool).has_it() for _ in range(left)]
    for each in [*others, *low]:
        each.give_back()
    blocked.has_it().give_back()
    assert_whole(pool, connector)


def test_it_leaves_more_to_the_others_for_a_while_after_one_had_to_wait_for_low_priority():
    def low_take():
        """How many of low priority get a slot before one is refused."""
        got = []
        with contextlib.suppress(PoolTimeout):
            while True:
                got.append(pool.checkout(timeout=0, low=True))
        for slot in got:
            pool.checkin(slot)
        return len(got)

    pool, connector = make(MAX_CONNS=4)
    with taken(pool):
        others = queue(pool, 1)
    others[0].has_it().give_back()
    assert low_take() == 3  # nobody of low priority was in the way
    low = [Holding(pool, low=True).has_it() for _ in range(3)]
    first, second = Holding(pool).has_it(), Holding(pool)
    waiting(pool, 1)
    for each in (*low, first, second):
        each.give_back()
    assert low_take() == 2  # two stay free, for the next two that come at once
    for _ in range(99):
        pool.checkin(pool.checkout())
    assert low_take() == 2
    pool.checkin(pool.checkout())
    assert low_take() == 3
    assert_whole(pool, connector)


def test_it_tells_a_holder_of_low_priority_for_whom_no_other_slot_is_left_that_it_would_wait_for_itself():
    pool, connector = make(MAX_CONNS=2)
    slot = pool.checkout(low=True)
    with pytest.raises(PoolFull, match="holds every connection that low priority may have already"):
        pool.checkout(timeout=5, low=True)
    pool.checkin(pool.checkout(timeout=0))  # as a task of normal priority it may have the other
    pool.checkin(slot)
    assert_whole(pool, connector)


def test_it_serves_low_priority_when_nobody_else_waits():
    pool, connector = make(MAX_CONNS=2)
    with taken(pool) as held:
        low = Holding(pool, low=True)
        waiting(pool, 1)
        others = queue(pool, 2)
        for each in held:
            each.give_back()
        for other in others:
            other.has_it()
        assert low.slot is None
        others[0].give_back()
        assert low.slot is None  # one of two is left to others
        others[1].give_back()
        low.has_it().give_back()
    assert_whole(pool, connector)


def test_it_serves_low_priority_when_whom_it_waited_behind_was_stopped():
    def stop_the_other(waiter):
        if waiter.low:
            wait_once(waiter)
        else:
            pool.upkeep.call_filler()
            leave.wait()
            raise Stopped

    def connect(number):
        if number == 1:
            answer.wait()
            raise busy()

    class Stopped(BaseException):
        pass

    pool, connector = make(MAX_CONNS=2)
    leave, answer = Gate(), Gate()
    connector.on_connect = connect
    wait_once, pool._wait_once = pool._wait_once, stop_the_other
    other = Holding(pool)
    answer.has(1)
    low = Holding(pool, low=True)
    waiting(pool, 1)
    leave.open()
    eventually(lambda: other.worker.error)
    answer.open()  # the connect fails, and the filler sees nobody for whom to try again
    low.has_it().give_back()
    assert_whole(pool, connector)


def test_it_serves_low_priority_from_those_that_it_left_to_the_others():
    """Where another slot comes back, and its connection cannot be used again, an idle one serves as well."""
    pool, connector = make(MAX_CONNS=3, MAX_IDLE=0, MAX_LIFETIME=0)
    held = [Holding(pool).has_it() for _ in range(3)]
    low = Holding(pool, low=True)
    waiting(pool, 1)
    gate = Gate()
    connector.on_connect = gate.wait
    held[0].give_back()
    assert low.slot is None  # one of three is left to the others
    connector.dead.add(held[1].connection)
    held[1].give_back()
    assert low.has_it().give_back() == held[0].connection
    held[2].give_back()
    gate.open()
    assert_whole(pool, connector)


def test_it_serves_low_priority_as_soon_as_those_before_it_are_served():
    """By whatever comes back, while slots are to spare that nobody has filled."""
    pool, connector = make(MAX_CONNS=4, MAX_IDLE=0, MAX_LIFETIME=0)
    first = Holding(pool).has_it()
    gate = Gate()
    connector.on_connect = gate.wait
    other = queue(pool, 1)[0]
    gate.has(1)
    low = Holding(pool, low=True)
    waiting(pool, 1)
    first.give_back()
    other.has_it()
    eventually(lambda: pool.slots.line.normal)  # its turn, of whatever comes next
    other.give_back()
    low.has_it().give_back()
    gate.open()
    assert_whole(pool, connector)


def test_it_lets_no_more_than_max_waiting_of_low_priority_wait():
    pool, connector = make(MAX_CONNS=1, MAX_WAITING=2)
    with taken(pool) as held:
        low = [Holding(pool, low=True) for _ in range(2)]
        waiting(pool, 2)
        with pytest.raises(PoolFull):
            pool.checkout(low=True, timeout=60)
        other = Holding(pool)  # whom they do not keep from waiting
        waiting(pool, 3)
        held[0].give_back()
        for each in (other, *low):
            each.has_it().give_back()
    assert_whole(pool, connector)


def test_it_serves_low_priority_from_slots_that_are_added():
    pool, connector = make(MAX_CONNS=2)
    with taken(pool) as held:
        low = Holding(pool, low=True)
        waiting(pool, 1)
        pool.resize(4)
        low.has_it().give_back()
        for each in held:
            each.give_back()
    assert_whole(pool, connector)


def test_it_ends_the_wait_of_low_priority_too():
    pool, connector = make(MAX_CONNS=1)
    with taken(pool):
        with pytest.raises(PoolTimeout, match=r"1/1 in use, 1 waiting"):
            pool.checkout(timeout=0.01, low=True)
        assert pool.get_stats()["requests_waiting"] == 0
    assert_whole(pool, connector)


def test_it_tells_low_priority_that_the_pool_was_closed():
    from pooldemo.pool import PoolClosed

    pool, _ = make(MAX_CONNS=1)
    with taken(pool):
        low = Holding(pool, low=True)
        waiting(pool, 1)
        pool.close()
        with pytest.raises(PoolClosed):
            low.has_it()


def test_it_may_wake_who_waits_twice():
    """As it joins the others, and again before it has run: as it is served, or turned away."""

    def woken_once():
        waiter = Waiter(pool.here(), None, 0.0, None, closed_gate(), low=True)
        line.low[waiter] = None
        line.admit_low(1)
        assert waiter.woken
        return waiter

    pool, _ = make(MAX_CONNS=1)
    line = pool.slots.line
    waiter = woken_once()
    line.turn_away(waiter, "closed")
    assert (waiter.outcome, waiter.gate.locked()) == ("closed", False)
    waiter, slot = woken_once(), pool.slots.all[0]
    pool.slots.hand_over(slot, waiter, now=0.0, fresh=True)
    assert (waiter.slot, waiter.gate.locked()) == (slot, False)


def standing(pool, clock):
    """Three that have waited for 0.6, 0.4 and 0.2 s."""
    line = []
    for _ in range(3):
        line += queue(pool, 1)
        clock.now += 0.2
    return line


def test_it_serves_the_newest_of_a_line_that_stands_and_refuses_the_hopeless():
    clock = Clock()
    pool, connector = make(MAX_CONNS=1, POOL_TIMEOUT=600, OVERLOAD="shed", clock=clock)
    with taken(pool) as (holder,):
        line = standing(pool, clock)
        holder.give_back()
        line[2].has_it()
        assert [each.slot for each in line[:2]] == [None, None]
        line[2].give_back()
        with pytest.raises(PoolFull, match=r"refused after 0\.6 s, OVERLOAD='shed': the queue does not get shorter"):
            line[0].has_it()
        line[1].has_it().give_back()
    assert pool.get_stats()["requests_shed"] == pool.get_stats()["requests_refused"] == 1
    assert_whole(pool, connector)


def test_it_takes_low_priority_that_waited_behind_the_line_for_no_sign_that_it_stands():
    clock = Clock()
    pool, connector = make(MAX_CONNS=1, POOL_TIMEOUT=600, OVERLOAD="shed", clock=clock)
    gate = Gate()
    with taken(pool) as (holder,):
        low = Holding(pool, low=True)
        waiting(pool, 1)
        clock.now += 10
        connector.on_connect = gate.wait
        connector.dead.add(holder.connection)
        holder.give_back()
        gate.has(1)  # for it, since nobody else waits
        others = []
        for _ in range(3):
            clock.now += 0.04
            others += queue(pool, 1)
        gate.open()
        for each in (low, *others):
            each.has_it().give_back()
    assert pool.get_stats()["requests_shed"] == 0
    assert_whole(pool, connector)


def test_it_counts_as_shed_who_heard_of_it():
    """Who was stopped before is no refused one."""

    class Stopped(BaseException):
        pass

    def stop(waiter, late):
        if waiter.outcome == "shed":
            raise Stopped
        wait_ended(waiter, late)

    clock = Clock()
    pool, connector = make(MAX_CONNS=1, POOL_TIMEOUT=600, OVERLOAD="shed", clock=clock)
    with taken(pool) as (holder,):
        line = standing(pool, clock)
        wait_ended, pool.slots.wait_ended = pool.slots.wait_ended, stop
        holder.give_back()
        with pytest.raises(Stopped):
            line[0].has_it()
        for each in (line[2], line[1]):
            each.has_it().give_back()
    stats = pool.get_stats()
    assert (stats["requests_errors"], stats["requests_refused"], stats["requests_shed"]) == (1, 0, 0)
    assert_whole(pool, connector)


def test_it_serves_in_turn_when_the_line_was_empty_meanwhile():
    clock = Clock()
    pool, connector = make(MAX_CONNS=1, POOL_TIMEOUT=600, OVERLOAD="shed", clock=clock)
    for _ in range(3):  # each a burst that is served in time
        with taken(pool) as (holder,):
            line = queue(pool, 3)
            clock.now += 0.2
            holder.give_back()
            for each in line:
                each.has_it().give_back()
    assert pool.get_stats()["requests_shed"] == 0
    assert_whole(pool, connector)


def test_it_queues_where_it_is_not_asked_to_shed():
    clock = Clock()
    pool, connector = make(MAX_CONNS=1, POOL_TIMEOUT=600, clock=clock)
    with taken(pool) as (holder,):
        line = []
        for _ in range(3):
            line += queue(pool, 1)
            clock.now += 10
        holder.give_back()
        for each in line:
            each.has_it().give_back()
    assert_whole(pool, connector)
