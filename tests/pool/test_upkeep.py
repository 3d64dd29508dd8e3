"""Connections end in time and are opened ahead; who ends without giving back is told of, and is taken from."""

import gc
import weakref

import pytest

from pooldemo.pool import Slot
from pooldemo.pool.upkeep import Keeper

from .world import (
    GREEN,
    Clock,
    FakeConnector,
    Gate,
    Holding,
    Refused,
    assert_whole,
    eventually,
    make,
    queue,
    taken,
)


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Housekeeping is what the test does: the pool's own rounds come when the machine lets them."""
    monkeypatch.setattr(Keeper, "start", lambda self: None)


def settled(connector: FakeConnector, count: int) -> None:
    eventually(
        lambda: len(connector.opened) == count and not connector.connecting, f"{count} open, not {connector.opened}"
    )


def test_it_opens_min_conns_ahead_and_keeps_them_open():
    pool, connector = make(MAX_CONNS=5, MIN_CONNS=3, MAX_IDLE=0.2)
    pool.checkin(pool.checkout())
    settled(connector, 3)
    connector.dead.add(pool.checkout().connection)
    for slot in list(pool.slots.all):
        if slot.holder:
            pool.checkin(slot)
    settled(connector, 3)
    assert connector.peak == 3
    eventually(lambda: pool.get_stats()["pool_available"] == 3)
    assert_whole(pool, connector)


def test_it_opens_no_connection_ahead_without_min_conns(by_hand):
    pool, connector = make(MAX_CONNS=5, MAX_IDLE=0.2)
    pool.checkin(pool.checkout())
    pool.upkeep.look_after({})
    assert connector.opened == {1}


def test_it_goes_on_opening_ahead_after_a_failure(caplog):
    pool, connector = make(MAX_CONNS=2, MIN_CONNS=2, MAX_IDLE=0.05)

    def connect(number):
        if number in (2, 3):
            raise Refused("no such host")

    connector.on_connect = connect
    pool.checkin(pool.checkout())
    settled(connector, 2)
    assert "cannot connect ahead: no such host" in caplog.text
    assert_whole(pool, connector)


def test_it_gives_a_connect_ahead_a_limit():
    pool, connector = make(MAX_CONNS=2, MIN_CONNS=2, POOL_TIMEOUT=7)
    pool.checkout()
    eventually(lambda: len(connector.timeouts) == 2)
    assert all(timeout == 10 for timeout in connector.timeouts)


def test_it_gives_what_was_opened_ahead_to_who_waits():
    pool, connector = make(MAX_CONNS=2, MIN_CONNS=2)
    gate = Gate()
    connector.on_connect = lambda number: gate.wait() if number > 1 else None
    holder = Holding(pool).has_it()
    gate.has(1)
    waiter = Holding(pool)
    eventually(lambda: pool.slots.line.normal)
    gate.open()
    assert waiter.has_it().connection == 2
    waiter.give_back()
    holder.give_back()
    assert_whole(pool, connector)


def test_it_replaces_connections_past_max_lifetime():
    clock = Clock()
    pool, connector = make(MAX_CONNS=2, MAX_LIFETIME=100, clock=clock, spread=lambda: 0.0)
    slot = pool.checkout()
    clock.now += 99
    pool.checkin(slot)
    slot = pool.checkout()
    assert slot.connection == 1
    clock.now += 1
    pool.checkin(slot)
    assert connector.closed == [1]
    slot = pool.checkout()
    pool.checkin(slot)
    clock.now += 100
    assert pool.checkout().connection == 3
    assert connector.closed == [1, 2]


def test_it_hands_no_connection_past_max_lifetime_to_a_waiter():
    clock = Clock()
    pool, connector = make(MAX_CONNS=1, MAX_LIFETIME=100, clock=clock, POOL_TIMEOUT=None)
    with taken(pool) as (holder,):
        (waiter,) = queue(pool, 1)
        clock.now += 100
        holder.give_back()
        assert waiter.has_it().connection == 2
        waiter.give_back()
    assert_whole(pool, connector)


def test_it_spreads_lifetimes_so_that_connections_do_not_end_together(by_hand):
    clock = Clock()
    spreads = iter([0.0, 0.5, 0.9])
    pool, connector = make(MAX_CONNS=3, MAX_LIFETIME=100, clock=clock, spread=lambda: next(spreads))
    with taken(pool):
        pass
    for now, closed in [(1090, []), (1092, [3]), (1094, [3]), (1096, [3, 2]), (1099, [3, 2]), (1100, [3, 2, 1])]:
        clock.now = now
        pool.upkeep.look_after({})
        assert connector.closed == closed


def test_it_ends_idle_connections_past_max_lifetime_by_itself():
    pool, connector = make(MAX_CONNS=3, MAX_LIFETIME=0.05)
    with taken(pool):
        pass
    settled(connector, 0)
    assert_whole(pool, connector)


