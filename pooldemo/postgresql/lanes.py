"""`with priority("low"):` for what can wait: admin pages, exports, batch work. It never takes a pool's last slots."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar


class _Level:
    """What one `with` has said, until it is `left`; `outer` is what was said around it."""

    __slots__ = ("is_low", "left", "outer")

    def __init__(self, is_low: bool, outer: "_Level | None" = None) -> None:
        self.is_low, self.outer, self.left = is_low, outer, False


_nothing_said = _Level(False)
_level: ContextVar[_Level] = ContextVar("pooldemo_priority", default=_nothing_said)
current_level = _level.get
_ACCEPTED = ("low", "normal")


@contextlib.contextmanager
def priority(level: str) -> Iterator[None]:
    """Checkouts of the body are of this priority, "low" or "normal". Also a decorator of functions that are not async.

    Those of low priority are served while nobody else waits and slots are to spare: a quarter, at least one of a pool
    of two or more, is left to the others, and more while these have to wait. Raises ValueError for another word.
    """
    if level not in _ACCEPTED:
        raise ValueError(f"priority({level!r}) is not accepted: give {' or '.join(map(repr, _ACCEPTED))}.")
    said = _Level(level == "low", current_level())
    try:
        _level.set(said)
        yield
    finally:
        said.left = True
        now = current_level()  # another's, where two generators were in the midst of theirs at a time
        while now.left and now.outer is not None:
            now = now.outer
        _level.set(now)
