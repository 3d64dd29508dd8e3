"""The pool alone, with greenlets for requests and a sleep for the query; what is asked for comes whether it is answered
or not. A client waits for a second; nobody tells the pool that it has gone, as behind most proxies."""

import random
import time
from typing import Any

import gevent

from pooldemo.pool import Options, Pool, PoolError

SLOTS, PATIENCE_S = 4, 1.0
WARMUP_S = 3.0


class Connector:
    """Connections that are objects, always there."""

    errors = ()

    def new(self) -> object:
        return object()

    def nothing(self, *_: Any) -> bool:
        return True

    open = close = gone = check = ping = recycle = nothing

    def is_transient(self, *_: Any) -> bool:
        return False

    def statement(self, *_: Any) -> str:
        return ""


class Lane:
    """Requests at random (Poisson), `load` times what the slots can carry, each of which holds one for `hold_s`.

    `seconds`: of those that came in the window of `window_s` and were served, from when they were due.
    """

    def __init__(self, pool: Pool, load: float, hold_s: float, window_s: float, low: bool = False) -> None:
        self.pool, self.load, self.hold_s, self.window_s, self.low = pool, load, hold_s, window_s, low
        self.seconds: list[float] = []
        self._dice = random.Random(1)

    def run(self) -> None:
        began_s = due_s = time.monotonic()
        while due_s < began_s + WARMUP_S + self.window_s:
            due_s += self._dice.expovariate(self.load * SLOTS / self.hold_s)
            gevent.sleep(max(0.0, due_s - time.monotonic()))
            gevent.spawn(self._ask, due_s, due_s - began_s > WARMUP_S)

    def _ask(self, due_s: float, counts: bool) -> None:
        try:
            slot = self.pool.checkout(low=self.low)
        except PoolError:
            return
        try:
            gevent.sleep(self.hold_s)
        finally:
            self.pool.checkin(slot)
        if counts:
            self.seconds.append(time.monotonic() - due_s)

    @property
    def answered(self) -> float:
        """The share of what the slots can carry that was answered, however late."""
        return len(self.seconds) * self.hold_s / self.window_s / SLOTS

    @property
    def carried(self) -> float:
        """The share of what the slots can carry that was answered while somebody still waited for it."""
        good = sum(each <= PATIENCE_S for each in self.seconds)
        return good * self.hold_s / self.window_s / SLOTS

    @property
    def p99_ms(self) -> float:
        return sorted(self.seconds)[int(0.99 * len(self.seconds))] * 1000


def pool(overload: str = "queue", max_waiting: int = 0) -> Pool:
    options = Options.read(MAX_CONNS=SLOTS, OVERLOAD=overload, POOL_TIMEOUT=30, MAX_WAITING=max_waiting)
    return Pool(Connector(), options)  # type: ignore[arg-type]


def together(*lanes: Lane) -> None:
    """Run these lanes at the same time: few, or they delay each other."""
    gevent.joinall([gevent.spawn(lane.run) for lane in lanes], raise_error=True)
    gevent.sleep(PATIENCE_S)
    for lane in lanes:
        lane.pool.close()
