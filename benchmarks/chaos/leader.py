"""A primary that is about to leave: a copy of the run's PostgreSQL, which is its standby until they change roles."""

import os
import shlex
import shutil
from pathlib import Path
from typing import Any, Self

from psycopg2.extensions import make_dsn

PORT = 5432  # only names the socket's file


class Leader:
    """Inside the block the copy leads and `postgresql` follows it, until `switch`: then the copy ends.

    `path` is the leader's socket, `log` its log.
    """

    def __init__(self, postgresql: Any) -> None:
        self._postgresql, self._place = postgresql, postgresql.place
        self._data: Path = self._place.data.with_name("leader")
        self.path, self.log = str(self._data / f".s.PGSQL.{PORT}"), self._data / "server.log"

    def __enter__(self) -> Self:
        self._postgresql.stop(force=True)
        shutil.rmtree(self._data, ignore_errors=True)
        shutil.copytree(
            self._place.data, self._data, symlinks=True, ignore=shutil.ignore_patterns("server.log*", ".s.*")
        )
        for path in (self._data, *self._data.rglob("*")):
            os.chown(path, self._place.account.uid, self._place.account.gid, follow_symlinks=False)
        with (self._data / "pg_hba.conf").open("a") as access:
            access.write("local replication all trust\n")
        self._start(self._data, self._data)
        (self._place.data / "standby.signal").touch()
        with (self._place.data / "postgresql.auto.conf").open("a") as settings:
            address = make_dsn(host=str(self._data), port=PORT, user="postgres")
            settings.write(f"primary_conninfo = {_setting(address)}\n")
        self._start(self._place.data, self._place.socket_folder)
        return self

    def switch(self) -> None:
        """The leader ends, having sent all it has; its standby takes over. Blocks until it is a primary."""
        self._control("stop", self._data, "-m", "fast")
        self._control("promote", self._place.data)

    def __exit__(self, *_: object) -> None:
        if (self._data / "postmaster.pid").exists():
            self._control("stop", self._data, "-m", "immediate")
        if (self._place.data / "standby.signal").exists():  # the switch did not happen
            self._control("promote", self._place.data)
        shutil.rmtree(self._data, ignore_errors=True)

    def _start(self, data: Path, sockets: Path) -> None:
        folder = shlex.quote(f'unix_socket_directories="{sockets}"')
        options = f"-c listen_addresses='' -c port={PORT} -c max_connections=300 -c {folder}"
        self._control("start", data, "-l", data / "server.log", "-o", options)

    def _control(self, what: str, data: Path, *arguments: object) -> None:
        given = (what, "-w", "-s", "-t", 60, "-D", data, *arguments)
        done = self._postgresql.programs().run("pg_ctl", *given, account=self._place.account)
        if done.returncode:
            raise RuntimeError(f"pg_ctl {what}: {done.stderr.strip()}")


def _setting(value: str) -> str:
    """As postgresql.conf has it."""
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"
