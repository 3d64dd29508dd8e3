"""What a pool asks of a driver. `pooldemo.postgresql` answers for PostgreSQL; in tests a connection is an integer."""

from typing import Any, Protocol


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
        """Whether a failed `open` says that the server lives, and only has no connection left to give."""
        ...

    def statement(self, connection: Any) -> str:
        """The first words of the last statement, for error messages; empty when there was none."""
        ...
