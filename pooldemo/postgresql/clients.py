"""Clients that hang up: seen on their sockets while their requests are worked on.

One greenlet or thread of each process looks at all of them together, twenty times a second while there are any. It asks
whether the other end was closed, not whether there is something to read: bytes of a next request may lie before that.
"""

import contextlib
import logging
import os
import select
import threading

from . import green
from .limits import Limit

logger = logging.getLogger("pooldemo.postgresql")

_LOOK_S = 0.05  # from one look to the next
_IDLE_LOOKS = 40  # without a client, before it stops looking
_HUNG_UP = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


class _Watch:
    """The sockets whose requests are worked on, and whom to tell."""

    def __init__(self) -> None:
        self._limits: dict[int, Limit] = {}
        self._running = False

    def add(self, descriptor: int, limit: Limit) -> None:
        """Tell `limit` when the client at the socket's other end hangs up, until `remove`. Does not block."""
        self._limits[descriptor] = limit
        self._start()

    def _start(self) -> None:
        """Look from now on. Where no thread can be started the next request tries again: none fails for that."""
        if self._running:
            return
        self._running, is_started = True, False
        try:
            with contextlib.suppress(RuntimeError):
                green.starter()(self._run)
                is_started = True
        finally:
            self._running = is_started

    def remove(self, descriptor: int) -> None:
        """The request is answered: before its socket may be closed."""
        self._limits.pop(descriptor, None)

    def _run(self) -> None:
        idle, wait = 0, threading.Event().wait
        try:
            while idle < _IDLE_LOOKS:
                wait(_LOOK_S)
                idle = 0 if self._limits else idle + 1
                for descriptor, limit in self._gone():
                    if self._limits.get(descriptor) is limit:
                        try:
                            limit.give_up()
                        except Exception:  # the others' clients are watched all the same
                            logger.exception("the work of a client that has gone could not be ended")
        finally:
            self._running = False
        if self._limits:  # one more came just now
            self._start()

    def _gone(self) -> list[tuple[int, Limit]]:
        looked_at = dict(self._limits)
        poll = green.native_poll()()
        for descriptor, limit in looked_at.items():
            if not limit.gone:
                poll.register(descriptor, _HUNG_UP)
        return [(descriptor, looked_at[descriptor]) for descriptor, _ in poll.poll(0)]


watch = _Watch()


def _start_afresh() -> None:
    global watch
    watch = _Watch()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)
