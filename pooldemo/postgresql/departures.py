"""Connections that are closed on our side and that PostgreSQL has not let go of yet.

A server process that works on a query notices only after a while that its client has gone, and counts until then:
against max_connections, the role's CONNECTION LIMIT, and our cap. So no new connection takes the place of one that
still counts. When it does not any more is seen on a duplicate of its socket, which the server closes as its last act.
"""

import contextlib
import select
import socket
import time
from collections import deque
from typing import Any

from . import green


class Departures:
    """The sockets on which the server's end is awaited, the oldest first."""

    def __init__(self) -> None:
        self._sockets: deque[Any] = deque()

    def __del__(self) -> None:
        for leaving in self._sockets:
            leaving.close()

    def add(self, descriptor: int) -> None:
        """Take over a socket and say goodbye on it: the server sees that its client has gone. Does not switch."""
        leaving = green.native("socket", "socket")(fileno=descriptor)
        try:
            leaving.shutdown(socket.SHUT_WR)
        except OSError:  # the server was quicker
            leaving.close()
        else:
            self._sockets.append(leaving)
        with contextlib.suppress(IndexError):  # those that have left, or they would pile up where nobody connects
            while _has_left(oldest := self._sockets.popleft()):
                oldest.close()
            self._sockets.appendleft(oldest)

    def wait(self, limit_s: float) -> None:
        """Wait until the server has let go of one, if it is to let go of any; for `limit_s` at most. Blocks.

        Who is stopped meanwhile leaves it to the next.
        """
        try:
            leaving = self._sockets.popleft()
        except IndexError:
            return
        try:
            self._see_off(leaving, time.monotonic() + limit_s)
        except BaseException:
            self._sockets.appendleft(leaving)
            raise
        leaving.close()

    def _see_off(self, leaving: Any, deadline: float) -> None:
        poll = select.poll()  # under gevent's patch the one that switches
        poll.register(leaving.fileno(), select.POLLIN)
        while not _has_left(leaving) and (left_s := deadline - time.monotonic()) > 0:
            poll.poll(1000 * left_s)


def _has_left(leaving: Any) -> bool:
    """Whether the server has closed its end. Reads away what it said before. Does not switch."""
    try:
        while leaving.recv(65536, socket.MSG_DONTWAIT):
            pass
    except BlockingIOError:
        return False
    except OSError:  # reset
        pass
    return True
