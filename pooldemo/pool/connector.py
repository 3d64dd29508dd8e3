"""What a pool asks of a driver. `pooldemo.postgresql` answers for PostgreSQL; in tests a connection is an integer."""

from typing import Any, Protocol


class Connector(Protocol):
    """Opens, looks at, cleans and closes connections, which are opaque to the pool.

    Errors of the driver are this side's business: `check` and `recycle` turn them into False. What else they raise is
    somebody stopping the caller (`gevent.Timeout`, `GreenletExit`, `KeyboardInterrupt`): it passes through the pool
    unchanged, and the pool closes the connection that it met.
    """

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """The driver's own exceptions, which `connect` may raise."""
        ...

    def connect(self, timeout: float | None) -> Any:
        """Open and configure a connection within `timeout` seconds (None: no limit of the pool's). Blocks."""
        ...

    def close(self, connection: Any) -> None:
        """Close for good. Must neither block, nor switch, nor raise."""
        ...

    def check(self, connection: Any, timeout: float | None) -> bool:
        """Whether an idle connection can be given out. May block, at most `timeout` seconds, when in doubt."""
        ...

    def recycle(self, connection: Any) -> bool:
        """Make a returned connection as good as new; False if that cannot be. Blocks if there is something to undo."""
        ...

    def is_transient(self, error: BaseException, first: bool) -> bool:
        """Whether another try may succeed before the deadline. `first`: this pool never had a connection."""
        ...

    def statement(self, connection: Any) -> str:
        """The first words of the last statement, for error messages; empty when there was none."""
        ...
