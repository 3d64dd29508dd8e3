"""The pool's surroundings in its tests: connections are integers, and whatever blocks does so until it is told.

Nothing sleeps and hopes: `eventually` waits for a condition, and gives up loudly.
"""

import _thread
import collections
import itertools
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pooldemo.pool import Options, Pool, Slot
from pooldemo.postgresql.green import gates

PATIENCE_S = 60.0  # how long a test waits for what must come; only a failing one waits that long
GREEN = threading.Lock().__class__.__module__ != "_thread"


class Refused(Exception):
    """What the fake driver raises: for good, or `transient`."""

    def __init__(self, text: str = "refused", transient: bool = False, full: bool = False) -> None:
        super().__init__(text)
        self.transient, self.full = transient, full


def busy() -> Refused:
    """The server is starting up."""
    return Refused("the database system is starting up", transient=True)


def full() -> Refused:
    """The server has too many clients just now."""
    return Refused("too many clients", transient=True, full=True)


def eventually(condition: Callable[[], Any], what: object = "") -> None:
    """Wait until `condition` is true. Raises AssertionError when it does not become so."""
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, f"never came true: {what or condition}"
        time.sleep(0.0005)


class Gate:
    """Parks whoever calls `wait` until it is opened."""

    def __init__(self) -> None:
        self._opened = threading.Event()
        self.parked = 0

    def wait(self, *_: Any) -> None:
        self.parked += 1
        try:
            assert self._opened.wait(PATIENCE_S), "the gate was never opened"
        finally:
            self.parked -= 1

    def open(self) -> None:
        self._opened.set()

    def has(self, count: int) -> None:
        """Wait until so many are parked."""
        eventually(lambda: self.parked == count, f"{count} parked")


def nothing(*_: Any) -> None:
    """What a fake driver does unless told otherwise."""


class FakeConnector:
    """Counts what it is asked for; `on_connect(n)`, `on_ping(c)` and `on_recycle(c)` may park, switch or raise.

    A closed connection in `lingering` still counts at its server.
    """

    errors = (Refused,)

    def __init__(self) -> None:
        self.on_connect: Callable[[int], Any] = nothing
        self.on_check: Callable[[int], Any] = nothing
        self.on_ping: Callable[[int], Any] = nothing
        self.on_recycle: Callable[[int], Any] = nothing
        self.numbers = itertools.count(1)
        self.connecting = 0
        self.opened: set[int] = set()
        self.lingers: set[int] = set()
        self.linger = False
        self.lingering: set[int] = set()
        self.dead: set[int] = set()
        self.dirty: set[int] = set()
        self.closed: list[int] = []
        self.timeouts: list[float] = []
        self.firsts: list[bool] = []
        self.peak = 0
        self._lock = _thread.RLock()  # a greenlet's needs calls to be left, where the stack ends

    def new(self) -> int:
        return next(self.numbers)

    def open(self, number: int, timeout: float) -> None:
        with self._lock:
            self.timeouts.append(timeout)
            self.connecting += 1
            self.peak = max(self.peak, self.counted())
        is_open = False
        try:
            self.on_connect(number)
            is_open = True
        finally:
            with self._lock:  # both at once, or whoever looks counts it twice
                self.connecting -= 1
                if is_open:
                    self.opened.add(number)

    def close(self, connection: int) -> None:
        if connection in self.opened:
            self.opened.remove(connection)
            self.closed.append(connection)
        if connection in self.lingers or self.linger:
            self.lingering.add(connection)

    def gone(self, connection: int) -> bool:
        assert connection not in self.opened, f"{connection} was given up and not closed"
        return connection not in self.lingering

    def counted(self) -> int:
        """What the server counts."""
        with self._lock:
            return self.connecting + len(self.opened) + len(self.lingering)

    def check(self, connection: int) -> bool:
        self.on_check(connection)
        assert connection in self.opened, f"{connection} was given out after it was closed"
        return connection not in self.dead

    def ping(self, connection: int, timeout: float) -> bool:
        self.on_ping(connection)
        return connection not in self.dead

    def recycle(self, connection: int) -> bool:
        self.on_recycle(connection)
        return connection not in self.dead and connection not in self.dirty

    def is_transient(self, error: BaseException, first: bool) -> bool:
        self.firsts.append(first)
        return getattr(error, "transient", False)

    def is_full(self, error: BaseException) -> bool:
        return getattr(error, "full", False)

    def statement(self, connection: int) -> str:
        return f"SELECT {connection}"


