"""The load of a fault run, for Locust: each user writes a number of its own, waits for the answer, and goes on.

A request comes on a connection of its own, so that it is the free worker that takes it, and it is a POST: a client asks
again by itself when a GET was not answered, and the ledger would show both. After a failure a user rests, else a server
that fails fast would be asked more than one that works.

What became of each request is written, when the run stops, to the file that --timeline names: {"requests": [[id,
sent_at_s, ended_at_s, outcome, answer], ...]}, the times of the epoch. Not answered yet: null and an empty outcome.
`answer` is what the server said of a failure, if anything.
"""

import json
import random
import time
from pathlib import Path
from typing import Any

from locust import FastHttpUser, events, task

REST_S = 0.2
PATIENCE_S = 20.0

_requests: list[list[Any]] = []


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    parser.add_argument("--workload")  # the sweep says which; here there is one
    parser.add_argument("--ms", type=float, default=50.0)
    parser.add_argument("--timeline", required=True)


@events.test_stop.add_listener
def write(environment: Any, **_: Any) -> None:
    path = Path(environment.parsed_options.timeline)
    path.write_text(json.dumps({"requests": _requests}))


def outcome(response: Any) -> tuple[str, dict[str, Any]]:
    """`ok`, `503 PoolTimeout`, or `no answer: ConnectionResetError`; and the answer of a failure."""
    if response.status_code == 200:
        return "ok", {}
    if not response.status_code:
        return f"no answer: {type(response.error).__name__}", {}
    try:
        answer = json.loads(response.text)
        return f"{response.status_code} {answer['error']}", answer
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code}", {}


class Writer(FastHttpUser):
    """A user."""

    connection_timeout = network_timeout = PATIENCE_S

    @task
    def write(self) -> None:
        number = random.getrandbits(62)
        path = f"/chaos/?id={number}&ms={self.environment.parsed_options.ms:g}"
        request: list[Any] = [number, time.time(), None, "", {}]
        _requests.append(request)
        with self.client.post(path, name="chaos", headers={"Connection": "close"}, catch_response=True) as response:
            request[2:] = time.time(), *outcome(response)
            response.success()  # counted by whoever reads the file
        if request[3] != "ok":
            time.sleep(REST_S)
