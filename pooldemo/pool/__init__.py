"""A connection pool that tells greenlets apart: a hard cap, strict first in, first out, and no lost wake-ups.

Plain Python over `connect()` and `close()`: it has never heard of Django, SQL, a driver or gevent. Under gevent's
monkey patch its locks are greenlet locks; without it, thread locks.
"""

from .connector import Connector
from .errors import OptionError, PoolClosed, PoolError, PoolFull, PoolTimeout
from .options import NAMES, ROWS, Options
from .pool import Pool
from .slot import Holding, Slot, Task, ThreadTask
from .stats import Histogram, Stats

__all__ = [
    "NAMES", "ROWS", "Connector", "Histogram", "Holding", "OptionError", "Options", "Pool", "PoolClosed", "PoolError",
    "PoolFull", "PoolTimeout", "Slot", "Stats", "Task", "ThreadTask",
]  # fmt: skip
