"""A site that runs already as a target: it is asked and resized, and neither begun nor ended."""

import json
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
RESIZED_S = 15.0  # a worker looks once a second for the size that it is to have


@dataclass(frozen=True)
class Seen:
    """What a running site says of itself: MAX_CONNS of each worker, and its connections' name."""

    sizes: tuple[int, ...]
    application_name: str | None


class Running:
    """A target that is there before the trial and after it. `size` is what its pools are to have."""

    def __init__(self, url: str, pool: Page | None, size: int) -> None:
        self.url, self.pool, self._size = url, pool, size
        self.probe_path = None
        self.application_name = look(url, pool).application_name

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

    def cpu_s(self) -> Mapping[int, float]:
        return {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """It goes on."""


def look(url: str, pool: Page | None) -> Seen:
    """What it says now; nothing where it has no page for that, or does not let us in. Blocks for a request."""
    if pool is None:
        return Seen((), None)
    response, body = observe.ask(url, pool.path, timeout_s=10, headers=pool.headers)
    if response.status != 200:
        return Seen((), None)
    workers = json.loads(body)["workers"]
    names = {each.get("application_name") for each in workers}
    sizes = tuple(size for each in workers if (size := each.get("size")) is not None)
    return Seen(sizes, (names.pop() or None) if len(names) == 1 else None)  # no name is many people's


def resize(url: str, pool: Page, size: int) -> None:
    """Ask all its workers to have `size` slots from now on. Raises TrialError when it refuses."""
    response, body = observe.ask(url, f"{pool.path}?size={size}", 10, method="POST", headers=pool.headers)
    if response.status != 202:
        raise TrialError(f"{url} refuses another size: {response.status} {body[:200].decode(errors='replace').strip()}")


@contextmanager
def restored(url: str, pool: Page | None) -> Iterator[None]:
    """Afterwards its pools have again the size that they have now."""
    before = look(url, pool).sizes
    try:
        yield
    finally:
        if pool is not None and before and set(look(url, pool).sizes) - {before[0]}:
            resize(url, pool, before[0])


def is_loopback(url: str) -> bool:
    """Whether the address can only be this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
