"""The database backend: `ENGINE: "pooldemo.postgresql"`, and what an application may want of it by name.

Imports nothing until asked: Django imports this package before any app is loaded, and the errors need Django.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import PoolClosed, PoolFull, PoolTimeout
    from .registry import pools

__all__ = ["PoolClosed", "PoolFull", "PoolTimeout", "pools"]


def __getattr__(name: str) -> Any:
    if name in ("PoolClosed", "PoolFull", "PoolTimeout"):
        from . import errors

        return getattr(errors, name)
    if name == "pools":
        from . import registry

        return registry.pools
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
