"""A network that fails on demand: a proxy on loopback between a server under test and PostgreSQL's socket.

It runs in a thread of its own. Everything is passed on as it comes, until it is told to reset, refuse or stall.
"""

import asyncio
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Self, cast

NAME = re.compile(rb"\0application_name\0([^\0]+)\0")  # in the message that begins a session
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing forgets what was not sent, and tells the other end so


class _End(asyncio.Protocol):
    """One end of a passage; `other` is the transport of the opposite one, which may come later."""

    def __init__(self, proxy: "Proxy") -> None:
        self._proxy = proxy
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._proxy.ends.add(self)
        if self._proxy.stalled:
            self.transport.pause_reading()

    def meet(self, other: "_End") -> None:
        self.other, other.other = other, self
        for data in self._early:
            other.send(data)

    def send(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._early.append(data)
        else:
            self.other.send(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._proxy.ends.discard(self)
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    def close(self, reset: bool) -> None:
        if self.transport is None:
            return
        if reset and self.transport.get_extra_info("socket").family == socket.AF_INET:
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.transport.abort()
        else:
            self.transport.close()


class Proxy:
    """Listens on `port` of 127.0.0.1 and leads to the unix socket `path`. As a context manager it is stopped at the
    end."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.ends: set[_End] = set()
        self.stalled = False
        self.cut_at_s = 0.0  # when all connections were cut last, in seconds of the epoch
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._refuses = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def reset(self) -> None:
        """Cut every connection without a goodbye (RST); blocks until it is done."""
        self._do(lambda: self._cut(reset=True))

    def drop(self) -> None:
        """Close every connection politely (FIN); blocks until it is done."""
        self._do(lambda: self._cut(reset=False))

    def clients(self) -> dict[str, int]:
        """How many connections the clients have open now, by the name that they gave themselves."""
        return Counter(end.name for end in list(self.ends) if isinstance(end, _Door) and end.name)

    def lead(self, path: str) -> None:
        """To which socket those who come from now on are led."""
        self._path = path

    def refuse(self, yes: bool) -> None:
        """Whether those who come from now on are turned away."""
        self._refuses = yes

    def stall(self, yes: bool) -> None:
        """Whether nothing passes any more, in either direction; nobody is told, and newcomers get no word."""

        def change() -> None:
            self.stalled = yes
            for end in self.ends:
                if end.transport is not None and not end.transport.is_closing():
                    (end.transport.pause_reading if yes else end.transport.resume_reading)()

        self._do(change)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await self._loop.create_server(lambda: _Door(self), sock=self._listener)

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        self._cut(reset=True)
        await asyncio.sleep(0.05)  # for the transports to close

    def _cut(self, reset: bool) -> None:
        for end in list(self.ends):
            end.close(reset)
        self.cut_at_s = time.time()

    def _do(self, change: Callable[[], None]) -> None:
        async def run() -> None:
            change()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def admit(self, client: _End) -> None:
        """A client has come: lead it to PostgreSQL, or turn it away."""
        if self._refuses:
            client.close(reset=True)
            return
        task = self._loop.create_task(self._lead(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _lead(self, client: _End) -> None:
        try:
            _, server = await self._loop.create_unix_connection(lambda: _End(self), self._path)
        except OSError:
            client.close(reset=True)
        else:
            client.meet(server)
            if client.transport is None or client.transport.is_closing():
                server.close(reset=False)


class _Door(_End):
    """The end that a client comes to; `name` is what it calls itself, empty until it has."""

    name = ""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._proxy.admit(self)

    def data_received(self, data: bytes) -> None:
        if not self.name and (found := NAME.search(data)):
            self.name = found[1].decode()
        super().data_received(data)
