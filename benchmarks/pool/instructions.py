"""What a request costs in instructions of the processor: counted by valgrind, so a busy machine tells the same.

`python benchmarks/pool/instructions.py MODULE` is what is counted: the WSGI application of that module without HTTP,
asked by as many greenlets as a server has clients. The kernel's instructions and PostgreSQL's are not in it.
"""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()
    sys.path[0] = str(Path.cwd())  # perhaps another commit's

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from importlib import import_module
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pooldemo.sweep.stacks.stack import Stack

WARM, COUNTED = 100, 300  # requests
_LIMIT_S = 300.0
_VALGRIND = ("valgrind", "--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=/dev/null")


def can_count() -> bool:
    """Whether valgrind is installed."""
    return shutil.which("valgrind") is not None and shutil.which("callgrind_control") is not None


def count(stack: "Stack", module: str, slots: int, clients: int, database_url: str) -> float:
    """The instructions of one request. Blocks for some seconds. Raises RuntimeError where it does not end well."""
    from pooldemo.sweep.plan import base

    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        env = os.environ | {
            "DATABASE_URL": database_url,
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "MAX_CONNS": str(slots),
            "POOL_STACK": base(stack.name),
            "PYTHONHASHSEED": "0",
        }
        command = [*_VALGRIND, f"--log-file={log}", stack.python, str(Path(__file__)), module, str(clients)]
        done = subprocess.run(command, cwd=stack.root, env=env, timeout=_LIMIT_S, capture_output=True, text=True)
        found = re.search(r"Collected : (\d+)", log.read_text()) if log.exists() else None
        if done.returncode or found is None:
            raise RuntimeError(f"{stack.name} was not counted: {done.stderr[-2000:]}")
        return int(found[1]) / COUNTED


def table(counted: Mapping[str, Mapping[str, float]], reference: str) -> str:
    """The page's table in Markdown: by driver, by name."""
    lines = [f"| thousand instructions of a request | without HTTP | more than {reference} |", "| --- | --: | --: |"]
    for driver, each in counted.items():
        for name, number in each.items():
            lines.append(f"| {name}, {driver} | {number / 1000:.0f} | {(number - each[reference]) / 1000:.0f} |")
    return "\n".join(lines)


def serve(module: str, clients: int) -> None:
    """Ask the application, and have some of the requests counted. Ends the process."""
    import gevent
    from gevent.event import Event

    application = import_module(module).application
    begun = ended = asked = 0
    go, done = Event(), Event()

    def ask(number: int) -> None:
        nonlocal asked
        asked += number
        done.clear()
        go.set()
        done.wait()

    def client() -> None:
        nonlocal begun, ended
        while True:
            go.wait()
            while begun < asked:
                begun += 1
                response = application(_environ(), _start_response)
                b"".join(response)
                response.close()
                ended += 1
                gevent.sleep(0)  # as the next request is waited for
            go.clear()
            if ended == asked:
                done.set()

    for _ in range(clients):
        gevent.spawn(client)
    control = ("callgrind_control", "-i")
    ask(WARM)
    subprocess.run([*control, "on", str(os.getpid())], check=True, capture_output=True)
    ask(COUNTED)
    subprocess.run([*control, "off", str(os.getpid())], check=True, capture_output=True)
    os._exit(0)


def _environ() -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/fast/",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "HTTP_HOST": "127.0.0.1",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.input": BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.url_scheme": "http",
    }


def _start_response(status: str, _headers: Any) -> None:
    if not status.startswith("200"):
        raise RuntimeError(f"not the answer that was asked for: {status}")


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
