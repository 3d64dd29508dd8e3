"""A burst: all requests at once, their answers counted in waves."""

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.core.management import call_command
from served import PATIENCE_S, free_port

from pooldemo.demo.burst import Arrival, Wave, fire, waves

SLOTS = 4


class Server(ThreadingHTTPServer):
    """Answers as many at once as there are slots, the first ones when all slots are asked for."""

    daemon_threads = True
    request_queue_size = 64
    slots = threading.Semaphore(SLOTS)
    most, now = 0, 0
    turn = threading.Condition()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        with self.server.slots:
            with self.server.turn:
                self.server.now += 1
                self.server.most = max(self.server.most, self.server.now)
                self.server.turn.notify_all()
                self.server.turn.wait_for(lambda: self.server.most >= SLOTS, PATIENCE_S)
                self.server.now -= 1
        self.send_response(200 if self.path == "/slow/?ms=100" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_it_asks_all_at_once_and_hears_of_each(server: Server) -> None:
    heard: list[Arrival] = []
    arrivals = fire(f"http://127.0.0.1:{server.server_address[1]}/slow/?ms=100", 10, 30, heard.append)
    assert arrivals == heard
    assert sorted(each.number for each in arrivals) == list(range(1, 11))
    assert {each.status for each in arrivals} == {200}
    assert server.most == SLOTS


def test_it_says_why_there_is_no_answer() -> None:
    (arrival,) = fire(f"http://127.0.0.1:{free_port()}/", 1, 5, lambda arrival: None)
    assert (arrival.status, arrival.error.partition(":")[0]) == (0, "ConnectionRefusedError")


def test_it_counts_the_waves_of_seed_0() -> None:
    after_s = [5.1 + n / 200 for n in range(20)] + [10.1 + n / 50 for n in range(10)]
    assert waves(after_s, service_s=5.0) == [Wave(20, 5.1, 5.1 + 19 / 200), Wave(10, 10.1, 10.1 + 9 / 50)]


def test_it_sees_one_wave_where_there_is_room_for_all() -> None:
    assert [wave.count for wave in waves([5.05, 5.06, 5.04], service_s=5.0)] == [3]
    assert waves([], service_s=5.0) == []


def test_it_goes_on_in_silence_where_nobody_reads_on(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """As in `manage.py burst 50 | head -2`: each request that came later was a traceback."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", buffering=1) as pipe:
        call_command("burst", "4", url=f"http://127.0.0.1:{server.server_address[1]}", ms=100, stdout=pipe)
    assert capsys.readouterr().err == ""
