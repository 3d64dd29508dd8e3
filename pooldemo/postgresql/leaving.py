"""A connection that is closed on our side and that PostgreSQL has not let go of yet.

A server process that works on a query, or that is still letting its client in, notices only after a while that the
client has gone, and counts until then: against max_connections, the role's CONNECTION LIMIT, and the pool's cap. When
it does not any more is seen on a duplicate of its socket, which the server closes as its last act. That may take as
long as it likes: a COMMIT that waits for a standby looks at no client. A server that has died, or a network that has
forgotten the connection, is noticed by the system, which asks the other side from time to time.
"""

import _socket
import _thread
import contextlib
import os
import socket
from collections.abc import Iterable

# TCP's own questions whether the other side is there: what nobody answers ends. Seconds, seconds, and how many.
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPALIVE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
_UNHEARD_MS = 60_000  # how long our goodbye may stay without an answer


class Duplicate(_socket.socket):
    """Of the driver's socket, past gevent. It closes itself where the last one who has it is stopped, or forgets it."""

    __del__ = _socket.socket.close  # of C: a signal's handler that raised in a method here would keep it open


def duplicate(descriptor: int) -> Duplicate:
    """One of this descriptor. No signal comes between its being opened and its being a Duplicate."""
    [made] = map(Duplicate, (-1,), (-1,), (-1,), map(os.dup, (descriptor,)))
    return made


class Leaving:
    """Sockets on which the server's end is awaited. Says goodbye on them."""

    def __init__(self, sockets: Iterable[Duplicate]) -> None:
        # A filler and the keeper may look at the same time: the system lets others run meanwhile. A thread's lock also
        # under the monkey patch: nobody switches while he has it.
        self._look = _thread.RLock()
        self._sockets = list(sockets)
        for each in self._sockets:
            each.setblocking(False)  # whatever socket.setdefaulttimeout() says; libpq's is so already
            _ask_whether_alive(each)
            # Our half only: with both shut a socket reads as ended at once, whatever the server does.
            with contextlib.suppress(OSError):  # the server was quicker, or was never reached
                each.shutdown(socket.SHUT_WR)

    def gone(self) -> bool:
        """Whether the server has let go of all of them. Neither blocks nor switches."""
        with self._look:
            while self._sockets and _has_left(self._sockets[-1]):
                self._sockets.pop().close()
            return not self._sockets


def _ask_whether_alive(leaving: Duplicate) -> None:
    """Let the system notice when the other side is no more; as the settings say, if that is sooner. Its socket is of
    TCP, or there is nothing to notice."""
    if leaving.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with contextlib.suppress(OSError):
        leaving.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in {**_KEEPALIVE, "TCP_USER_TIMEOUT": _UNHEARD_MS}.items():
            if hasattr(socket, name):  # each system has its own
                given = leaving.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
                leaving.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), min(given or value, value))


def _has_left(leaving: Duplicate) -> bool:
    """Whether the server has closed its end. Reads away what it said before."""
    try:
        while leaving.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:  # reset, or never connected
        pass
    return True
