"""The pools that are measured, each in a process of its own that gevent has patched.

`python -m benchmarks.pool.subjects NAME` answers each line of its standard input, a round, with one line: microseconds
of CPU for each thing measured. Connections are fakes, so that only the pool's own work is seen; what a pool does by
itself at each checkout and checkin (checks, counts, resets) is all on.
"""

from gevent import monkey

monkey.patch_all()

import itertools  # noqa: E402 - nothing may be imported before the patch
import json  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402

PAIRS, CANCELS = 10_000, 300
HANDOFFS = 100  # rounds of ten
FEW, MANY = 10, 10_000

Round = Callable[[], dict[str, float]]  # microseconds by what was measured


def of_pairs(pair: Callable[[], object]) -> Round:
    """Checkout and checkin, by one who is alone."""

    def measure() -> dict[str, float]:
        start = time.process_time()
        for _ in range(PAIRS):
            pair()
        return {"pair": (time.process_time() - start) / PAIRS * 1e6}

    return measure


def our_pool(size: int, **more: Any) -> Any:
    """As `pooldemo.postgresql` makes it: a checkout has a deadline."""
    from pooldemo.pool import Options, Pool
    from pooldemo.postgresql.green import gates

    class Fake:
        errors = (OSError,)

        def new(self) -> object:
            return object()

        def open(self, connection: object, timeout: float) -> None:
            pass

        def close(self, connection: object) -> None:
            pass

        def gone(self, connection: object) -> bool:
            return True

        def check(self, connection: object) -> bool:
            return True

        def ping(self, connection: object, timeout: float) -> bool:
            return True

        def recycle(self, connection: object) -> bool:
            return True

        def is_transient(self, error: BaseException, first: bool) -> bool:
            return False

        def is_full(self, error: BaseException) -> bool:
            return False

        def statement(self, connection: object) -> str:
            return ""

    options = Options.read({"MAX_IDLE": 0, "MAX_LIFETIME": 0, "POOL_TIMEOUT": 600, **more}, MAX_CONNS=size)
    return Pool(Fake(), options, gate=gates())


def pooldemo() -> Round:
    pool = our_pool(10, MIN_CONNS=1, LEAK_THRESHOLD=600, MAX_IDLE=600, MAX_LIFETIME=3600)
    return of_pairs(lambda: pool.checkin(pool.checkout()))


def _handoffs(lines: int, size: int) -> Iterator[float]:
    """Microseconds of a hand-off, in `lines` pools in turn, each with a line of `size` that asks again at once."""
    pools = [our_pool(1) for _ in range(lines)]
    held = [pool.checkout() for pool in pools]

    def ask_again(pool: Any) -> None:
        while True:
            pool.checkin(pool.checkout())

    crowd = [gevent.spawn(ask_again, pool) for pool in pools for _ in range(size)]
    gevent.sleep(0)
    handoffs = (size + 1) * lines
    while True:
        start = time.process_time()
        for number, pool in enumerate(pools):
            pool.checkin(held[number])
            held[number] = pool.checkout()  # served when each of the line was
        yield (time.process_time() - start) / handoffs * 1e6
        assert not any(waiter.dead for waiter in crowd)


def _lock_handoffs(size: int) -> Iterator[float]:
    """Microseconds of the least that gevent could do it with: a lock each, with a deadline, passed on in a ring."""
    locks = [threading.Lock() for _ in range(size + 1)]
    for lock in locks:
        lock.acquire()

    def pass_on(mine: threading.Lock, next_one: threading.Lock) -> None:
        while True:
            mine.acquire(timeout=600)
            next_one.release()

    crowd = [gevent.spawn(pass_on, *two) for two in itertools.pairwise([*locks[1:], locks[0]])]
    gevent.sleep(0)
    while True:
        start = time.process_time()
        locks[1].release()
        locks[0].acquire(timeout=600)
        yield (time.process_time() - start) / (size + 1) * 1e6
        assert not any(waiter.dead for waiter in crowd)


