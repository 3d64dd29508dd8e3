"""A fleet of plain processes on loopback: PostgreSQL, PgBouncer, HAProxy, web hosts, Prometheus, each started by its
script of deploy/services, as a container starts it."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import psutil
import psycopg2

from pooldemo.embedded.account import server_account
from pooldemo.embedded.binaries import choose, find
from pooldemo.sweep.measure.process import dying_with_us
from pooldemo.sweep.measure.server import free_port
from pooldemo.sweep.stacks.stack import ROOT

PORTS = ("DB", "PGBOUNCER", "BALANCER", "BALANCER_STATS", "PROMETHEUS", "EXPORTER", "LOAD_MASTER", "LOAD_PAGE")
HOSTS = ("DB", "PGBOUNCER", "BALANCER", "LOAD_MASTER", "PROMETHEUS", "EXPORTER")
PATIENCE_S = 240.0  # far above what anything takes: a machine may do ten other things meanwhile
OWN_ACCOUNT = ("db", "pgbouncer")  # refuse to be root
ADDRESS = "127.0.0.1"


def until(condition: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """The first true value of `condition`. Raises TimeoutError when none comes."""
    deadline_s = time.monotonic() + patience_s
    while time.monotonic() < deadline_s:
        if value := condition():
            return value
        time.sleep(0.02)
    raise TimeoutError(f"{condition} was not true within {patience_s} s")


class Fleet:
    """What runs, by name: `web1`, `web2`, ... and each other service by its own. `environment` is every service's.

    `folder` must be one that the account of PostgreSQL and PgBouncer, another one for root, can enter.
    """

    def __init__(self, folder: Path, webs: int = 2, **environment: str) -> None:
        self.folder, self.webs = folder, webs
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        shutil.copytree(ROOT / "deploy", folder / "deploy")
        subprocess.run([ROOT / "deploy/secrets", folder / "secrets"], check=True)
        (folder / "secrets").chmod(0o755)
        self.port = {name: free_port() for name in (*PORTS, *(f"WEB{number + 1}" for number in range(webs)))}
        account = server_account()
        self._account = account.process_options()
        self.state = {name: folder / name for name in ("db", "pgbouncer", "balancer", "prometheus")}
        for name, path in self.state.items():
            path.mkdir(mode=0o700)
            if self._account and name in OWN_ACCOUNT:
                os.chown(path, account.uid, account.gid)
        programs = folder / "programs"
        programs.mkdir()
        postgresql = choose(find(), account, None, lambda: programs).folder
        temporary = folder / "tmp"
        temporary.mkdir()
        temporary.chmod(0o1777)
        inherited = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "PGAPPNAME")}
        self.environment = inherited | {
            "PATH": f"{postgresql}:{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin",
            "TMPDIR": str(temporary),
            "SECRETS_DIR": str(folder / "secrets"),
            "LISTEN": ADDRESS,
            "PGDATA": str(self.state["db"] / "data"),
            "WEB_HOSTS": str(webs),
            "WEB_SERVERS": " ".join(f"{ADDRESS}:{self.port[f'WEB{number + 1}']}" for number in range(webs)),
            **{f"{name}_HOST": ADDRESS for name in HOSTS},
            **{f"{name}_PORT": str(port) for name, port in self.port.items()},
            **environment,
        }

    def start(self, service: str, *arguments: str, name: str = "", **environment: str) -> "subprocess.Popen[bytes]":
        """A service by its script; its output goes to a file."""
        own = service in OWN_ACCOUNT
        place = self.folder if own else ROOT
        command = [str(place / "deploy/services" / service), *arguments]
        more = {"STATE_DIR": str(self.state[service])} if service in self.state else {}
        with (self.folder / f"{name or service}.log").open("ab") as log:
            process = subprocess.Popen(
                command if own else dying_with_us(command),
                cwd=place, env=self.environment | more | environment, stdout=log, stderr=log,
                **(self._account if own else {}),
            )  # fmt: skip
        self.processes[name or service] = process
        return process

    def db(self, *arguments: str) -> None:
        """PostgreSQL, ready. `arguments` are its own."""
        said = len(self.log("db"))
        self.start("db", *arguments)
        until(lambda: "ready to accept" in self.log("db")[said:])

    def web(self, number: int, *arguments: str, **environment: str) -> None:
        """One web host, ready. `arguments` are gunicorn's."""
        port = self.port[f"WEB{number}"]
        more = {"PGAPPNAME": f"web{number}"} | environment
        self.start("web", *arguments, name=f"web{number}", WEB_PORTS=str(port), **more)
        until(lambda: self.get(port, "/healthz") == b"ok\n")

    def begin(self, *arguments: str) -> None:
        """What every fleet has, but for the web hosts. `arguments` are PostgreSQL's."""
        self.db(*arguments)
        if self.start("migrate").wait():
            raise RuntimeError(f"migrate: {self.log('migrate')}")
        self.start("pgbouncer")
        self.start("balancer")

    def family(self, name: str) -> list[psutil.Process]:
        """A service's process and all below it; of a web host deploy/drain.py, gunicorn, and its workers."""
        process = psutil.Process(self.processes[name].pid)
        return [process, *process.children(recursive=True)]

    def workers(self, number: int) -> list[int]:
        """The pids of a web host's workers."""
        (gunicorn,) = psutil.Process(self.processes[f"web{number}"].pid).children()
        return [each.pid for each in gunicorn.children()]

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def get(self, port: int, path: str) -> bytes:
        """The answer, or nothing where nobody answers 200."""
        with contextlib.suppress(OSError):
            with build_opener(ProxyHandler({})).open(f"http://{ADDRESS}:{port}{path}", timeout=30) as answer:
                return bytes(answer.read())
        return b""

    @property
    def url(self) -> str:
        """PostgreSQL's, straight."""
        password = (self.folder / "secrets/postgres_password").read_text()
        return f"postgresql://pooldemo:{password}@{ADDRESS}:{self.port['DB']}/pooldemo"

    @contextlib.contextmanager
    def sql(self) -> Iterator[Any]:
        with contextlib.closing(psycopg2.connect(self.url)) as connection:
            connection.autocommit = True
            yield connection.cursor()

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """PostgreSQL takes no more connections while this lasts: somebody else has the rest."""
        with contextlib.ExitStack() as taken:
            with contextlib.suppress(psycopg2.OperationalError):
                while True:
                    taken.enter_context(contextlib.closing(psycopg2.connect(self.url)))
            yield

    def servers(self) -> dict[str, str]:
        """The hosts as the balancer has them: UP, DOWN, ..."""
        lines = self.get(self.port["BALANCER_STATS"], "/;csv").decode().splitlines()
        return {line.split(",")[1]: line.split(",")[17] for line in lines if line.startswith("web,web")}

    def wait_up(self) -> None:
        """Until the balancer sends requests to all hosts. Raises RuntimeError when it has ended."""

        def up() -> bool:
            if self.processes["balancer"].poll() is not None:
                raise RuntimeError(f"balancer: {self.log('balancer')}")
            return list(self.servers().values()) == ["UP"] * self.webs

        until(up)

    def stop(self) -> None:
        for name, process in reversed(self.processes.items()):
            if name.startswith("web"):
                process.send_signal(signal.SIGINT)  # at once: nobody asks any more
            elif process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
