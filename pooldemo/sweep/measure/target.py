"""What a sweep measures: something that answers HTTP, how it is begun and ended, and what can be asked of it.

`server.py` starts one for each trial, at its size. `running.py` measures one that runs already.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self


class TrialError(Exception):
    """A trial could not be measured; the text says why and what its processes said last."""


@dataclass(frozen=True)
class Page:
    """A page for programs, and the headers with which it lets a sweep in. `hosts`: where it is asked, when the target
    is a balancer with these behind it; none: of the target itself."""

    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()

    def of(self, url: str) -> tuple[str, ...]:
        """The addresses that tell of the pools of the target at `url`, those of all hosts together."""
        return self.hosts or (url,)


class Target(Protocol):
    """One thing under test, for the length of one trial: entered to have it, left to be rid of it.

    `url` has no slash at its end. `names` are what PostgreSQL knows its connections by (none: nobody knows).
    `pool` answers the pool's counters, `probe_path` answers without the database; None: there is no such page.
    """

    @property
    def url(self) -> str: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def pool(self) -> Page | None: ...
    @property
    def probe_path(self) -> str | None: ...

    @property
    def said(self) -> str:
        """The last lines of its log; empty where that cannot be read."""

    def wait_ready(self) -> None:
        """Blocks until it answers. Raises TrialError when it does not."""

    def check(self) -> None:
        """Raises TrialError when it has ended."""

    def workers(self) -> set[int]:
        """Process ids of those that serve for its first process; empty where they cannot be seen."""

    def cpu_s(self) -> Mapping[int, float]:
        """CPU seconds used so far, by process id; empty where its processes cannot be seen."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None, /
    ) -> None: ...


@dataclass(frozen=True)
class Site:
    """The Django project that is swept: what its servers are started from, and what they answer.

    gunicorn serves `application`. `database_url` is where the sweep looks on. `settings` names the settings module of a
    project that reads neither POOL_STACK nor DATABASE_URL; its own stack is `stack`, and it gets another one, and its
    size, by settings of ours that stand before its own (`stacks/settings.py`). `pool` answers the counters of our pool,
    `ready_path` 200 as soon as it serves, `probe_path` without the database; None: it has no such page.
    """

    application: str
    database_url: str
    settings: str = ""
    stack: str = ""
    pool: Page | None = Page("/pool/")
    ready_path: str | None = "/healthz"
    probe_path: str | None = "/nodb/"
