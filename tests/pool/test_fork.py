"""A forked child has an empty pool of its own and never touches its parent's connections. Each in a real process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .world import GREEN, assert_whole, make

PRELUDE = """
import os, sys, threading
waitpid = os.waitpid
if "gevent.monkey" in sys.modules:  # gevent's own misses a child that ends before its loop looks
    waitpid = sys.modules["gevent.monkey"].get_original("os", "waitpid")
from pooldemo.pool import Options, Pool
log = []
class Connector:
    errors = (OSError,)
    def new(self): return object()
    def open(self, connection, timeout): log.append("connect")
    def close(self, connection): log.append("close")
    def gone(self, connection): return True
    def check(self, connection): return True
    def ping(self, connection, timeout): return True
    def recycle(self, connection):
        log.append("recycle"); return True
    def is_transient(self, error, first): return False
    def is_full(self, error): return False
    def statement(self, connection): return ""
pool = Pool(Connector(), Options.read(MAX_CONNS=2, MAX_IDLE=600))
def in_child(work):
    read, write = os.pipe()
    child = os.fork()
    if not child:
        log.clear()
        try:
            work()
            answer = " ".join(log) or "nothing"
        except BaseException as error:
            answer = repr(error)
        os.write(write, answer.encode())
        os._exit(0)
    waitpid(child, 0)
    print(os.read(read, 1000).decode())
"""


def run(body: str) -> list[str]:
    patch = "from gevent import monkey; monkey.patch_all()\n" if GREEN else ""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", patch + PRELUDE + body],
        capture_output=True, text=True, env=environment, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def test_it_connects_anew_in_a_child():
    assert run("pool.checkin(pool.checkout()); in_child(lambda: pool.checkin(pool.checkout())); print(pool)") == [
        "connect recycle",
        "<Pool pool: 0/2 in use, 1 idle, 0 waiting>",
    ]


def test_it_has_its_whole_capacity_in_a_child():
    body = "both = lambda: [pool.checkout(1), pool.checkout(1)]\nslots = both(); in_child(both); print(pool)"
    assert run(body) == ["connect connect", "<Pool pool: 2/2 in use, 0 idle, 0 waiting>"]


def test_it_does_not_touch_what_was_held_while_forking():
    body = "slot = pool.checkout()\nin_child(lambda: pool.checkin(slot)); pool.checkin(slot); print(*log, pool)"
    assert run(body) == ["nothing", "connect recycle <Pool pool: 0/2 in use, 1 idle, 0 waiting>"]


@pytest.mark.parametrize("ending", ["pool.close()", "pool.drain()", "pool.resize(1)"])
def test_it_closes_nothing_of_its_parents(ending):
    body = f"slot = pool.checkout(); pool.checkin(pool.checkout())\nin_child(lambda: {ending}); print(pool)"
    assert run(body) == ["nothing", "<Pool pool: 1/2 in use, 1 idle, 0 waiting>"]


def test_it_does_not_reap_what_other_threads_of_its_parent_hold():
    body = """
import gc
held, end = threading.Event(), threading.Event()
def hold():
    slot = pool.checkout(); held.set(); end.wait(); pool.checkin(slot)
threads = [threading.Thread(target=hold) for _ in range(2)]
for thread in threads: thread.start()
held.wait()
def look():
    gc.collect(); pool.upkeep.later.catch_up(); pool.checkin(pool.checkout(1)); pool.upkeep.later.catch_up()
in_child(look); end.set()
for thread in threads: thread.join()
print(pool)
"""
    assert run(body) == ["connect recycle", "<Pool pool: 0/2 in use, 2 idle, 0 waiting>"]


def test_it_takes_nothing_from_a_thread_that_a_fork_has_ended(monkeypatch):
    pool, connector = make(MAX_CONNS=1, MAX_IDLE=0, MAX_LIFETIME=0)
    slot = pool.checkout()
    assert slot.holder is not None
    monkeypatch.setattr(os, "getpid", lambda: -1)  # the child, before the pool has heard of the fork
    lifeline = pool._local.lifeline
    lifeline.__del__()
    pool.upkeep.later.catch_up()
    assert connector.opened == {1}
    monkeypatch.undo()
    pool.checkin(slot)
    assert_whole(pool, connector)


def test_it_forgets_a_lock_that_was_held_while_forking():
    assert run("pool.slots.mutex.acquire()\nin_child(lambda: pool.checkin(pool.checkout()))") == ["connect recycle"]


def test_it_works_in_a_child_forked_while_others_decide_and_make_pools():
    body = """
import signal
sys.setswitchinterval(1e-5)
busy = True
def ask():
    while busy: pool.checkin(pool.checkout())
def make():
    while busy: other = Pool(Connector(), Options.read(MAX_CONNS=2)); other.checkin(other.checkout())
threads = [threading.Thread(target=work) for work in (ask, ask, ask, make)]
for thread in threads: thread.start()
def look():
    signal.alarm(200)
    new = Pool(Connector(), Options.read(MAX_CONNS=1))
    for each in (pool, new): each.checkin(each.checkout(100))
    log[:] = ["works"]
for _ in range(10): in_child(look)
busy = False
for thread in threads: thread.join()
print(pool.checkin(pool.checkout(100)))
"""
    if GREEN:
        body = body.replace("while busy: ", "while busy: __import__('time').sleep(0); ")
    assert run(body) == ["works"] * 10 + ["None"]
