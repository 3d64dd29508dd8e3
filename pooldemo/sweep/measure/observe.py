"""What can be seen of a trial from outside while it runs: connections in PostgreSQL, CPU by process, a probe, the
pool's counters.

Looking is cheap and writes nothing: one count a twentieth of a second, one `/nodb/` each half second.
"""

import http.client
import json
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

import psutil

from pooldemo.sweep.measure import database, machine
from pooldemo.sweep.measure.machine import Quota
from pooldemo.sweep.measure.target import Page

POLL_S = 0.05
PROBE_S = 0.5
READ = 1 << 16  # bytes of an answer at a time
# A worker may add its own mark behind a slash: `sweep-pooldemo-8/4711`.
DOING = """
    SELECT CASE WHEN state = 'active' THEN coalesce(wait_event_type || ':' || wait_event, 'CPU')
                WHEN state LIKE 'idle in transaction%%' THEN 'idle in transaction' ELSE 'idle' END, count(*)
    FROM pg_stat_activity WHERE EXISTS (
        SELECT FROM unnest(%s) AS name WHERE application_name = name OR starts_with(application_name, name || '/')
    ) AND NOT coalesce(state = 'idle' AND state_change < %s, FALSE) GROUP BY 1
"""


class Poll(threading.Thread):
    """A thread that calls `look` every so often until it is left; what `look` raises ends it and is kept in `error`."""

    def __init__(self, look: Callable[[], None], every_s: float) -> None:
        super().__init__(daemon=True)
        self._look, self._every_s = look, every_s
        self._left = threading.Event()
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            while not self._left.wait(self._every_s):
                self._look()
        except Exception as error:
            self.error = error

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self.join()


class Connections:
    """How many connections of these names PostgreSQL shows at most, all together, and what they do, on a connection of
    its own. Those that have been idle since before it looked on are not counted: a PgBouncer between keeps them, with
    the name of whoever used them last, from a trial of a larger size.

    Raises database.DatabaseDown when there is none to have.
    """

    def __init__(self, database_url: str, *names: str) -> None:
        self._connection = database.connect(database_url)
        since, self.has_io = database.at_first(self._connection)
        self._cursor = self._connection.cursor()
        self._named = [list(names), since]
        self.postmaster = database.postmaster(self._connection)
        self.peak: int | None = 0 if names else None
        self.waits: dict[str, float] = {}
        self.io: dict[str, float] = {}
        self._lock = threading.Lock()
        self._looks, self._doing = 0, Counter[str]()

    def look(self) -> None:
        if self.peak is None:
            return
        self._cursor.execute(DOING, self._named)
        doing = dict(self._cursor.fetchall())
        self.peak = max(self.peak, sum(doing.values()))
        with self._lock:
            self._looks += 1
            self._doing.update(doing)

    @contextmanager
    def window(self) -> Iterator[None]:
        """While this lasts it is counted what they do: afterwards `waits` says so, averaged over the looks, and `io`
        what PostgreSQL's client backends, theirs and any others, read and wrote."""
        before = database.io(self._connection) if self.has_io else {}
        with self._lock:
            self._looks, self._doing = 0, Counter[str]()
        yield
        after = database.io(self._connection) if before else {}
        gone_by = {name: count - before.get(name, 0.0) for name, count in after.items()}
        self.io = gone_by if min(gone_by.values(), default=0.0) >= 0 else {}  # somebody set them to 0 meanwhile
        with self._lock:
            self.waits = {label: round(count / self._looks, 3) for label, count in self._doing.most_common()}

    def close(self) -> None:
        self._connection.close()


class Probe:
    """The slowest answer of a page that needs no database: a blocked worker shows here when nothing else is asked."""

    def __init__(self, url: str, path: str | None) -> None:
        """`path` None: there is no such page, and nothing is asked."""
        self._url, self._path = url, path
        self.max_ms: float | None = None

    def look(self) -> None:
        if self._path is None:
            return
        began_s = time.perf_counter()
        get(self._url, self._path, timeout_s=30)
        self.max_ms = max(self.max_ms or 0.0, (time.perf_counter() - began_s) * 1000)


@dataclass(frozen=True)
class Holds:
    """Slots held and given back: how many, and seconds in all.

    `by_worker` has of each, by its host's number and its own, when (of the epoch, by its host's clock) it was looked
    at, and for how many seconds in all its slots had been held by then, those that are held still included. `refused`
    are the connects that failed.
    """

    count: int
    total_s: float
    by_worker: Mapping[Any, tuple[float, float]] = field(default_factory=dict)
    refused: int = 0


@dataclass(frozen=True)
class Snapshot:
    """What was used until now, in seconds of CPU: each process of the server, PostgreSQL, the sweep, the whole
    machine."""

    clock_s: float
    server_cpu_s: dict[int, float]
    postgresql_cpu_s: float | None
    sweep_cpu_s: float
    machine_cpu_s: float
    steal_cpu_s: float
    quota: Quota | None
    holds: Holds | None


