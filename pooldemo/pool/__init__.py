"""A connection pool that tells greenlets apart: a hard cap, strict first in, first out, and no lost wake-ups.

Plain Python over `open()` and `close()`: it has never heard of Django, SQL, a driver or gevent. Under gevent's
monkey patch its locks are greenlet locks; without it, thread locks.
"""

from .options import NAMES, ROWS, OptionError, Options
from .pool import Pool, start_thread
from .report import BOUNDS_S, Histogram, Holding, PoolClosed, PoolError, PoolFull, PoolTimeout, Stats
from .server import Connector
from .slot import Gate, Holder, Lifeline, Slot, Task, ThreadTask, Waiter, closed_gate

__all__ = [
    "BOUNDS_S", "NAMES", "ROWS", "Connector", "Gate", "Histogram", "Holder", "Holding", "Lifeline", "OptionError",
    "Options", "Pool", "PoolClosed", "PoolError", "PoolFull", "PoolTimeout", "Slot", "Stats", "Task", "ThreadTask",
    "Waiter", "closed_gate", "start_thread",
]  # fmt: skip