def waiters() -> Round:
    """Handing a slot to the next waiter, and cancelling one from the middle of the line, with few and with many.

    The many differ from the few above all in that their stacks have left the processor's caches when their turn comes.
    That is gevent's to bear ("gevent"). The length of the line alone is what differs between ten thousand in one line
    ("one") and in a thousand lines of ten ("lines").
    """
    few = {"handoff few": _handoffs(1, FEW), "gevent few": _lock_handoffs(FEW)}
    many = {
        "handoff one": _handoffs(1, MANY),
        "gevent many": _lock_handoffs(MANY),
        "handoff lines": _handoffs(MANY // FEW, FEW),
        "cancel lines": _cancels(MANY // FEW, FEW),
        "cancel one": _cancels(1, MANY),
    }

    def measure() -> dict[str, float]:
        found = {name: next(each) for name, each in many.items()}
        return found | {name: sum(itertools.islice(each, HANDOFFS)) / HANDOFFS for name, each in few.items()}

    return measure


def _cancels(lines: int, size: int) -> Iterator[float]:
    """Microseconds of killing one waiter in the middle of its line, in `lines` pools in turn, to its end."""
    pools = [our_pool(1) for _ in range(lines)]
    held = [pool.checkout() for pool in pools]
    queues = [[gevent.spawn(pool.checkout) for _ in range(size)] for pool in pools]
    gevent.sleep(0)
    turns = itertools.cycle(zip(pools, queues, strict=True))
    while True:
        taken_s = 0.0
        for pool, queue in itertools.islice(turns, CANCELS):
            victim = queue.pop(size // 2)
            start = time.process_time()
            victim.kill()
            taken_s += time.process_time() - start
            queue.append(gevent.spawn(pool.checkout))
            gevent.sleep(0)
            assert pool.get_stats()["requests_waiting"] == size
        yield taken_s / CANCELS * 1e6
        assert held


def psycopg_pool() -> Round:
    import psycopg_pool as theirs
    from psycopg.pq import TransactionStatus

    class Fake:
        """As much of a connection as the pool looks at."""

        def __init__(self) -> None:
            self._pool = None
            self.closed = False
            self.autocommit = True
            self.pgconn = self
            self.transaction_status = TransactionStatus.IDLE

        @classmethod
        def connect(cls, *_: object, **__: object) -> "Fake":
            return cls()

        def close(self) -> None:
            self.closed = True

    pool = theirs.ConnectionPool("", connection_class=Fake, min_size=1, max_size=10, open=True)
    pool.wait()
    return of_pairs(lambda: pool.putconn(pool.getconn()))


def django_db_geventpool() -> Round:
    from django_db_geventpool.backends.pool import DatabaseConnectionPool

    class Ours(DatabaseConnectionPool):
        DBERROR = OSError

        def create_connection(self) -> Any:
            return Connection()

        def check_usable(self, connection: object) -> None:
            pass  # its `SELECT 1`, 50 us more on a socket

    class Connection:
        pass

    pool = Ours(10, 10)
    return of_pairs(lambda: pool.put(pool.get()))


def dbutils() -> Round:
    from dbutils.pooled_db import PooledDB  # type: ignore[import-not-found]

    class Fake:
        """A DB-API module and its connection at once."""

        threadsafety = 1
        OperationalError = InterfaceError = InternalError = Error = OSError

        def connect(self) -> "Fake":
            return Fake()

        def close(self) -> None:
            pass

        def rollback(self) -> None:
            pass

        def cursor(self) -> None:
            pass

        def ping(self, *_: object) -> bool:
            return True

    pool = PooledDB(Fake(), maxconnections=10, mincached=1, blocking=True)
    return of_pairs(lambda: pool.connection().close())


def sqlalchemy() -> Round:
    from sqlalchemy.pool import QueuePool  # type: ignore[import-not-found]

    class Fake:
        def close(self) -> None:
            pass

        def rollback(self) -> None:
            pass

    pool = QueuePool(Fake, pool_size=10, max_overflow=0)
    return of_pairs(lambda: pool.connect().close())


def gevent_queue() -> Round:
    from gevent.queue import Queue

    queue: Any = Queue(10)
    queue.put(object())
    return of_pairs(lambda: queue.put(queue.get()))


SUBJECTS: dict[str, Callable[[], Round]] = {
    "pooldemo": pooldemo,
    "psycopg_pool": psycopg_pool,
    "django-db-geventpool": django_db_geventpool,
    "DBUtils": dbutils,
    "SQLAlchemy": sqlalchemy,
    "gevent's queue": gevent_queue,
    "waiters": waiters,
}

if __name__ == "__main__":
    measure = SUBJECTS[sys.argv[1]]()
    measure()
    for _ in sys.stdin:
        print(json.dumps(measure()), flush=True)
