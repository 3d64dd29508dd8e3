"""What an ended greenlet or thread kept is taken back and told of, whatever happens while it is told."""

import gc
import logging
import sys
import time
import warnings

import pytest

from pooldemo.pool.upkeep import Later

from .world import GREEN, PATIENCE_S, Gate, Worker, assert_whole, eventually, make, queue, taken


def test_it_takes_back_what_an_ended_holder_kept_and_says_whose_it_was():
    pool, connector = make(MAX_CONNS=1, MAX_IDLE=0, MAX_LIFETIME=0)

    def forget():
        pool.checkout()

    def forgotten():
        Worker(forget, name="forgetful").result()
        eventually(lambda: gc.collect() is None or connector.closed == [1], "the orphan's connection is closed")
        slot = pool.checkout(timeout=PATIENCE_S)
        eventually(lambda: len(told) > 0)  # the slot comes back first, the warning after
        return slot

    with pytest.warns(
        ResourceWarning, match=r"forgetful ended without giving .* back: forgetful for .* s \(SELECT 1\)"
    ) as told:
        slot = forgotten()
    assert slot.connection == 2
    assert pool.get_stats()["holders_lost"] == 1
    pool.checkin(slot)
    assert_whole(pool, connector)


def test_it_takes_back_what_was_bound_to_a_cycle_that_is_collected():
    """Where no other greenlet or thread has asked this pool for anything, or none that still lives."""
    pool, connector = make(MAX_CONNS=1, MAX_IDLE=0, MAX_LIFETIME=0)

    def leave_a_cycle():
        cycle = [pool.lifeline()]
        pool.rebind(pool.checkout(), cycle[0])
        cycle.append(cycle)

    def collected():
        gc.collect()
        eventually(lambda: len(told) > 0)

    gc.disable()
    try:
        worker = Worker(leave_a_cycle)
        worker.result()
        worker.join()
        assert pool.holders()
        with pytest.warns(ResourceWarning, match="ended without giving a connection") as told:
            collected()
    finally:
        gc.enable()
    assert_whole(pool, connector)


def test_it_serves_the_next_waiter_with_what_an_ended_holder_kept():
    pool, connector = make(MAX_CONNS=1, MAX_IDLE=0, MAX_LIFETIME=0)
    end = Gate()

    def forget():
        pool.checkout()
        end.wait()

    def forgotten():
        end.open()
        eventually(lambda: gc.collect() is None or line[0].slot is not None)
        line[0].give_back()
        line[1].give_back()
        eventually(lambda: len(told) > 0)

    Worker(forget, name="forgetful")
    end.has(1)
    line = queue(pool, 2)
    with pytest.warns(ResourceWarning, match="forgetful ended") as told:
        forgotten()
    assert [holding.connection for holding in line] == [2, 2]
    assert_whole(pool, connector)


def test_it_takes_nothing_back_that_another_gave_back_for_an_ended_holder():
    pool, connector = make(MAX_CONNS=1, MAX_IDLE=0, MAX_LIFETIME=0)
    pool.checkin(pool.checkout())
    pool.upkeep.later = Later(lambda work: None)
    slot = Worker(pool.checkout).result()
    eventually(lambda: gc.collect() is None or pool.upkeep.later.works)
    pool.checkin(slot)
    again = pool.checkout()
    pool.upkeep.later.catch_up()
    assert again.connection == 1
    assert pool.get_stats()["holders_lost"] == 0
    pool.checkin(again)
    assert_whole(pool, connector)


def test_it_stops_nobody_with_the_warning_of_anothers_leak(monkeypatch):
    told: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda hook: told.append(hook.exc_value))
    pool, connector = make(MAX_CONNS=1, MAX_IDLE=0, MAX_LIFETIME=0)
    pool.checkin(pool.checkout())
    pool.upkeep.later = Later(lambda work: None)  # so that it is left to whoever comes along

    def forget():
        pool.checkout()

    Worker(forget, name="forgetful").result()
    eventually(lambda: gc.collect() is None or pool.upkeep.later.works)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pool.checkin(pool.checkout(timeout=PATIENCE_S))
    assert "forgetful ended" in str(told)
    assert_whole(pool, connector)


def sleeps(record):
    time.sleep(0.01)


def raises(record):
    raise RuntimeError("the disk is full")


def is_hit_by_a_timeout(record):
    import gevent

    with gevent.Timeout(0.001):
        time.sleep(5)


@pytest.mark.parametrize("emit", [sleeps, raises, *([is_hit_by_a_timeout] if GREEN else [])])
@pytest.mark.parametrize("by", ["the background", "who asks"])
def test_it_loses_no_slot_whatever_happens_in_a_log_handler(monkeypatch, emit, by):
    """The orphans are told of when all of them have come back, and one who asks is not failed by another's handler."""
    told = []
    monkeypatch.setattr("pooldemo.pool.report._LastWords", lambda *words: told.append(words))
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", emit)
    logger = logging.getLogger("pooldemo.pool.report")
    logger.addHandler(handler)
    pool, connector = make(MAX_CONNS=4, MAX_IDLE=0, MAX_LIFETIME=0)
    if by == "who asks":
        pool.upkeep.later = Later(lambda work: None)

    def forget():
        pool.checkout()
        pool.checkout()
        pool.checkout()

    def ask():
        for _ in range(3):  # the first ones may be stopped by what hit the handler; no more than there are orphans
            try:
                return pool.checkout(timeout=PATIENCE_S)
            except BaseException as error:
                if type(error).__name__ != "Timeout":
                    raise
        raise AssertionError("stopped more often than there are orphans")

    try:
        Worker(forget, name="forgetful").result()
        eventually(lambda: gc.collect() is None or pool.upkeep.later.works or not pool.holders())
        pool.checkin(ask())
        eventually(lambda: pool.get_stats()["holders_lost"] == 3)
        with taken(pool):
            pass
        eventually(lambda: len(told) == 3 or emit is is_hit_by_a_timeout)
    finally:
        logger.removeHandler(handler)
    assert_whole(pool, connector)
