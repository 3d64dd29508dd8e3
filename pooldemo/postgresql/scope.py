"""What is said for the body of a `with`, of whatever kind: a limit, a priority."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

_Said = TypeVar("_Said")
_Part = TypeVar("_Part")

_Here = list[tuple["Scope[Any]", Any]]

_scopes: "list[Scope[Any]]" = []


class _With(Generic[_Said]):
    """One `with`, until it is `left`: what it said, and the one around it."""

    __slots__ = ("left", "outer", "what")

    def __init__(self, what: _Said, outer: "_With[_Said] | None") -> None:
        self.what, self.outer, self.left = what, outer, False


class Scope(Generic[_Said]):
    """What one kind of `with` has said to the calling greenlet or thread: `current()`, which is `nothing` outside.

    Two generators may be in the midst of theirs at a time, and end in whatever order; and several may say the same.
    """

    def __init__(self, name: str, nothing: _Said) -> None:
        self._nothing = nothing
        self._with: ContextVar[_With[_Said] | None] = ContextVar(name, default=None)
        self.now, self.go_on = self._with.get, self._with.set
        _scopes.append(self)

    def _innermost(self) -> _With[_Said] | None:
        around = self._with.get()
        while around is not None and around.left:
            around = around.outer
        return around

    def current(self) -> _Said:
        """What holds here."""
        around = self._innermost()
        return self._nothing if around is None else around.what

    def say(self, what: _Said) -> None:
        """Let `what` hold until something else goes on."""
        self._with.set(_With(what, self._innermost()))

    @contextlib.contextmanager
    def saying(self, what: _Said) -> Iterator[None]:
        """Let `what` hold for the body."""
        own = _With(what, self._innermost())
        try:
            self._with.set(own)
            yield
        finally:
            # And no more, for it may be a generator that the collector ends. Python 3.11 runs that in the midst of
            # setting a context variable, then forgets what was set meanwhile, but for a cache, and crashes by it.
            own.left = True


def said_here() -> _Here:
    """What is said here in each scope, for `go_on`."""
    return [(each, each.now()) for each in _scopes]


def go_on(before: _Here) -> None:
    """Let hold in each scope what was said then, but for what was left meanwhile."""
    for each, then in before:
        each.go_on(then)


def apart(parts: Iterator[_Part]) -> Iterator[_Part]:
    """`parts`, of whose maker nothing that it has said holds in between: who asks for one may never ask again."""
    inside = said_here()
    while True:
        outside = said_here()
        try:
            go_on(inside)
            part = next(parts)
        except StopIteration:
            return
        finally:
            inside = said_here()
            go_on(outside)
        yield part
