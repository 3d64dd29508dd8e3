"""A fleet of plain processes on loopback, each started by its script of deploy/services, as a container starts it."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import urlopen

import psycopg2
import pytest
from postgresql.servers import versions
from served import ROOT, free_port, until

from pooldemo.embedded.account import server_account
from pooldemo.sweep.measure.process import dying_with_us

DRAIN_S = "3"  # the balancer asks once a second, and a busy machine answers late


class Fleet:
    """What runs, by name; `folder` can be entered by the account that PostgreSQL and PgBouncer have for root."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        shutil.copytree(ROOT / "deploy", folder / "deploy")
        subprocess.run([ROOT / "deploy/secrets", folder / "secrets"], check=True)
        (folder / "secrets").chmod(0o755)
        ports = ("DB", "PGBOUNCER", "BALANCER", "BALANCER_STATS", "PROMETHEUS", "EXPORTER", "LOAD_MASTER", "LOAD_PAGE")
        self.port = {name: free_port() for name in (*ports, "WEB1", "WEB2")}
        account = server_account()
        self._account = account.process_options()
        self.state = {name: folder / name for name in ("db", "pgbouncer", "balancer", "prometheus")}
        for name, path in self.state.items():
            path.mkdir(mode=0o700)
            if self._account and name in ("db", "pgbouncer"):
                os.chown(path, account.uid, account.gid)
        hosts = ("DB", "PGBOUNCER", "BALANCER", "LOAD_MASTER", "PROMETHEUS", "EXPORTER")
        inherited = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "PGAPPNAME")}
        self.environment = inherited | {
            "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin",
            "SECRETS_DIR": str(folder / "secrets"),
            "LISTEN": "127.0.0.1",
            "PGDATA": str(self.state["db"] / "data"),
            "MAX_CONNS": "4",
            "WEB_CONCURRENCY": "2",
            "DRAIN_S": DRAIN_S,
            "WEB_SERVERS": f"127.0.0.1:{self.port['WEB1']} 127.0.0.1:{self.port['WEB2']}",
            **{f"{name}_HOST": "127.0.0.1" for name in hosts},
            **{f"{name}_PORT": str(port) for name, port in self.port.items()},
        }

    def start(self, service: str, *arguments: str, name: str = "", **environment: str) -> "subprocess.Popen[bytes]":
        """A service by its script, as the account that it refuses to be root for; its output goes to a file."""
        own = service in ("db", "pgbouncer")
        place = self.folder if own else ROOT
        command = dying_with_us([str(place / "deploy/services" / service), *arguments]) if not own else [
            str(place / "deploy/services" / service), *arguments
        ]  # fmt: skip
        more = {"STATE_DIR": str(self.state[service])} if service in self.state else {}
        with (self.folder / f"{name or service}.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=place, env=self.environment | more | environment, stdout=log, stderr=log,
                **(self._account if own else {}),
            )  # fmt: skip
        self.processes[name or service] = process
        return process

    def web(self, number: int, **environment: str) -> None:
        """One web host, ready."""
        port = self.port[f"WEB{number}"]
        self.start("web", name=f"web{number}", WEB_PORTS=str(port), PGAPPNAME=f"web{number}", **environment)
        until(lambda: self.get(port, "/healthz") == b"ok\n")

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def get(self, port: int, path: str) -> bytes:
        """The answer, or nothing where nobody answers 200."""
        with contextlib.suppress(OSError):
            with urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
                return bytes(answer.read())
        return b""

    @contextlib.contextmanager
    def sql(self) -> Iterator[Any]:
        password = (self.folder / "secrets/postgres_password").read_text()
        with contextlib.closing(
            psycopg2.connect(
                host="127.0.0.1", port=self.port["DB"], user="pooldemo", password=password, dbname="pooldemo"
            )
        ) as connection:
            connection.autocommit = True
            yield connection.cursor()

    def servers(self) -> dict[str, str]:
        """The hosts as the balancer has them: UP, DOWN, ..."""
        lines = self.get(self.port["BALANCER_STATS"], "/;csv").decode().splitlines()
        return {line.split(",")[1]: line.split(",")[17] for line in lines if line.startswith("web,web")}

    def stop(self) -> None:
        for name, process in reversed(self.processes.items()):
            if name.startswith("web"):
                process.send_signal(2)  # at once: nobody asks any more
            elif process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def promtool() -> str:
    return shutil.which("promtool") or "promtool"


@pytest.fixture(scope="session")
def fleet_of_hosts() -> Iterator[Fleet]:
    """PostgreSQL, two web hosts (one straight, one by PgBouncer) behind HAProxy, Prometheus and its exporter."""
    with contextlib.ExitStack() as lasting:
        folder = Path(lasting.enter_context(tempfile.TemporaryDirectory(prefix="pd-", ignore_cleanup_errors=True)))
        folder.chmod(0o755)
        programs = versions(SimpleNamespace(_lasting=lasting))[0].folder  # type: ignore[arg-type]
        fleet = Fleet(folder, programs)
        lasting.callback(fleet.stop)
        fleet.start("db")
        until(lambda: "ready to accept" in fleet.log("db"))
        assert fleet.start("migrate").wait() == 0, fleet.log("migrate")
        fleet.start("pgbouncer")
        fleet.start("balancer")
        fleet.start("prometheus")
        fleet.start("postgres-exporter")
        fleet.web(1)
        fleet.web(2, DATABASE_BY="pgbouncer")
        until(lambda: set(fleet.servers().values()) == {"UP"})
        yield fleet
