"""The instrument: it measures pool sizes and says which one to use. No Django in here.

`judge` is for programs that have a document of `sweep --json`: it judges the stored trials again. It is imported only
when it is used, since Locust and the site import nothing but the workloads from here.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pooldemo.sweep.analyse.document import judge

__all__ = ["judge"]


def __getattr__(name: str) -> Any:
    if name != "judge":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pooldemo.sweep.analyse.document import judge

    return judge
