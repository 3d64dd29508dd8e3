"""The other side: what a pool asks of a driver, and what it knows of the server behind it.

`pooldemo.postgresql` answers for PostgreSQL; in tests a connection is an integer.
"""

from typing import Any, Protocol

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0  # between two attempts: doubles, spread over half its length


class Connector(Protocol):
    """Makes, opens, looks at, cleans and closes connections, which are opaque to the pool.

    Errors of the driver are this side's business: `ping` and `recycle` turn them into False. What else they raise is
    somebody stopping the caller (`gevent.Timeout`, `GreenletExit`, `KeyboardInterrupt`): it passes through the pool
    unchanged, and the pool closes the connection that it met.
    """

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """The driver's own exceptions, which `open` may raise."""
        ...

    def new(self) -> Any:
        """A connection that is not open yet. Does not block."""
        ...

    def open(self, connection: Any, timeout: float) -> None:
        """Connect and configure, within `timeout` seconds. Blocks. What it leaves half open, `close` closes."""
        ...

    def close(self, connection: Any) -> None:
        """Close for good, whole or half open. Neither blocks, switches nor raises; the second time nothing happens."""
        ...

    def gone(self, connection: Any) -> bool:
        """Whether the server has let go of a closed connection, and counts it no more. Does not block."""
        ...

    def check(self, connection: Any) -> bool:
        """A look at a connection before it is given out; False when in doubt. Neither blocks nor switches."""
        ...

    def ping(self, connection: Any, timeout: float) -> bool:
        """Whether a doubtful connection works, asked of the server for at most `timeout` seconds. Blocks."""
        ...

    def recycle(self, connection: Any) -> bool:
        """Make a returned connection as good as new; False if that cannot be. Blocks if there is something to undo."""
        ...

    def is_transient(self, error: BaseException, first: bool) -> bool:
        """Whether a failed `open` may succeed later. `first`: this pool never had a connection."""
        ...

    def is_full(self, error: BaseException) -> bool:
        """Whether a failed `open` says that the server lives, and only gives us no more connections for now."""
        ...

    def statement(self, connection: Any) -> str:
        """The first words of the last statement, for error messages; empty when there was none."""
        ...


class Server:
    """It answers, or is down since when and why. Changed under the pool's lock.

    While it is down one filler at a time asks it, with growing pauses; then connects come as a slow start.
    """

    def __init__(self) -> None:
        self.failure: Exception | None = None  # the last failed connect, while it is down
        self.since = 0.0  # its last sign of life
        self.told_at = float("-inf")  # that it takes no more connections
        self.probe_at = 0.0  # not to be asked before
        self.limit = float("inf")  # fillers at once
        self._pause_s = FIRST_PAUSE_S

    def failed(self, error: Exception, now: float, spread: float) -> None:
        """A connect failed in a way that may pass. `spread`, in [0, 1), keeps processes from asking all at once."""
        if self.failure is None:
            self.since = now
            self._pause_s = FIRST_PAUSE_S
        self.probe_at = now + self._pause_s * (0.5 + 0.5 * spread)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self.limit = 1.0
        self.failure = error

    def answered(self, size: int) -> None:
        """A connect worked: 2, 4, 8 ... may be tried at once, until there is no limit again."""
        self.failure = None
        if self.limit != float("inf"):
            self.limit = self.limit + 1 if self.limit < size else float("inf")

    def is_left_alone(self, now: float) -> bool:
        """Whether it is down, and not to be asked yet."""
        return self.failure is not None and now < self.probe_at

    def is_hopeless(self, timeout: float | None, now: float) -> bool:
        """Whether it is down for longer than a quarter of the time that a waiter has."""
        return timeout is not None and now - self.since >= timeout / 4