def snapshot(
    server_cpu_s: dict[int, float],
    postmaster: psutil.Process | None,
    url: str,
    pool: Page | None,
) -> Snapshot:
    """Look once at everything that counts up. Blocks for one request where there is a `pool`."""
    busy = psutil.cpu_times()
    steal_s = getattr(busy, "steal", 0.0)
    idle_s = busy.idle + getattr(busy, "iowait", 0.0) + steal_s
    # Linux counts a virtual machine's time in `user` already.
    all_s = sum(busy) - getattr(busy, "guest", 0.0) - getattr(busy, "guest_nice", 0.0)
    return Snapshot(
        clock_s=time.monotonic(),
        server_cpu_s=server_cpu_s,
        postgresql_cpu_s=family_cpu_s(postmaster),
        sweep_cpu_s=sum(psutil.Process().cpu_times()[:2]),
        machine_cpu_s=all_s - idle_s,
        steal_cpu_s=steal_s,
        quota=machine.quota(),
        holds=pool_holds(url, pool),
    )


def pool_holds(url: str, page: Page | None) -> Holds | None:
    """How often and how long slots of the default database have been held so far, over all workers of all hosts; None
    where `/pool/` does not tell, or where that database is on no pool of ours (no size)."""
    count, total_s, refused, busy = 0, 0.0, 0, dict[tuple[int, int], tuple[float, float]]()
    hosts = [workers(host, page) for host in page.of(url)] if page else []
    if not all(hosts) or not hosts or any(worker.get("size", 0) is None for host in hosts for worker in host):
        return None
    for number, worker in ((number, worker) for number, host in enumerate(hosts) for worker in host):
        held_s: float | None = 0.0
        if (pool := worker["pools"].get("default")) is not None:  # the one that a trial sizes
            hold = pool["histograms"]["hold"]
            count, total_s = count + sum(hold["counts"]), total_s + hold["total_s"]
            refused += pool.get("stats", {}).get("connections_errors", 0)
            held_s = hold["total_s"] + pool["holding_s"] if "holding_s" in pool else None  # an older commit's has none
        if held_s is not None:
            busy[number, worker["pid"]] = worker.get("clock_s", worker["at_s"]), held_s  # an older commit's has none
    return Holds(count, total_s, busy, refused)


def pool_sizes(url: str, page: Page | None) -> list[int]:
    """MAX_CONNS of each worker's pools, as far as they are open."""
    told = [worker for host in page.of(url) for worker in workers(host, page)] if page else []
    pools = [pool for worker in told for pool in worker["pools"].items()]
    return [int(pool["stats"]["pool_max"]) for alias, pool in pools if alias == "default"]


def workers(host: str, page: Page) -> list[dict[str, Any]]:
    """What the workers of one host tell; none where it has no such page, or lets nobody in. Blocks for a request."""
    response, body = ask(host, page.path, timeout_s=10, headers=page.headers)
    try:
        told = list(json.loads(body)["workers"]) if response.status == 200 else []
    except (ValueError, KeyError, TypeError, RecursionError):  # a page of another kind
        return []
    return told if all(map(_is_workers, told)) else []


def _is_workers(told: Any) -> bool:
    """Whether a worker of ours tells that, of whatever version; a stranger's page may be JSON as well."""
    kinds = {"application_name": str | None, "size": int | None, "stack": str, "pools": dict}
    return isinstance(told, dict) and all(isinstance(told[name], kinds[name]) for name in kinds.keys() & told.keys())


def get(url: str, path: str, timeout_s: float) -> tuple[int, bytes]:
    """One request on a connection of its own: the status and the body. Raises OSError when there is no answer in
    time."""
    response, body = ask(url, path, timeout_s)
    return response.status, body


def ask(
    url: str, path: str, timeout_s: float, method: str = "GET", headers: Mapping[str, str] | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    """The same with the answer's headers. An answer that goes on for longer is none in time."""
    ends_at_s = time.monotonic() + timeout_s
    parts = urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=timeout_s, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.request(method, parts.path + path, headers={"Connection": "close", **(headers or {})})
        response = connection.getresponse()
        pieces = []
        while piece := response.read1(READ):
            pieces.append(piece)
            if time.monotonic() > ends_at_s:
                raise TimeoutError(f"it goes on for more than {timeout_s:g} s")
        if response.length:
            raise http.client.IncompleteRead(b"".join(pieces), response.length)
        return response, b"".join(pieces)
    except http.client.HTTPException as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()


def family_cpu_s(parent: psutil.Process | None, looks: int = 5) -> float | None:
    """CPU of a process, its living children and those it has buried; None when it cannot be seen.

    A child that is buried between the look at its parent and that at the children is in neither: then both are looked
    at again, so many times in all.
    """
    if parent is None:
        return None
    try:
        times: Any = parent.cpu_times()
        living_s = sum(map(_own_cpu_s, parent.children()))
        is_whole = parent.cpu_times()[2:4] == times[2:4]
    except psutil.Error:
        return None
    return float(sum(times[:4]) + living_s) if is_whole or looks == 1 else family_cpu_s(parent, looks - 1)


def _own_cpu_s(child: psutil.Process) -> float:
    try:
        return sum(child.cpu_times()[:2])
    except psutil.NoSuchProcess:  # ended between the listing and the look
        return 0.0
