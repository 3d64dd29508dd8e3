"""A closed pool tells who waits and leaves no connection behind; a drained one replaces each, and goes on."""

import pytest

from pooldemo.pool import PoolClosed, PoolTimeout

from .world import Gate, Holding, assert_whole, make, queue, taken


def test_it_replaces_every_connection_when_drained():
    pool, connector = make(MAX_CONNS=3)
    with taken(pool) as holders:
        holders[0].give_back()
        pool.drain()
        assert connector.closed == [1]
    assert sorted(connector.closed) == [1, 2, 3]
    assert pool.checkout().connection == 4
    assert not pool.closed


def test_it_counts_what_was_connecting_during_a_drain_as_old():
    pool, connector = make(MAX_CONNS=1)
    gate = Gate()
    connector.on_connect = gate.wait
    holding = Holding(pool)
    gate.has(1)
    pool.drain()
    gate.open()
    holding.has_it().give_back()
    assert connector.closed == [1]
    assert_whole(pool, connector)


def test_it_tells_waiters_that_it_was_closed():
    pool, connector = make(MAX_CONNS=2)
    with taken(pool):
        line = queue(pool, 3)
        pool.close()
        for waiter in line:
            with pytest.raises(PoolClosed, match="closed while waiting"):
                waiter.worker.result()
        assert len(connector.opened) == 2
    assert not connector.opened
    with pytest.raises(PoolClosed, match="is closed"):
        pool.checkout()


def test_it_closes_idle_connections_when_closed():
    pool, connector = make(MAX_CONNS=2)
    pool.checkin(pool.checkout())
    pool.close()
    assert not connector.opened
    pool.close()


def test_it_closes_a_doubtful_connection_when_closed():
    """Before `close` returns: PostgreSQL drops no database that has a connection."""
    pool, connector = make(MAX_CONNS=1, MAX_IDLE=0, MAX_LIFETIME=0)
    pool.checkin(pool.checkout())
    connector.dead.add(1)
    pool.upkeep.start = lambda work: None  # no filler comes to ask it
    with pytest.raises(PoolTimeout):
        pool.checkout(timeout=0.001)
    assert connector.opened == {1}
    pool.close()
    assert not connector.opened
    assert_whole(pool, connector)


def test_it_closes_a_connection_that_is_doubted_in_the_moment_in_which_it_closes(monkeypatch):
    pool, connector = make(MAX_CONNS=1, MAX_IDLE=0, MAX_LIFETIME=0)
    pool.checkin(pool.checkout())
    connector.dead.add(1)
    plain = pool.slots.doubt

    def doubt(waiter):
        pool.close()
        plain(waiter)

    monkeypatch.setattr(pool.slots, "doubt", doubt)
    with pytest.raises(PoolClosed):
        pool.checkout()
    assert not connector.opened
    assert_whole(pool, connector)


def test_it_tells_a_waiter_whose_connection_is_dead_that_it_was_closed():
    pool, connector = make(MAX_CONNS=1, POOL_TIMEOUT=None)
    with taken(pool) as (holder,):
        (waiter,) = queue(pool, 1)

        def look(connection):
            pool.close()
            connector.dead.add(connection)

        connector.on_check = look
        holder.give_back()
        with pytest.raises(PoolClosed, match="closed while waiting"):
            waiter.worker.result()
    assert_whole(pool, connector)


def test_it_does_what_was_left_undone_before_it_was_closed():
    """Nobody came after that: a connection stayed open."""
    pool, _ = make(MAX_CONNS=1)
    done = []
    pool.upkeep.later.works.append(lambda: done.append("left"))
    pool.close()
    assert done == ["left"]