def test_it_keeps_connections_for_ever_without_max_lifetime(by_hand):
    clock = Clock()
    pool, _connector = make(MAX_CONNS=1, MAX_LIFETIME=0, MAX_IDLE=0, clock=clock)
    pool.checkin(pool.checkout())
    clock.now += 1e9
    pool.upkeep.look_after({})
    assert pool.checkout().connection == 1


def test_it_ends_connections_past_max_idle_but_for_min_conns():
    pool, connector = make(MAX_CONNS=4, MIN_CONNS=2, MAX_IDLE=0.05)
    with taken(pool):
        assert len(connector.opened) == 4
    settled(connector, 2)
    for _ in range(3):
        pool.upkeep.look_after({})
    assert len(connector.opened) == 2
    assert next(connector.numbers) == 5, "what MIN_CONNS keeps is not opened again and again"
    assert_whole(pool, connector)


def test_it_ends_the_one_first_that_idled_longest(by_hand):
    clock = Clock()
    pool, connector = make(MAX_CONNS=3, MAX_IDLE=10, clock=clock)
    slots = [pool.checkout() for _ in range(3)]
    for slot in slots:
        clock.now += 1
        pool.checkin(slot)
    clock.now += 8
    pool.upkeep.look_after({})
    assert connector.closed == [1]
    clock.now += 1
    pool.upkeep.look_after({})
    assert connector.closed == [1, 2]


def test_it_keeps_idle_connections_without_max_idle(by_hand):
    clock = Clock()
    pool, connector = make(MAX_CONNS=1, MAX_IDLE=0, MAX_LIFETIME=0, clock=clock)
    pool.checkin(pool.checkout())
    clock.now += 1e9
    pool.upkeep.look_after({})
    assert connector.opened == {1}


def test_it_ends_a_connection_after_max_uses():
    pool, connector = make(MAX_CONNS=1, MAX_USES=3)
    served = []
    for _ in range(7):
        slot = pool.checkout()
        served.append(slot.connection)
        pool.checkin(slot)
    assert served == [1, 1, 1, 2, 2, 2, 3]
    assert pool.get_stats()["returns_bad"] == 0
    assert_whole(pool, connector)


def test_it_uses_a_connection_for_ever_without_max_uses():
    pool, connector = make(MAX_CONNS=1)
    for _ in range(100):
        pool.checkin(pool.checkout())
    assert connector.opened == {1}


def test_it_warns_once_of_each_slot_held_beyond_leak_threshold_with_the_holders_stack(by_hand):
    class Task:
        name = "the slow one"
        keeps = ""

        def keep(self, thing):
            return False

        def stack(self):
            return "  in view: time.sleep(60)"

    clock = Clock()
    pool, _connector = make(MAX_CONNS=2, LEAK_THRESHOLD=10, MAX_IDLE=0, clock=clock, task=Task)
    told: dict[Slot, float] = {}
    slot = pool.checkout()
    clock.now += 9
    pool.upkeep.look_after(told)
    clock.now += 1
    with pytest.warns(
        ResourceWarning, match=r"(?s)LEAK_THRESHOLD=10 s by the slow one for 10.0 s.*view: time.sleep\(60\)"
    ):
        pool.upkeep.look_after(told)
    clock.now += 5
    pool.upkeep.look_after(told)
    pool.checkin(slot)
    slot = pool.checkout()
    clock.now += 20
    with pytest.warns(ResourceWarning, match="held longer"):
        pool.upkeep.look_after(told)


def test_it_finds_a_threads_stack():
    pool, _ = make(MAX_CONNS=1)
    slot = pool.checkout()
    (holding,) = pool.holders()
    assert ("test_it_finds_a_threads_stack" in holding.stack()) or GREEN
    pool.checkin(slot)


def test_it_needs_no_housekeeping_when_no_option_asks_for_it():
    pool, _ = make(MAX_CONNS=1, MAX_IDLE=0, MAX_LIFETIME=0)
    pool.checkin(pool.checkout())
    assert not pool.upkeep.keeper.running


def test_it_ends_its_housekeeping_when_closed():
    pool, _ = make(MAX_CONNS=1, MAX_IDLE=600)
    pool.checkin(pool.checkout())
    assert pool.upkeep.keeper.running
    pool.close()
    eventually(lambda: not pool.upkeep.keeper.running)


def test_it_goes_on_with_its_housekeeping_after_a_surprise(caplog):
    pool, connector = make(MAX_CONNS=2, MAX_IDLE=0.05)
    with taken(pool):
        pass
    real, surprises = connector.close, [1]

    def close(connection):
        real(connection)
        if surprises.pop():
            raise RuntimeError("who would have thought")

    surprises = [0, 1]
    connector.close = close
    eventually(lambda: "failed in one round" in caplog.text)
    connector.close = real
    assert pool.upkeep.keeper.running


def test_it_can_be_collected_while_its_housekeeping_sleeps():
    pool, _connector = make(MAX_CONNS=1, MAX_IDLE=0.05)
    pool.checkin(pool.checkout())
    gone = weakref.ref(pool)
    keeper = pool.upkeep.keeper
    assert keeper.running
    del pool
    eventually(lambda: gc.collect() is None or gone() is None)
    eventually(lambda: not keeper.running)
