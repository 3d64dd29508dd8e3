"""The pool's errors as Django's: what an application catches as OperationalError it catches here too."""

from django.db import OperationalError

from pooldemo import pool


class PoolTimeout(pool.PoolTimeout, OperationalError):
    """No connection was free within POOL_TIMEOUT. `__cause__` is the last failed connect, if connecting failed."""


class PoolFull(pool.PoolFull, OperationalError):
    """Refused: MAX_WAITING others wait already, the caller would wait for itself, or it has waited too long
    while OVERLOAD "shed" refuses such."""


class PoolClosed(pool.PoolClosed, OperationalError):
    """The pool was closed before or while the caller asked for a connection."""


class DeadlineExceeded(OperationalError):
    """The deadline of this work has passed, so it may use no database any more. A statement that ran was ended, but may
    have been done before that: the text says so then."""

    reason = "deadline"


class ClientGone(OperationalError):
    """The client of this work has hung up, so it may use no database any more: as with DeadlineExceeded."""

    reason = "client_gone"


def as_django(error: pool.PoolError) -> OperationalError:
    """The same error as one of Django's. Raise it `from error.__cause__`: the failed connect, if there was one."""
    for kind in (PoolTimeout, PoolFull, PoolClosed):
        if isinstance(error, kind.__mro__[1]):
            return kind(str(error))
    return OperationalError(str(error))
