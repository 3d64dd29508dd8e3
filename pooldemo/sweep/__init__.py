"""The instrument: what measures pool sizes and says which one to use. No Django in here.

`judge` draws the verdicts of stored trials anew, for programs that have a document of `sweep --json`. It is imported
when it is asked for: Locust and the site import the workloads from here, and nothing else.
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
