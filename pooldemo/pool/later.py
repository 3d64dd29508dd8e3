"""What could not be done where it came up: in a finaliser or a signal handler, perhaps in the midst of a decision."""

import contextlib
from collections import deque
from collections.abc import Callable

Work = Callable[[], object]


class Later:
    """Work that is done in the background, or, where nothing can be started, by whoever comes along.

    It must be such that doing it a second time does nothing.
    """

    def __init__(self, start: Callable[[Callable[[], None]], None]) -> None:
        self._start = start
        self._works: deque[Work] = deque()

    def __bool__(self) -> bool:
        return bool(self._works)

    def add(self, work: Work) -> None:
        """May be called from anywhere, the garbage collector included. Neither blocks nor switches."""
        self._works.append(work)
        with contextlib.suppress(RuntimeError):  # the interpreter is ending, or there are too many threads
            self._start(self.catch_up)

    def catch_up(self) -> None:
        """Do all of it."""
        while self._works:
            try:
                work = self._works[0]
                del self._works[0]  # not a call, so nobody can be stopped with the work in neither place
            except IndexError:  # another thread took the last
                return
            try:
                work()
            except BaseException:  # who was stopped leaves it to the next
                self._works.appendleft(work)
                raise
