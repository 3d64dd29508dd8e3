"""`ENGINE = "benchmarks.pool.floor"`: MAX_CONNS connections, first come, first served, within 30 seconds. That is all.

No reset, no look at a socket, no counter, no error's text, no end of a connection, nothing for whoever is killed while
he waits or is served just when his time is over. What a pool costs beyond this is what its promises cost.
"""

import os
from collections import deque
from collections.abc import Callable
from typing import Any

from django.db import OperationalError
from django.db.backends.postgresql import base
from gevent import get_hub, getcurrent

_SIZE = int(os.environ["MAX_CONNS"])
_LIMIT_S = 30.0

_free: list[Any] = []
_line: deque[Callable[[Any], Any]] = deque()  # who waits, as what to call with the connection
_opened: list[Any] = []


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's, whose connections go to the next in line instead of being closed."""

    def connect(self) -> None:
        if not _free and len(_opened) < _SIZE:
            _opened.append(self)
            super().connect()
        else:
            self.connection = _free.pop() if _free else _wait()
            self.autocommit = True
        self.close_at = 0.0  # at the request's end

    def _close(self) -> None:
        if _line:
            get_hub().loop.run_callback(_line.popleft(), self.connection)
        else:
            _free.append(self.connection)


def _wait() -> Any:
    hub: Any = get_hub()
    switch = getcurrent().switch
    timer = hub.loop.timer(_LIMIT_S)
    timer.start(switch, None)
    _line.append(switch)
    connection = hub.switch()
    timer.close()
    if connection is None:
        _line.remove(switch)
        raise OperationalError(f"no connection within {_LIMIT_S} s")
    return connection
