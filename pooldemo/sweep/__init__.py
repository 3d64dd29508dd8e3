"""The instrument: what measures pool sizes and says which one to use. No Django in here.

`judge` draws the verdicts of stored trials anew, for programs that have a document of `sweep --json`.
"""

from pooldemo.sweep.analyse.document import judge

__all__ = ["judge"]
