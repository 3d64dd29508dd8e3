"""The database backend: `ENGINE: "pooldemo.postgresql"`, and what an application may want of it by name.

Imports nothing until asked: Django imports this package before any app is loaded, and the errors need Django.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import ClientGone, DeadlineExceeded, PoolClosed, PoolFull, PoolTimeout
    from .lanes import priority
    from .limits import deadline
    from .limits_middleware import DeadlineMiddleware, ends_with_client, view_deadline
    from .middleware import UnavailableMiddleware
    from .registry import ConnectionPool

__all__ = [
    "ClientGone", "DeadlineExceeded", "DeadlineMiddleware", "PoolClosed", "PoolFull", "PoolTimeout",
    "UnavailableMiddleware", "deadline", "ends_with_client", "pools", "priority", "view_deadline",
]  # fmt: skip

_HOMES = {
    "DeadlineMiddleware": "limits_middleware", "UnavailableMiddleware": "middleware", "deadline": "limits",
    "ends_with_client": "limits_middleware", "priority": "lanes", "view_deadline": "limits_middleware",
}  # fmt: skip


def pools() -> "list[ConnectionPool]":
    """Every open pool of this process. Does not block, and needs no driver: without one there is none."""
    registry: Any = sys.modules.get(f"{__name__}.registry")  # Django loads it with the first wrapper that has a pool
    return registry.pools() if hasattr(registry, "pools") else []


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES.get(name, 'errors')}", __name__), name)
