"""`with priority("low"):` for what can wait: admin pages, exports, batch work. It never takes a pool's last slots."""

import contextlib
from collections.abc import Iterator

from .scope import Scope

_scope = Scope("pooldemo_priority", False)
is_low = _scope.current
_ACCEPTED = ("low", "normal")


@contextlib.contextmanager
def priority(level: str) -> Iterator[None]:
    """Checkouts of the body are of this priority, "low" or "normal". Also a decorator of functions that are not async.

    Those of low priority are served while nobody else waits and slots are to spare: a quarter, at least one of a pool
    of two or more, is left to the others, and more while these have to wait. Raises ValueError for another word.
    """
    if level not in _ACCEPTED:
        raise ValueError(f"priority({level!r}) is not accepted: give {' or '.join(map(repr, _ACCEPTED))}.")
    with _scope.saying(level == "low"):
        yield
