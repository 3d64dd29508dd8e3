"""`python -m benchmarks.overload`: goodput at 0.5 to 3 times the capacity, first come first served beside shedding, and
the high lane beside a flood of low priority. Writes docs/overload.md; two and a half minutes.

The pool alone, with greenlets for requests and a sleep for the query. Arrivals are at random (Poisson), whether answers
come or not. A client waits for a second; nobody tells the pool that it has gone, as behind most proxies.
"""

from gevent import monkey

monkey.patch_all()

import random  # noqa: E402  the patch comes first
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402

from benchmarks.markdown import table, with_tables  # noqa: E402
from pooldemo.pool import Options, Pool, PoolError  # noqa: E402

PAGE = Path(__file__).resolve().parents[2] / "docs" / "overload.md"
SLOTS, HOLD_S, PATIENCE_S = 4, 0.1, 1.0
CAPACITY = SLOTS / HOLD_S
LOADS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
WARMUP_S, WINDOW_S = 3.0, 7.0


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
    """Requests at random, so many a second; `seconds` of those that came in the window and were served."""

    def __init__(self, pool: Pool, rate: float, low: bool = False, seed: int = 1) -> None:
        self.pool, self.rate, self.low = pool, rate, low
        self.seconds: list[float] = []
        self._dice = random.Random(seed)

    def run(self) -> None:
        began_s = due_s = time.monotonic()
        while due_s < began_s + WARMUP_S + WINDOW_S:
            due_s += self._dice.expovariate(self.rate)
            gevent.sleep(max(0.0, due_s - time.monotonic()))
            gevent.spawn(self._ask, due_s, due_s - began_s > WARMUP_S)

    def _ask(self, due_s: float, counts: bool) -> None:
        try:
            slot = self.pool.checkout(low=self.low)
        except PoolError:
            return
        try:
            gevent.sleep(HOLD_S)
        finally:
            self.pool.checkin(slot)
        if counts:
            self.seconds.append(time.monotonic() - due_s)

    @property
    def goodput(self) -> float:
        """Answers a second that somebody still waited for."""
        return sum(each <= PATIENCE_S for each in self.seconds) / WINDOW_S

    @property
    def p99_ms(self) -> float:
        return sorted(self.seconds)[int(0.99 * len(self.seconds))] * 1000


def pool(overload: str) -> Pool:
    return Pool(Connector(), Options.read(MAX_CONNS=SLOTS, OVERLOAD=overload, POOL_TIMEOUT=30))  # type: ignore[arg-type]


def together(*lanes: Lane) -> None:
    """Run these lanes at the same time: as few as can be, or they delay each other."""
    gevent.joinall([gevent.spawn(lane.run) for lane in lanes], raise_error=True)
    gevent.sleep(PATIENCE_S)
    for lane in lanes:
        lane.pool.close()


def main() -> None:
    shown = {name: [Lane(pool(name), load * CAPACITY) for load in LOADS] for name in ("queue", "shed")}
    for each in (*shown["queue"], *shown["shed"]):
        together(each)
    alone = Lane(pool("queue"), 0.1 * CAPACITY)
    together(alone)
    shared = pool("queue")
    high, flood = Lane(shared, 0.1 * CAPACITY), Lane(shared, 2 * CAPACITY, low=True)
    together(high, flood)
    rows = [
        [f"{load:g}", *(f"{100 * shown[name][index].goodput / CAPACITY:.0f}%" for name in shown)]
        for index, load in enumerate(LOADS)
    ]
    goodput = table(("offered, of the capacity", '`"queue"`', '`"shed"`'), rows)
    beside = f"beside low priority at twice the capacity {high.p99_ms:.0f} ms, {high.p99_ms / alone.p99_ms:.2f} of it"
    lanes_text = f"The p99 of requests at a tenth of the capacity: alone {alone.p99_ms:.0f} ms, {beside}."
    PAGE.write_text(
        with_tables(PAGE.read_text(), {"goodput": goodput, "lanes": lanes_text}, "python -m benchmarks.overload")
    )
    print(goodput, lanes_text, sep="\n\n")


if __name__ == "__main__":
    main()
