"""A connect that is given up and goes on by itself: psycopg2's under plain threads, where nothing can stop it.

With libpq's own `connect_timeout` it would close the socket, and the server would go on with the login, a process that
counts and that nobody knows of. In a thread of its own it has its time, and its slot waits for the end of both.
"""

import os
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

from pooldemo.pool import start_thread

from .session import Session


class Attempt:
    """One connect of a session. Once it is given up it stands in `session.leaving` until its own end."""

    def __init__(self, session: Session, connect: Callable[[], Any]) -> None:
        self._session, self._connect = session, connect
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._is_over = self._is_given_up = False
        self._raw: Any = None
        self._error: BaseException | None = None

    def start(self) -> None:
        """Begin. Raises RuntimeError where no thread can be started, at the interpreter's end for instance."""
        start_thread(self._run)

    def result(self, limit_s: float) -> Any:
        """The driver's connection. Blocks for `limit_s` at most. Raises the driver's errors, and TimeoutError."""
        try:
            self._ended.wait(limit_s)
        finally:
            with self._lock:
                if not self._is_over:
                    self._is_given_up, self._session.leaving = True, self
        if self._is_given_up:
            raise TimeoutError
        error, self._error = self._error, None  # or it would keep its frames, and they the connection
        if error is not None:
            raise error
        return self._raw

    def _run(self) -> None:
        try:
            self._raw = self._connect()
        except BaseException as error:
            self._error = error
        with self._lock:
            self._is_over = True
        self._ended.set()
        if self._is_given_up:
            self._error = None
            self._session.leaving = self._session.hang_up()

    def gone(self) -> bool:
        """Whether the server has let go of it: not while it goes on."""
        return False


def is_one_address(params: Mapping[str, Any]) -> bool:
    """Whether these parameters lead to one address: with several, `connect_timeout` leads to the next. May block."""
    address = params.get("hostaddr") or os.environ.get("PGHOSTADDR")
    host = str(address or params.get("host") or os.environ.get("PGHOST") or "/")
    if "," in host or params.get("service") or os.environ.get("PGSERVICE"):
        return False
    if host.startswith(("/", "@")):
        return True
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return len({address[0] for *_, address in found}) == 1
