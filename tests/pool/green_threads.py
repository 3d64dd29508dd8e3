"""Native threads of `gevent.threadpool` beside greenlets: one line and one cap.

What such a thread forgets does not come back: gevent keeps the greenlet of an ended one, and all that is local to it.
"""

import threading

import gevent
import pytest
from gevent.threadpool import ThreadPool

from pooldemo.postgresql.green import starter

from .world import assert_whole, make, waiting


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
    pool, connector = make(MAX_CONNS=1, POOL_TIMEOUT=5, start=starter())
    assert threads.spawn(request, pool).get(timeout=10) == 1
    assert request(pool) == 1
    assert_whole(pool, connector)


def test_it_hands_over_between_greenlets_and_native_threads(threads):
    pool, connector = make(MAX_CONNS=1, POOL_TIMEOUT=5, start=starter())
    slot = pool.checkout()
    native = threads.spawn(request, pool)
    waiting(pool, 1)
    pool.checkin(slot)
    assert native.get(timeout=10) == 1

    taken, end = threading.Event(), threading.Event()

    def hold():
        slot = pool.checkout()
        taken.set()
        end.wait(10)
        pool.checkin(slot)

    holder = threads.spawn(hold)
    assert taken.wait(10)
    greenlet = gevent.spawn(request, pool)
    waiting(pool, 1)
    end.set()
    assert greenlet.get(timeout=10) == 1
    holder.get(timeout=10)
    assert_whole(pool, connector)


def test_it_keeps_the_cap_with_both_at_once(threads):
    pool, connector = make(MAX_CONNS=2, POOL_TIMEOUT=20, start=starter())

    def requests():
        for _ in range(30):
            request(pool)
            gevent.sleep(0)

    crowd = [*(threads.spawn(requests) for _ in range(4)), *(gevent.spawn(requests) for _ in range(6))]
    for each in crowd:
        each.get(timeout=30)
    assert connector.peak <= 2
    assert_whole(pool, connector)
