"""PostgreSQL servers of a test process's own, on TCP and a unix socket, of every major version that this machine has;
their standbys; and a lookout that counts their processes from outside, as fast as it can.
"""

import json
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from own_folders import folder_of_servers

from pooldemo.embedded.account import server_account
from pooldemo.embedded.binaries import Binaries, choose, find

from .elsewhere import TESTS
from .site import Site

ROLE = DATABASE = "pooldemo"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Server:
    """One PostgreSQL. `config` is what DATABASES says of it; the superuser is `postgres`.

    Nobody needs a password unless `hba` says so.
    """

    def __init__(self, folder: Path, programs: Binaries, hba: str = "trust") -> None:
        self._programs, self._account = programs, server_account()
        self.folder = folder
        self.port = free_port()
        self._hba = hba

    @classmethod
    def make(cls, folder: Path, programs: Binaries, hba: str = "trust") -> Self:
        """A new one, running, with the role and the database."""
        server = cls(folder, programs, hba)
        server._run("initdb", "-D", folder, "-U", "postgres", "-A", "trust", "--no-locale", "-E", "UTF8", "--no-sync")
        server.start()
        server.psql(f"CREATE ROLE {ROLE} LOGIN REPLICATION PASSWORD 'first'; GRANT pg_monitor TO {ROLE}")
        server.psql(f"CREATE DATABASE {DATABASE} OWNER {ROLE}")
        return server

    def __repr__(self) -> str:
        return f"<Server {self._programs.version} on {self.port}>"

    @property
    def pid(self) -> int:
        return int((self.folder / "postmaster.pid").read_text().split("\n")[0])

    def config(self, tcp: bool = True, **more: Any) -> dict[str, Any]:
        host = "127.0.0.1" if tcp else str(self.folder)
        given = {"NAME": DATABASE, "USER": ROLE, "PASSWORD": "", "HOST": host, "PORT": str(self.port), "OPTIONS": {}}
        return given | more

    @property
    def admin(self) -> str:
        """The superuser's address, for libpq."""
        return f"host='{self.folder}' port={self.port} user=postgres dbname=postgres"

    def start(self) -> None:
        hba = f"local all postgres trust\nlocal all all {self._hba}\n"
        hba += f"host all all 127.0.0.1/32 {self._hba}\nlocal replication all trust\n"
        self._write("pg_hba.conf", hba)
        settings = {
            "listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": f'"{self.folder}"',
            "fsync": "off", "max_connections": 100, "wal_level": "replica", "logging_collector": "off",
            "autovacuum": "off",
        }  # fmt: skip
        options = " ".join(f"-c {name}={shlex.quote(str(value))}" for name, value in settings.items())
        self._run("pg_ctl", "start", "-w", "-s", "-t", 60, "-D", self.folder, "-l", self.folder / "log", "-o", options)

    def stop(self) -> None:
        self._programs.run("pg_ctl", "stop", "-w", "-s", "-m", "immediate", "-D", self.folder, account=self._account)

    def standby(self, folder: Path) -> "Server":
        """A hot standby of it, running."""
        other = Server(folder, self._programs, self._hba)
        self._run("pg_basebackup", "-D", folder, "-R", "-X", "stream", "-c", "fast", "-d", self.admin)
        other.start()
        return other

    def promote(self) -> None:
        """Blocks until it is a primary."""
        self._run("pg_ctl", "promote", "-w", "-s", "-t", 60, "-D", self.folder)

    def psql(self, sql: str) -> str:
        """As the superuser."""
        return self._run("psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", self.admin, "-c", sql).strip()

    def _run(self, name: str, *arguments: object) -> str:
        done = self._programs.run(name, *arguments, account=self._account)
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stderr}{done.stdout}")
        return done.stdout

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)


def own_folder(site: Site) -> Path:
    """A new folder of the server's account, gone when the process ends."""
    inner = site._lasting.enter_context(folder_of_servers("pd ö ")) / "pg"
    inner.mkdir(mode=0o700)
    account = server_account()
    if not account.is_ours:
        import os

        os.chown(inner, account.uid, account.gid)
    return inner


def own_server(site: Site, programs: Binaries | None = None, hba: str = "trust") -> Server:
    """A new one, stopped when the process ends."""
    if programs is None:
        programs = versions(site)[0]
    return Server.make(own_folder(site), programs, hba)


def versions(site: Site) -> list[Binaries]:
    """The programs of the newest and the oldest PostgreSQL of this machine; one, where there is one."""
    found = sorted(find(), key=lambda each: each.major, reverse=True)
    majors = dict.fromkeys([found[0].major, found[-1].major])
    return [choose(found, server_account(), major, lambda: own_folder(site)) for major in majors]


class Lookout:
    """Counts, from a process of its own, the connections of ROLE that a server has, those that still log in among them.

    After the block `looks` says how often it looked, `most` how many client processes PostgreSQL showed at most besides
    the lookout's own, and `processes` how many the operating system did, by client: "[local]" or "127.0.0.1".
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self.looks, self.most, self.processes = 0, 0, {"[local]": 0, "127.0.0.1": 0}

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "postgresql.lookout", self._server.admin, str(self._server.pid), ROLE]
        self._process = subprocess.Popen(command, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        assert self._process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        out = self._process.communicate("", timeout=240)[0]
        seen = json.loads(out)
        self.looks, self.most, self.processes = seen["looks"], seen["most"], seen["processes"]
