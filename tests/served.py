"""This site as a user runs it: a real gunicorn with gevent workers on a free loopback port, and a plain client."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

import psutil
import psycopg2

from pooldemo.sweep.measure import target
from pooldemo.sweep.measure.process import dying_with_us

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 240.0  # far above what anything takes: a machine may do ten other things meanwhile


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def site_on(url: str) -> target.Site:
    """This site, as a sweep starts it, on that database."""
    return target.Site("project.wsgi", url)


def address_of(url: str, name: str) -> str:
    """DATABASE_URL `url` with another database in it."""
    return urlsplit(url)._replace(path=f"/{quote(name)}").geturl()


def until(condition: Callable[[], Any], patience_s: float = PATIENCE_S, every_s: float = 0.02) -> Any:
    """The first true value of `condition`, asked for `every_s`. Raises TimeoutError when none comes."""
    deadline_s = time.monotonic() + patience_s
    while time.monotonic() < deadline_s:
        if value := condition():
            return value
        time.sleep(every_s)
    raise TimeoutError(f"{condition} was not true within {patience_s} s")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Site:
    """A gunicorn of this site; as a context manager it is started, ready, and stopped by SIGTERM afterwards.

    `arguments` are gunicorn's, `environment` is added to this process's own (None: taken away).
    """

    def __init__(self, database_url: str, log: Path, *arguments: str, **environment: str | None) -> None:
        self.port, self.log_path, self.database_url = free_port(), log, database_url
        self.command = [sys.executable, "-m", "gunicorn", "-k", "gevent", "project.wsgi", *arguments]
        self.command += ["--bind", f"127.0.0.1:{self.port}"]
        given = {
            **os.environ,
            "DATABASE_URL": database_url,
            "DJANGO_SETTINGS_MODULE": "project.settings",
            **environment,
        }
        self.environment = {name: value for name, value in given.items() if value is not None}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def run(self) -> int:
        """Start it, wait for its end, and give its exit code: for starts that must fail."""
        with self.log_path.open("w") as log:
            done = subprocess.run(
                self.command, cwd=ROOT, env=self.environment, stdout=log, stderr=log, timeout=PATIENCE_S, check=False
            )
        return done.returncode

    def __enter__(self) -> Self:
        with self.log_path.open("w") as log:
            # A worker of pytest-xdist that is killed must leave none behind.
            command = dying_with_us(self.command)
            self.process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=log, stderr=log)
        try:
            until(self._healthy)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> int:
        """SIGTERM and wait; its exit code. Raises AssertionError when a process is left behind."""
        if self.process.returncode is not None:
            return self.process.returncode
        master = psutil.Process(self.process.pid)
        family = [master, *master.children(recursive=True)]
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE_S)
        finally:
            _, left = psutil.wait_procs(family, timeout=PATIENCE_S)
            for process in left:
                process.kill()
            self.process.wait()
        assert not left, f"left behind: {left}\n{self.log}"
        return self.process.wait()

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """One request on a connection of its own."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)) as connection:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read().decode())

    @contextmanager
    def holding(self, requests: int = 1) -> Iterator[list[Future[Answer]]]:
        """So many requests that want a slot and keep it until the block ends, however long that takes: they update a
        row of a table that is locked. At the start of the block somebody holds one."""
        with closing(psycopg2.connect(self.database_url)) as other, ThreadPoolExecutor(requests) as users:
            try:
                other.cursor().execute("LOCK TABLE pooldemo_row IN EXCLUSIVE MODE")
                held = [users.submit(self.get, "/lock/?ms=0") for _ in range(requests)]
                until(lambda: self.get("/pool/").json["sum"]["holders"])
                yield held
            finally:
                other.rollback()
            assert {each.result().status for each in held} == {200}

    def _healthy(self) -> bool:
        assert self.process.poll() is None, self.log
        try:
            return self.get("/healthz").status == 200
        except OSError:
            return False
