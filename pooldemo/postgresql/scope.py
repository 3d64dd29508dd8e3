"""What is said for the body of a `with`, of whatever kind: a limit, a priority."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

_Said = TypeVar("_Said")
_Part = TypeVar("_Part")

_Here = list[tuple["Scope[Any]", tuple[Any, Any]]]

_scopes: "list[Scope[Any]]" = []


class _With(Generic[_Said]):
    """One `with`, until it is `left`: what it said, what held before, and the one around it."""

    __slots__ = ("before", "left", "outer", "what")

    def __init__(self, what: _Said, before: _Said, outer: "_With[_Said] | None") -> None:
        self.what, self.before, self.outer, self.left = what, before, outer, False


class Scope(Generic[_Said]):
    """What one kind of `with` has said to the calling greenlet or thread: `current()`.

    Two generators may be in the midst of theirs at a time, and end in whatever order; and several may say the same.
    """

    def __init__(self, name: str, nothing: _Said) -> None:
        self.said: ContextVar[_Said] = ContextVar(name, default=nothing)
        self._with: ContextVar[_With[_Said] | None] = ContextVar(f"{name}_with", default=None)
        _scopes.append(self)

    def current(self) -> _Said:
        """What holds here."""
        around = self._with.get()
        if around is not None and around.left:  # a generator's, which the collector has ended in another thread
            self._leave()
        return self.said.get()

    @contextlib.contextmanager
    def saying(self, what: _Said) -> Iterator[None]:
        """Let `what` hold for the body."""
        own = _With(what, self.current(), self._with.get())
        try:
            self._with.set(own)
            self.said.set(what)
            yield
        finally:
            own.left = True
            self._leave()

    def _leave(self) -> None:
        """Let hold what held before those that are left, down to one that is not."""
        around = self._with.get()  # another's, where two generators were in the midst of theirs at a time
        while around is not None and around.left:
            if self.said.get() is around.what:  # or the request whose view began this has ended
                self.said.set(around.before)
            around = around.outer
        self._with.set(around)

    def now(self) -> tuple[_Said, _With[_Said] | None]:
        """What is said here, for `go_on`."""
        return self.current(), self._with.get()

    def go_on(self, said: _Said, innermost: _With[_Said] | None) -> None:
        """Let hold what was said then, but for what was left meanwhile."""
        self.said.set(said)
        self._with.set(innermost)
        self._leave()


def said_here() -> _Here:
    """What is said here in each scope, for `go_on`."""
    return [(each, each.now()) for each in _scopes]


def go_on(before: _Here) -> None:
    """Let hold in each scope what was said then, but for what was left meanwhile."""
    for each, then in before:
        each.go_on(*then)


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
