"""A gate before PostgreSQL, under gevent: it counts messages, refuses as the server would, stalls, and cuts."""

import struct
from typing import Any

import gevent
from gevent import socket
from gevent.event import Event
from gevent.server import StreamServer


class Gate:
    """Listens on a port of this machine and passes everything on to PostgreSQL at `host` and `port`.

    `refusals` are what the next connections get instead, first come, first served: (SQLSTATE, text) of a FATAL. With
    `refuse_all` every connection gets that. While `stalled` new connections are accepted and never answered.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)
        self.refusals: list[tuple[str, str]] = []
        self.refuse_all: tuple[str, str] | None = None
        self.stalled = False
        self.accepted = 0
        self.queries = 0  # round trips: simple queries, and the Sync that ends an extended one
        self._pairs: set[tuple[Any, Any]] = set()
        self._frozen = self._held = Event()
        self._frozen.set()
        self._server = StreamServer(("127.0.0.1", 0), self._serve)
        self._server.start()

    @property
    def port(self) -> int:
        port: int = self._server.server_port
        return port

    def config(self) -> dict[str, Any]:
        """What DATABASES has to say to come through here."""
        return {"HOST": "127.0.0.1", "PORT": str(self.port)}

    def cut(self) -> None:
        """Reset every connection, and let the clients' kernel know."""
        for pair in list(self._pairs):
            for end in pair:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.close()
        gevent.sleep(0.02)

    def freeze(self) -> None:
        """Let nothing pass until `thaw`; nobody is told."""
        self._frozen.clear()

    def hold(self) -> None:
        """The same for the connections that there are: a new one, as to cancel, passes."""
        self._held, self._frozen = self._frozen, Event()
        self._held.clear()
        self._frozen.set()

    def thaw(self) -> None:
        self._frozen.set()
        self._held.set()

    def close(self) -> None:
        self._server.stop()
        self.cut()

    def _serve(self, client: Any, address: Any) -> None:
        self.accepted += 1
        if self.stalled:
            while client.recv(4096):
                pass
            return
        refusal = self.refuse_all or (self.refusals.pop(0) if self.refusals else None)
        if refusal:
            client.recv(4096)  # the startup message, whatever it says
            client.sendall(_fatal(*refusal))
            return
        family = socket.AF_UNIX if isinstance(self._target, str) else socket.AF_INET
        server = socket.socket(family, socket.SOCK_STREAM)
        try:
            server.connect(self._target)
        except OSError:
            client.close()
            return
        pair = (client, server)
        self._pairs.add(pair)
        try:
            back = gevent.spawn(self._pump, server, client, None)
            self._pump(client, server, _Counter(self))
            back.join()
        finally:
            self._pairs.discard(pair)
            client.close()
            server.close()

    def _pump(self, source: Any, sink: Any, counter: "_Counter | None") -> None:
        frozen = self._frozen
        try:
            while data := source.recv(65536):
                frozen.wait()
                if counter:
                    counter.feed(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            for end in (source, sink):
                end.close()


class _Counter:
    """Reads the front end's messages as they pass: a type and a length, after a startup message without type."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._rest = b""
        self._started = False

    def feed(self, data: bytes) -> None:
        self._rest += data
        while True:
            head = 1 if self._started else 0
            if len(self._rest) < head + 4:
                return
            length = head + struct.unpack("!I", self._rest[head : head + 4])[0]
            if len(self._rest) < length:
                return
            if self._started and self._rest[:1] in (b"Q", b"S"):
                self._gate.queries += 1
            self._started, self._rest = True, self._rest[length:]


def _fatal(code: str, text: str) -> bytes:
    fields = b"".join(
        f"{kind}{value}\0".encode() for kind, value in (("S", "FATAL"), ("V", "FATAL"), ("C", code), ("M", text))
    )
    return b"E" + struct.pack("!I", 4 + len(fields) + 1) + fields + b"\0"
