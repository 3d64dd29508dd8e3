"""Options that change under load change in the one pool: it keeps its cap, its waiters and its line."""

from pooldemo.pool import Options
from pooldemo.pool.upkeep import Later

from .world import Clock, Holding, assert_whole, eventually, make, queue, taken, until_quiet


def test_a_change_keeps_the_cap_and_who_waits():
    pool, connector = make(MAX_CONNS=2, MAX_IDLE=0, MAX_LIFETIME=0)
    with taken(pool) as holders:
        line = queue(pool, 3)
        pool.change(connector, Options.read(MAX_CONNS=2, MAX_USES=7))
        until_quiet(pool)
        assert connector.opened == {1, 2}
        for holder in holders:
            holder.give_back()
    assert [each.has_it().connection for each in line[:2]] == [3, 4]
    assert line[0].give_back() == 3
    assert line[2].has_it().connection == 3
    line[1].give_back()
    line[2].give_back()
    assert connector.peak == 2
    assert pool.options.max_uses == 7
    assert_whole(pool, connector)


def test_a_changed_size_counts_at_once():
    pool, connector = make(MAX_CONNS=1, MAX_IDLE=0, MAX_LIFETIME=0)
    with taken(pool):
        [waiter] = queue(pool, 1)
        pool.change(connector, Options.read(MAX_CONNS=2, MAX_IDLE=0, MAX_LIFETIME=0))
        assert waiter.has_it().connection == 2
    waiter.give_back()
    pool.change(connector, Options.read(MAX_CONNS=1, MAX_IDLE=0, MAX_LIFETIME=0))
    assert_whole(pool, connector)


def test_what_resize_set_stays_unless_max_conns_is_another():
    pool, connector = make(MAX_CONNS=1, MAX_IDLE=0, MAX_LIFETIME=0)
    pool.resize(3)
    pool.change(connector, Options.read(MAX_CONNS=1, MAX_USES=2, MAX_IDLE=0, MAX_LIFETIME=0))
    assert pool.get_stats()["pool_max"] == 3
    pool.change(connector, Options.read(MAX_CONNS=2, MAX_USES=2, MAX_IDLE=0, MAX_LIFETIME=0))
    assert pool.get_stats()["pool_max"] == 2
    assert_whole(pool, connector)


def test_a_size_that_was_put_off_counts_though_min_conns_has_risen():
    """A signal's handler may ask for it in the midst of a decision, which is done soon after."""
    pool, connector = make(MAX_CONNS=4, MAX_IDLE=0, MAX_LIFETIME=0)
    pool.upkeep.later = Later(lambda work: None)
    with pool.slots.mutex:
        pool.resize(1)
    pool.change(connector, Options.read(MAX_CONNS=4, MIN_CONNS=2, MAX_IDLE=0, MAX_LIFETIME=0))
    assert Holding(pool).has_it().give_back() in (1, 2)  # the keeper may have opened one ahead, before it shrank
    eventually(lambda: pool.get_stats()["pool_max"] == 1)  # by the keeper, which may be about to
    assert_whole(pool, connector)


def test_a_changed_overload_counts_for_who_waits_already():
    clock = Clock()
    pool, connector = make(MAX_CONNS=1, POOL_TIMEOUT=600, MAX_IDLE=0, MAX_LIFETIME=0, clock=clock)
    with taken(pool) as (holder,):
        [first] = queue(pool, 1)
        shed = {"MAX_CONNS": 1, "POOL_TIMEOUT": 600, "MAX_IDLE": 0, "MAX_LIFETIME": 0, "OVERLOAD": "shed"}
        pool.change(connector, Options.read(shed))
        clock.now += 0.2
        [second] = queue(pool, 1)
        clock.now += 0.2
        [newest] = queue(pool, 1)
        holder.give_back()
        newest.has_it().give_back()
        for each in (second, first):
            each.has_it().give_back()
    assert_whole(pool, connector)


def test_what_connects_meanwhile_is_of_before():
    """Its connection may have another password, and is not given out."""
    pool, connector = make(MAX_CONNS=1, MAX_IDLE=0, MAX_LIFETIME=0)
    connector.on_connect = lambda number: number > 1 or pool.change(connector, Options.read(MAX_CONNS=1))
    waiter = Holding(pool).has_it()
    assert waiter.connection == 2
    waiter.give_back()
    assert_whole(pool, connector)


def test_the_keeper_does_what_the_new_options_ask_for():
    pool, connector = make(MAX_CONNS=2, MAX_IDLE=0, MAX_LIFETIME=0)
    pool.checkin(pool.checkout())
    assert not pool.upkeep.keeper.running
    pool.change(connector, Options.read(MAX_CONNS=2, MIN_CONNS=2, MAX_IDLE=0, MAX_LIFETIME=0.2))
    eventually(lambda: len(connector.opened) == 2)
    assert pool.upkeep.keeper.running
    pool.change(connector, Options.read(MAX_CONNS=2, MAX_IDLE=0, MAX_LIFETIME=0))
    eventually(lambda: not pool.upkeep.keeper.running)
    assert_whole(pool, connector)
