"""The load of a soak: a modest open loop of writes, reads, thoughtful requests, hang-ups and requests that run out.

Few requests a second, so that the hour leaves the machine to others. A request comes on a connection of its own.
"""

import http.client
import json
import random
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Self

AT_ONCE = 16
PATIENCE_S = 20.0
READS = (
    "/read/",
    "/fast/",
    "/slow/?ms=20",
    "/think/?query_ms=5&think_ms=30",
    "/hold/?query_ms=5&think_ms=30",
    "/nodb/",
)


class Users:
    """Asks one site `rate` times a second from the moment the block is entered until it is left.

    `acknowledged`: the numbers whose write was answered with 200. `answers` counts how requests ended, `latencies`
    takes (ended at, ms) of those that were answered with 200; `take` empties it.
    """

    def __init__(self, port: int, rate: float, seed: int) -> None:
        self._port, self._rate, self._chance = port, rate, random.Random(seed)
        self._left = threading.Event()
        self._lock = threading.Lock()
        self._latencies: list[float] = []
        self.acknowledged: list[int] = []
        self.answers: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, name="users", daemon=True)

    def take(self) -> list[float]:
        """The latencies in ms since the last call."""
        with self._lock:
            taken, self._latencies = self._latencies, []
        return taken

    def _run(self) -> None:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            next_s = time.monotonic()
            while not self._left.wait(max(0.0, next_s - time.monotonic())):
                threads.submit(self._ask, self._chance.random(), self._chance.getrandbits(62))
                next_s += self._chance.expovariate(self._rate)

    def _ask(self, kind: float, number: int) -> None:
        if kind < 0.02:
            self._hang_up(number)
        elif kind < 0.04:
            self._count(self._post(f"/chaos/?id={number}&ms=2000&limit_s=0.3"), "runs out: ")
        elif kind < 0.5:
            outcome = self._post(f"/chaos/?id={number}&ms=20")
            if outcome == "200":
                self.acknowledged.append(number)
            self._count(outcome, "write: ")
        else:
            self._count(self._request("GET", READS[number % len(READS)]), "read: ")

    def _post(self, path: str) -> str:
        return self._request("POST", path)

    def _request(self, method: str, path: str) -> str:
        client = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        started_s = time.monotonic()
        try:
            client.request(method, path, headers={"Connection": "close"})
            response = client.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            return f"no answer ({type(error).__name__})"
        finally:
            client.close()
        if response.status == 200:
            with self._lock:
                self._latencies.append((time.monotonic() - started_s) * 1000)
            return "200"
        try:
            return f"{response.status} {json.loads(body)['error']}"
        except (ValueError, KeyError, TypeError):
            return f"{response.status}"

    def _hang_up(self, number: int) -> None:
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE_S) as client:
                client.sendall(
                    f"POST /chaos/?id={number}&ms=200 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode()
                )
                time.sleep(0.05)
            self._count("", "hung up")
        except OSError:
            self._count("", "hung up")

    def _count(self, outcome: str, kind: str) -> None:
        with self._lock:
            self.answers[f"{kind}{outcome}"] += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()
