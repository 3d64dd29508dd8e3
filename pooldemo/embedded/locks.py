"""Who may start or stop the server, and who uses it: two files locked by the kernel, which forgets the dead."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import EmbeddedError


class Turn:
    """One process at a time starts or stops the server."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Blocks until no other process has it."""
        descriptor = _open(self.path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


class Lease:
    """A process that uses the server shares this lock while it lives; who can have it alone may stop the server."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None  # open: this process uses the server. Not inherited by programs it starts.

    def take(self) -> None:
        """Say that this process uses the server. Blocks while another one stops it."""
        if self._descriptor is None:
            self._descriptor = _open(self.path)
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def give_up(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether no other process has a lease; while this is open none gets one. This process's own is given up."""
        self.give_up()
        descriptor = _open(self.path)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except PermissionError as error:
        raise EmbeddedError(
            f"{path.parent} belongs to another user: work as that user, make it yours (chown), or set DATABASE_URL"
        ) from error
