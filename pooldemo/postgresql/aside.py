"""Work of seconds while the other requests of this worker go on: what computes never waits, so no greenlet runs
meanwhile, the health check neither, and gunicorn kills a worker that stands still for its `timeout`."""

from collections.abc import Callable
from functools import cache
from typing import Any, ParamSpec, TypeVar

from . import green

P = ParamSpec("P")
T = TypeVar("T")


def aside(work: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """What `work` returns or raises. Under gevent a native thread does it, so it must not ask the database, whose
    connections are this greenlet's. One at a time: several would take each other's, and the requests', CPU.

    Blocks this greenlet alone; one that is stopped leaves the work to end by itself.
    """
    if not green.is_patched():
        return work(*given, **named)

    def run() -> tuple[Any, Exception | None]:
        try:
            return work(*given, **named), None
        except Exception as error:  # gevent would print it as well
            return None, error

    done, error = _pool().apply(run)
    if error is not None:
        raise error
    found: T = done
    return found


@cache
def _pool() -> Any:
    """Not that of gevent's hub, in which names are resolved."""
    from gevent.threadpool import ThreadPool

    return ThreadPool(1)
