"""What a pool raises. Each error's text holds what happened, the numbers, and the cure."""


class PoolError(Exception):
    """Base of what a pool raises by itself; the driver's own errors pass through unchanged. `reason`: in one word."""

    reason = "error"


class PoolTimeout(PoolError):
    """No connection came before the deadline; `__cause__` is the last failed connect, if connecting was what failed."""

    reason = "timeout"


class PoolFull(PoolError):
    """The checkout was refused at once: the queue has no room, or waiting could never end."""

    reason = "full"


class PoolClosed(PoolError):
    """The pool was closed before or while the caller asked for a connection."""

    reason = "closed"


class OptionError(ValueError):
    """An option is unknown or out of range; the text says what was given and what is accepted."""
