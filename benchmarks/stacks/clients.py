"""Clients of one server that keep their connection, as browsers and proxies do, and what became of each request."""

import http.client
import json
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """How a request ended: its kind ("ok", an error's name, "no answer") and seconds after it was sent."""

    kind: str
    after_s: float

    @property
    def ok(self) -> bool:
        return self.kind == "ok"


class Client:
    """One keep-alive connection to the server on `port`."""

    def __init__(self, port: int, timeout_s: float) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)

    def ask(self, path: str) -> Outcome:
        """Blocks until the answer is there, or for the time-out."""
        sent_s = time.monotonic()
        try:
            self._http.request("GET", path)
            response = self._http.getresponse()
            body = response.read()
            kind = "ok" if response.status == 200 else _kind(response.status, body)
        except (OSError, http.client.HTTPException) as error:
            self._http.close()
            kind = "no answer" if isinstance(error, socket.timeout) else type(error).__name__
        return Outcome(kind, time.monotonic() - sent_s)

    def close(self) -> None:
        self._http.close()


class Clients:
    """`number` clients, each with a thread, so that they can ask at once."""

    def __init__(self, port: int, number: int, timeout_s: float) -> None:
        self._clients = [Client(port, timeout_s) for _ in range(number)]
        self._threads = ThreadPoolExecutor(number)

    def send(self, path: str, which: slice = slice(None)) -> list[Future[Outcome]]:
        """Let these clients ask at once; does not block."""
        return [self._threads.submit(client.ask, path) for client in self._clients[which]]

    def ask(self, path: str, which: slice = slice(None)) -> list[Outcome]:
        """The same, and wait for all of them."""
        return wait(self.send(path, which))

    def in_turn(self, path: str, times: int) -> list[Outcome]:
        """Each client asks `times` times, nobody at the same time as another."""
        return [client.ask(path) for _ in range(times) for client in self._clients]

    def close(self) -> None:
        self._threads.shutdown()
        for client in self._clients:
            client.close()


def wait(sent: Sequence[Future[Outcome]]) -> list[Outcome]:
    return [future.result() for future in sent]


@contextmanager
def clients(port: int, number: int, timeout_s: float = 20) -> Iterator[Clients]:
    made = Clients(port, number, timeout_s)
    try:
        yield made
    finally:
        made.close()


def _kind(status: int, body: bytes) -> str:
    try:
        answer = json.loads(body)
        return str(answer.get("error") or answer.get("msg") or status)
    except (ValueError, AttributeError):
        return str(status)
