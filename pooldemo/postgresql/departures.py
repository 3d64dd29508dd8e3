"""A connection that is closed on our side and that PostgreSQL has perhaps not let go of yet.

A server process that works on a query notices only after a while that its client has gone, and counts until then:
against max_connections, the role's CONNECTION LIMIT, and our cap. So no new connection takes the place of one that
still counts. When it does not any more is seen on a duplicate of its socket, which the server closes as its last act.
"""

import contextlib
import socket
import time

from . import green

_LONGEST_S = 60.0  # a network that has forgotten the connection tells nothing any more


class Leaving:
    """A socket on which the server's end is awaited."""

    def __init__(self, descriptor: int) -> None:
        """Take over a socket and say goodbye on it: the server sees that its client has gone. Does not switch."""
        self._socket = green.native("socket", "socket")(fileno=descriptor)
        self._until = time.monotonic() + _LONGEST_S
        with contextlib.suppress(OSError):  # the server was quicker
            self._socket.shutdown(socket.SHUT_WR)

    def gone(self) -> bool:
        """Whether the server has closed its end. Reads away what it said before. Does not switch."""
        if self._socket.fileno() == -1:
            return True
        try:
            while self._socket.recv(65536, socket.MSG_DONTWAIT):
                pass
        except BlockingIOError:
            if time.monotonic() < self._until:
                return False
        except OSError:  # reset
            pass
        self._socket.close()
        return True

    def __del__(self) -> None:
        self._socket.close()
