"""A connection that is closed on our side and that PostgreSQL has not let go of yet.

A server process that works on a query, or that is still letting its client in, notices only after a while that the
client has gone, and counts until then: against max_connections, the role's CONNECTION LIMIT, and the pool's cap. When
it does not any more is seen on a duplicate of its socket, which the server closes as its last act.
"""

import contextlib
import socket
import time
from collections.abc import Iterable

from . import green

_WAITED_S = 60.0  # longer than that no server is waited for: the network between may have forgotten the connection


class Leaving:
    """Sockets on which the server's end is awaited. Takes over their descriptors, and says goodbye on them."""

    def __init__(self, descriptors: Iterable[int]) -> None:
        self._until = time.monotonic() + _WAITED_S
        make = green.native("socket", "socket")
        self._sockets = [make(fileno=descriptor) for descriptor in descriptors]
        for each in self._sockets:
            # Our half only: with both shut a socket reads as ended at once, whatever the server does.
            with contextlib.suppress(OSError):  # the server was quicker, or was never reached
                each.shutdown(socket.SHUT_WR)

    def gone(self) -> bool:
        """Whether the server has let go of all of them. Neither blocks nor switches."""
        late = time.monotonic() >= self._until
        while self._sockets and (late or _has_left(self._sockets[-1])):
            self._sockets.pop().close()
        return not self._sockets

    def __del__(self) -> None:
        for each in self._sockets:
            each.close()


def _has_left(leaving: socket.socket) -> bool:
    """Whether the server has closed its end. Reads away what it said before."""
    try:
        while leaving.recv(65536, socket.MSG_DONTWAIT):
            pass
    except BlockingIOError:
        return False
    except OSError:  # reset, or never connected
        pass
    return True
