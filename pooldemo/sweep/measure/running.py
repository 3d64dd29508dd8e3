"""A site that runs already as a target: it is asked and resized, and neither begun nor ended."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self
from urllib.parse import urlsplit

from pooldemo.sweep.measure import observe
from pooldemo.sweep.measure.target import Page, TrialError

READY_S = 30.0
LOOKS = 8  # of two that answer in turn by chance, one answers all of these once in 128 times
RESIZED_S = 15.0  # a worker looks once a second for the size that it is to have


@dataclass(frozen=True)
class Seen:
    """What a running site says of itself: MAX_CONNS of each worker, its connections' names, one of each host, and the
    stacks on which its workers are (an empty one: without a pool)."""

    sizes: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    stacks: tuple[str, ...] = ()


class Running:
    """A target that is there before the trial and after it. `size` is what its pools are to have."""

    def __init__(self, url: str, pool: Page | None, size: int) -> None:
        self.url, self.pool, self._size = url, pool, size
        self.probe_path = None
        self.names = look(url, pool).names

    @property
    def said(self) -> str:
        return ""

    def wait_ready(self) -> None:
        """Blocks until it answers, at its size. Raises TrialError when it does not."""
        observe.get(self.url, "/", timeout_s=READY_S)
        if self.pool is None or not set(look(self.url, self.pool).sizes) - {self._size}:
            return  # it is so, or does not tell
        resize(self.url, self.pool, self._size)
        deadline_s = time.monotonic() + RESIZED_S
        while set(sizes := look(self.url, self.pool).sizes) - {self._size}:
            if time.monotonic() > deadline_s:
                raise TrialError(f"the pools of {self.url} have {sizes} slots; {self._size} were asked for")
            time.sleep(0.2)

    def check(self) -> None:
        """It ends when it likes: failures tell of that."""

    def workers(self) -> set[int]:
        return set()

    def cpu_s(self) -> Mapping[int, float]:
        return {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """It goes on."""


def look(url: str, pool: Page | None) -> Seen:
    """What it says now; nothing where one of its hosts does not tell. Blocks for a request to each."""
    hosts = [observe.workers(host, pool) for host in pool.of(url)] if pool else []
    if not all(hosts):
        return Seen()
    names = [{each.get("application_name") or "" for each in host} for host in hosts]
    sizes = tuple(size for host in hosts for each in host if (size := each.get("size")) is not None)
    known = all(len(each) == 1 and "" not in each for each in names)  # no name is many people's
    stacks = sorted({each["stack"] for host in hosts for each in host if "stack" in each})
    return Seen(sizes, tuple(sorted({name for each in names for name in each})) if known else (), tuple(stacks))


def is_divided(url: str, pool: Page) -> bool:
    """Whether its answers tell of other workers each time: of several hosts, or of processes that do not know of each
    other. Then one alone would be resized. Blocks for some requests to each host."""
    for host in pool.of(url):
        looks = [{(w.get("host"), w.get("pid")) for w in observe.workers(host, pool)} for _ in range(LOOKS)]
        told = [each for each in looks if each]
        if any(told[0].isdisjoint(each) for each in told):
            return True
    return False


def resize(url: str, pool: Page, size: int) -> None:
    """Ask all its workers to have `size` slots from now on. Raises TrialError when it refuses."""
    for host in pool.of(url):
        response, body = observe.ask(host, f"{pool.path}?size={size}", 10, method="POST", headers=pool.headers)
        if response.status != 202:
            said = body[:200].decode(errors="replace").strip()
            raise TrialError(f"{host} refuses another size: {response.status} {said}")


@contextmanager
def restored(url: str, pool: Page | None) -> Iterator[None]:
    """Afterwards its pools have again the size that they have now."""
    before = look(url, pool).sizes
    try:
        yield
    finally:
        if pool is not None and before and set(look(url, pool).sizes) - {before[0]}:
            resize(url, pool, before[0])


def why_silent(url: str, pool: Page) -> str:
    """What it answers instead of its pools' counters, and what that means. Blocks for a request."""
    answer, _ = observe.ask(url, pool.path, 10, headers=pool.headers)
    means = {
        200: "that is no page of ours",
        400: "are this address's name and https what it expects?",
        401: "send what it asks for, with --header 'Authorization: Basic ...'",
        403: "is its SECRET_KEY another?",
        404: "does it include pooldemo.urls, above what takes every address? Has it a prefix, as in http://127.0.0.1:8000/shop?",
    }
    where = answer.headers.get("Location")
    said = f"leads to {where}" if where else means.get(answer.status, "its log says why")
    return f"{pool.path} answers {answer.status} {answer.reason}: {said}"


def is_loopback(url: str) -> bool:
    """Whether the address can only be this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
