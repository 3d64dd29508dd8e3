"""Clients that hang up: which of them are seen to have gone, and when."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from served import until

from pooldemo.postgresql import clients, green
from pooldemo.postgresql.limits import Limit


@pytest.fixture
def watched() -> Iterator[Any]:
    """Adds a client to a watch of its own: its socket, and the limit of its request."""
    watch, sockets = clients._Watch(), contextlib.ExitStack()

    def add(server: socket.socket | None = None) -> tuple[socket.socket | None, Limit]:
        client = None
        if server is None:
            client, server = map(sockets.enter_context, socket.socketpair())
        limit = Limit()
        watch.add(server.fileno(), limit)
        sockets.callback(watch.remove, server.fileno())
        return client, limit

    with sockets:
        yield add


def test_a_client_that_only_closes_its_sending_half_is_taken_for_gone(watched: Any) -> None:
    client, limit = watched()
    client.shutdown(socket.SHUT_WR)
    until(lambda: limit.gone)


def test_a_client_is_seen_going_only_when_its_body_was_read(watched: Any) -> None:
    """The system keeps what the other side has no room for, and the goodbye behind it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sending = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    with server:
        _, limit = watched(server)
        sending.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                sending.send(b"x" * 65536)
        sending.close()
        other, other_limit = watched()
        other.close()
        until(lambda: other_limit.gone)
        assert not limit.gone
        while server.recv(65536):
            pass
        until(lambda: limit.gone)


def test_one_client_that_cannot_be_watched_or_ended_costs_no_other(watched: Any, monkeypatch: Any) -> None:
    def none_left() -> Any:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(green, "starter", none_left)
        first = watched()
    second = watched()
    first[1].add(none_left)
    first[0].close()
    until(lambda: first[1].gone)
    second[0].close()
    until(lambda: second[1].gone)
