"""What is said for the body of a `with`, of whatever kind: a limit, a priority."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Generic, TypeVar

_Said = TypeVar("_Said")


class _With(Generic[_Said]):
    """One `with`, until it is `left`: what it said, what it says by itself, what held before, and the one around it."""

    __slots__ = ("before", "by_itself", "left", "outer", "what")

    def __init__(self, what: _Said, by_itself: _Said, before: _Said, outer: "_With[_Said] | None") -> None:
        self.what, self.by_itself, self.before, self.outer, self.left = what, by_itself, before, outer, False


class Scope(Generic[_Said]):
    """What one kind of `with` has said to the calling greenlet or thread: `current()`.

    Two generators may be in the midst of theirs at a time, and end in whatever order; and several may say the same.
    """

    def __init__(self, name: str, nothing: _Said) -> None:
        self.said: ContextVar[_Said] = ContextVar(name, default=nothing)
        self.current = self.said.get
        self._with: ContextVar[_With[_Said] | None] = ContextVar(f"{name}_with", default=None)
        self.innermost = self._with.get

    @contextlib.contextmanager
    def saying(self, what: _Said, by_itself: _Said | None = None) -> Iterator[None]:
        """Let `what` hold for the body. Where that is an outer one's: `by_itself` after that one is over."""
        own = _With(what, what if by_itself is None else by_itself, self.current(), self._with.get())
        try:
            self._with.set(own)
            self.said.set(what)
            yield
        finally:
            own.left = True
            around = self._with.get()  # another's, where two generators were in the midst of theirs at a time
            while around is not None and around.left:
                if self.current() is around.what:  # or the request whose view began this has ended
                    self.said.set(around.before)
                around = around.outer
            self._with.set(around)

    def outlive(self, over: _Said, around: _With[_Said] | None) -> None:
        """Let hold by itself what was said inside of `around`, and inside of what is `over` now."""
        each, inner = self._with.get(), []
        while each is not None and each is not around:
            inner.append(each)
            each = each.outer
        holds = self.current()
        for each in reversed(inner):
            if not each.left:
                each.before = holds
                holds = each.what = each.by_itself if each.what is over else each.what
        self.said.set(holds)
