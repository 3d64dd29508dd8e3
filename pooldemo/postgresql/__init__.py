"""The database backend: `ENGINE: "pooldemo.postgresql"`, and what an application may want of it by name.

Imports nothing until asked: Django imports this package before any app is loaded, and the errors need Django.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import PoolClosed, PoolFull, PoolTimeout
    from .middleware import UnavailableMiddleware
    from .registry import pools

__all__ = ["PoolClosed", "PoolFull", "PoolTimeout", "UnavailableMiddleware", "pools"]

_HOMES = {"UnavailableMiddleware": "middleware", "pools": "registry"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES.get(name, 'errors')}", __name__), name)