def cannot_close(connector: FakeConnector, times: int) -> None:
    """So many times the caller's thread closes no connection, as where its stack ends: that needs more calls."""
    close, ends, me = connector.close, iter(range(times)), threading.get_ident()

    def close_or_end(connection: int) -> None:
        if threading.get_ident() == me and next(ends, None) is not None:
            raise RecursionError
        close(connection)

    connector.close = close_or_end  # type: ignore[method-assign]


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Worker(threading.Thread):
    """A greenlet or thread; `result` waits for what its function returned, or raises what it raised."""

    def __init__(self, work: Callable[..., Any], *args: Any, name: str | None = None) -> None:
        super().__init__(name=name, daemon=True)
        self.work: Callable[..., Any] | None = work
        self.args = args
        self.value: Any = None
        self.error: BaseException | None = None
        self.done = False
        self.greenlet: Any = None
        self.start()

    def run(self) -> None:
        assert self.work is not None
        if GREEN:
            self.greenlet = sys.modules["gevent"].getcurrent()
        try:
            self.value = self.work(*self.args)
        except BaseException as error:
            self.error = error
        self.work, self.args, self.greenlet = None, (), None
        self.done = True

    def result(self) -> Any:
        eventually(lambda: self.done, self)
        if self.error is not None:
            raise self.error
        return self.value


class Holding:
    """A worker that checks a slot out, holds it until told, and gives it back."""

    def __init__(self, pool: Pool, name: str | None = None, **checkout: Any) -> None:
        self.pool, self.checkout = pool, checkout
        self.slot: Slot | None = None
        self.connection: Any = None
        self.gate = Gate()
        self.worker = Worker(self._hold, name=name)

    def _hold(self) -> int:
        slot = self.pool.checkout(**self.checkout)
        self.slot, self.connection = slot, slot.connection
        try:
            self.gate.wait()
        finally:
            self.pool.checkin(slot)
        return self.connection

    def has_it(self) -> "Holding":
        eventually(lambda: self.slot is not None or self.worker.error, self.pool)
        if self.worker.error is not None:
            raise self.worker.error
        return self

    def give_back(self) -> int:
        self.gate.open()
        return self.worker.result()


_pools: "weakref.WeakSet[Pool]" = weakref.WeakSet()


def make(connector: FakeConnector | None = None, **given: Any) -> tuple[Pool, FakeConnector]:
    """A pool over a fake driver. Names in capitals are options, the others arguments of `Pool`."""
    options = {name: value for name, value in given.items() if name.isupper()}
    arguments = {"gate": gates()} | {name: value for name, value in given.items() if not name.isupper()}
    connector = connector or FakeConnector()
    pool = Pool(connector, Options.read(options), **arguments)
    _pools.add(pool)
    return pool, connector


def close_all() -> None:
    """Close every pool that `make` made."""
    for pool in list(_pools):
        pool.close()


def waiting(pool: Pool, count: int) -> None:
    """Wait until so many wait for a slot."""
    eventually(lambda: pool.get_stats()["requests_waiting"] == count, f"{count} waiting in {pool!r}")


def queue(pool: Pool, count: int, **checkout: Any) -> list[Holding]:
    """So many that came and had to wait, in this order; who may not wait long may have given up since."""
    asked = pool.get_stats()["requests_num"]
    line: list[Holding] = []
    while len(line) < count:
        line.append(Holding(pool, name=f"waiter-{len(line) + 1}", **checkout))
        eventually(lambda: pool.get_stats()["requests_num"] == asked + len(line), f"one more waiting in {pool!r}")
    return line


def assert_whole(pool: Pool, connector: FakeConnector, counted: bool = True) -> None:
    """Nothing is held, nothing waits, and every slot can be had at once. `counted`: each checkout was, once."""
    eventually(lambda: connector.connecting == 0)
    slots = pool.slots
    eventually(lambda: not slots.filling and not pool.holders(), pool)
    eventually(lambda: len(slots.idle) + len(slots.unready) == slots.size, pool)
    eventually(lambda: all(slot.connection is None for slot in slots.unready), "each doubtful one was asked")
    eventually(lambda: not slots.filling, pool)
    stats = pool.get_stats()
    assert stats["requests_waiting"] == len(slots.line.normal) == 0
    places = [*slots.unready, *slots.idle]
    assert len(places) == len(set(map(id, places))) == len(slots.all) == slots.size, (places, slots.all)
    assert sorted(slot.connection for slot in slots.idle) == sorted(connector.opened)
    assert all(slot.connection is None for slot in slots.unready)
    assert all(slot.holder is None for slot in slots.all)
    ended = sum(pool.histograms()["wait"].counts) + stats["requests_errors"]
    assert stats["requests_num"] == ended or not counted, stats


@contextmanager
def taken(pool: Pool) -> Iterator[list[Holding]]:
    """Every slot of the pool, held by others; what they still hold is given back at the end."""
    size = int(pool.get_stats()["pool_max"])
    # Whatever POOL_TIMEOUT is about, it is not about these.
    holders = [Holding(pool, f"holder-{number}", timeout=PATIENCE_S).has_it() for number in range(1, size + 1)]
    yield holders
    for holder in holders:
        holder.give_back()


def until_quiet(pool: Pool, seen: Callable[[], Any] = nothing) -> None:
    """Let the others run until nothing changes any more."""
    same = 0
    last: Any = None
    while same < 3:
        time.sleep(0 if GREEN else 0.001)
        stats = pool.get_stats()
        now = collections.Counter({name: stats[name] for name in stats if not name.endswith("_ms")}), seen()
        same = same + 1 if now == last else 0
        last = now
