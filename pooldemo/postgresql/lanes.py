"""`with priority("low"):` for what can wait: admin pages, exports, batch work. It never takes a pool's last slots."""

import contextlib

from .scope import Scope

_scope = Scope("pooldemo_priority", False)
is_low = _scope.current
_ACCEPTED = ("low", "normal")


def priority(level: str) -> "contextlib._GeneratorContextManager[None]":
    """Give the checkouts in the body this priority, "low" or "normal". Also a decorator, not of async functions.

    Checkouts of low priority are served only while no other waits. They leave a quarter of the slots to the others, at
    least one in a pool of two or more, and more when others have to wait. Raises ValueError for another word.
    """
    if level not in _ACCEPTED:
        raise ValueError(f"priority({level!r}) is not accepted: give {' or '.join(map(repr, _ACCEPTED))}.")
    return _scope.saying(level == "low")
