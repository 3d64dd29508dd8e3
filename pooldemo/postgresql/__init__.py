"""The database backend: `ENGINE: "pooldemo.postgresql"`, and the names that an application may import.

It imports a module only when one of its names is used: Django imports this package before any app is loaded.
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
    """Every open pool of this process. Does not block. Works without a driver too, and then returns no pool."""
    registry: Any = sys.modules.get(f"{__name__}.registry")  # Django loads it with the first wrapper that has a pool
    return registry.pools() if hasattr(registry, "pools") else []


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES.get(name, 'errors')}", __name__), name)
