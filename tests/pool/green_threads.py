"""Native threads of `gevent.threadpool` beside greenlets: one line and one cap."""

import gc
import threading

import gevent
import pytest
from gevent import monkey
from gevent.threadpool import ThreadPool

from pooldemo.pool import PoolTimeout
from pooldemo.postgresql.green import current_task, starter

from .world import PATIENCE_S, assert_whole, eventually, make, waiting


@pytest.fixture
def threads():
    threads = ThreadPool(4)
    yield threads
    threads.kill()


def request(pool):
    slot = pool.checkout()
    pool.checkin(slot)
    return slot.connection


def test_it_serves_a_native_thread_first(threads):
    pool, connector = make(MAX_CONNS=1, POOL_TIMEOUT=PATIENCE_S, start=starter())
    assert threads.spawn(request, pool).get(timeout=PATIENCE_S) == 1
    assert request(pool) == 1
    assert_whole(pool, connector)


def test_it_hands_over_between_greenlets_and_native_threads(threads):
    pool, connector = make(MAX_CONNS=1, POOL_TIMEOUT=PATIENCE_S, start=starter())
    slot = pool.checkout()
    native = threads.spawn(request, pool)
    waiting(pool, 1)
    pool.checkin(slot)
    assert native.get(timeout=PATIENCE_S) == 1

    taken, end = threading.Event(), threading.Event()

    def hold():
        slot = pool.checkout()
        taken.set()
        end.wait(PATIENCE_S)
        pool.checkin(slot)

    holder = threads.spawn(hold)
    assert taken.wait(PATIENCE_S)
    greenlet = gevent.spawn(request, pool)
    waiting(pool, 1)
    end.set()
    assert greenlet.get(timeout=PATIENCE_S) == 1
    holder.get(timeout=PATIENCE_S)
    assert_whole(pool, connector)


def test_it_waits_for_a_native_thread_without_a_limit_where_nothing_else_goes_on():
    pool, connector = make(MAX_CONNS=1, POOL_TIMEOUT=None, MAX_IDLE=0, MAX_LIFETIME=0)
    taken = []

    def hold():
        taken.append(pool.checkout())
        monkey.get_original("time", "sleep")(0.2)
        pool.checkin(taken[0])

    monkey.get_original("_thread", "start_new_thread")(hold, ())
    eventually(lambda: taken)
    assert request(pool) == 1
    assert_whole(pool, connector)


def test_it_keeps_the_cap_with_both_at_once(threads):
    pool, connector = make(MAX_CONNS=2, POOL_TIMEOUT=PATIENCE_S, start=starter())

    def requests():
        for _ in range(30):
            request(pool)
            gevent.sleep(0)

    crowd = [*(threads.spawn(requests) for _ in range(4)), *(gevent.spawn(requests) for _ in range(6))]
    for each in crowd:
        each.get(timeout=PATIENCE_S)
    assert connector.peak <= 2
    assert_whole(pool, connector)


def test_what_a_native_thread_forgets_comes_back_when_it_has_ended():
    """Though gevent keeps the greenlet of one that waited for something, and all that is local to it."""
    pool, connector = make(
        MAX_CONNS=1, POOL_TIMEOUT=None, MAX_IDLE=0, MAX_LIFETIME=0, start=starter(), task=current_task
    )

    def forget():
        gevent.sleep(0)
        pool.checkout()

    threads = ThreadPool(1)
    threads.apply(forget)
    with pytest.raises(PoolTimeout, match=r"native thread .* a thread must call connection\.close\(\)"):
        pool.checkout(timeout=0.01)

    def ended():
        threads.kill()
        eventually(lambda: gc.collect() is None or told)

    with pytest.warns(ResourceWarning, match="native thread .* ended without giving a connection") as told:
        ended()
    assert pool.get_stats()["holders_lost"] == 1
    assert_whole(pool, connector)
