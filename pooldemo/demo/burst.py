"""So many requests at once, and how their answers come: in one crowd, or in waves of as many as there are slots.

Threads of the standard library, one for each request: the first thing people try with a pool, kept as simple as they
do.
"""

import http.client
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Arrival:
    """One answer: `number` of the request, seconds after the start of all, status (0: none) and what was said
    instead."""

    number: int
    after_s: float
    status: int
    error: str = ""


@dataclass(frozen=True)
class Wave:
    """Answers that came together: how many, and when the first and the last of them."""

    count: int
    first_s: float
    last_s: float


def fire(url: str, count: int, timeout_s: float, arrived: Callable[[Arrival], None]) -> list[Arrival]:
    """Make `count` GET requests of `url` at the same moment; `arrived` hears of each as it comes. Blocks until all
    have."""
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    start = threading.Barrier(count + 1)
    turn = threading.Lock()
    arrivals: list[Arrival] = []
    began_s = 0.0

    def ask(number: int) -> None:
        connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 80, timeout=timeout_s)
        status, error = 0, ""
        start.wait()
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            status = response.status
        except (OSError, http.client.HTTPException) as problem:
            error = f"{type(problem).__name__}: {problem}"
        finally:
            connection.close()
        with turn:
            arrivals.append(Arrival(number, time.monotonic() - began_s, status, error))
            arrived(arrivals[-1])

    threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(1, count + 1)]
    for thread in threads:
        thread.start()
    began_s = time.monotonic()
    start.wait()
    for thread in threads:
        thread.join()
    return arrivals


def waves(after_s: Iterable[float], service_s: float) -> list[Wave]:
    """Answers grouped by silence: a gap of more than half the service time begins another wave."""
    found: list[Wave] = []
    for moment in sorted(after_s):
        last = found[-1] if found else None
        if last is not None and moment - last.last_s <= service_s / 2:
            found[-1] = Wave(last.count + 1, last.first_s, moment)
        else:
            found.append(Wave(1, moment, moment))
    return found
