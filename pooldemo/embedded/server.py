"""The embedded server: ensure, stop, status, reset. Where it lives is `place`, with which programs `binaries`.

A process that uses the server holds a lease on it (`locks`), so that `stop` knows of users that are between two
connections. Importing this starts nothing, and neither does making an `EmbeddedPostgres`.
"""

import contextlib
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from .account import server_account
from .binaries import Binaries, choose, find
from .cluster import SUPERUSER, Cluster
from .errors import EmbeddedError, cure
from .hearing import deafen, heard_later
from .locks import Lease, Turn
from .place import PORT, Place, make_local
from .postmaster import Postmaster

MAX_CONNECTIONS = 300
START_S = 60  # a recovery after a crash in the middle of a load takes some seconds; a start, half of one
LEAVING_S = 5  # as long as PostgreSQL itself waits for such connections before it drops a database
LOG_LINES = 15
SHELLS = frozenset('$`"\\\n')  # initdb and pg_ctl give names in double quotes to a shell
USERS_SQL = (
    "SELECT coalesce(nullif(application_name, ''), 'unnamed') || ' (' || count(*) || ')' FROM pg_stat_activity "
    "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() GROUP BY application_name ORDER BY 1"
)


@dataclass(frozen=True)
class Status:
    """The server at one moment. `pid` is None when it does not run; `users` are its clients' names and connections."""

    pid: int | None
    version: str
    url: str
    data: Path
    users: tuple[str, ...]

    @property
    def running(self) -> bool:
        return self.pid is not None


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr)  # noqa: T201  it runs before logging is configured, and stdout may be JSON


class EmbeddedPostgres:
    """One PostgreSQL of this install. `local` is the install's own folder; `tell` gets what a user should know."""

    def __init__(
        self,
        local: Path,
        *,
        tell: Callable[[str], None] = _tell,
        programs: Callable[[], Sequence[Binaries]] = lambda: tuple(find()),
    ) -> None:
        self.place = Place(local.resolve(), server_account())
        self._cluster = Cluster(self.place, tell)
        self._postmaster = Postmaster(self.place)
        self._tell = tell
        self._programs = programs
        self._turn = Turn(self.place.local / "postgres.turn")
        self._lease = Lease(self.place.local / "postgres.users")
        self._asked = self.place.local / "postgres.asked"  # exists: a user said `postgres start`, so it stays

    Error = EmbeddedError  # for those who reach this object through the settings and may not import it

    def __repr__(self) -> str:
        process = self._postmaster.process()
        return f"<EmbeddedPostgres {self.place.data}: {f'pid {process.pid}' if process else 'not running'}>"

    @property
    def url(self) -> str:
        """The address, which is known before the server runs."""
        return self.place.url()

    @property
    def log(self) -> Path:
        return self.place.data / "server.log"

    def ensure(self, *, asked: bool = False) -> bool:
        """Have the server running and say that this process uses it; True when this call started it.

        Blocks for as long as a start takes (half a second, two the first time); well under a millisecond when it
        runs. With `asked` it was a user's wish, and `stop(unless_asked=True)` will leave it. Raises EmbeddedError.
        """
        make_local(self.place.local)
        self._lease.take()
        started = False
        if not self._postmaster.is_ready():
            with self._turn.taken():
                started = self._start()
                if started:
                    self._asked.unlink(missing_ok=True)
        if asked:
            self._asked.touch()
        return started

    def ensure_or_exit(self) -> None:
        """`ensure` for an entry point: what goes wrong is told, and the process ends with 2, by Ctrl-C with 130 and
        without the server."""
        try:
            self.ensure()
        except KeyboardInterrupt:
            deafen()
            self._tell("interrupted; the same command begins again")
            with contextlib.suppress(EmbeddedError, OSError):
                self.stop(unless_asked=True)
            sys.exit(130)
        except EmbeddedError as error:
            self._tell(str(error))
        except OSError as error:  # a folder or a disk that cannot be written
            self._tell(f"{cure(str(error))}{self.place.local} cannot be used: {error}")
        else:
            return
        sys.exit(2)

    def stop(self, *, force: bool = False, unless_asked: bool = False) -> bool:
        """Stop the server; True when this call did. This process's own lease ends.

        Raises EmbeddedError while others use it, unless `force`, which ends their connections. With `unless_asked`
        it stays, without an error, when a user started it or others use it.
        """
        make_local(self.place.local)
        with self._turn.taken(), self._lease.alone() as alone:
            if (process := self._postmaster.process()) is None:
                self._asked.unlink(missing_ok=True)
                return False
            if unless_asked and (self._asked.exists() or not alone):
                return False
            if not force and (who := self._who_uses_it(alone)):
                if unless_asked:
                    return False
                raise EmbeddedError(f"PostgreSQL is in use, {who}. End that first, or use --force")
            self._stop(process)
            self._asked.unlink(missing_ok=True)
            return True

    @contextmanager
    def turn(self) -> Iterator[None]:
        """For what one process at a time may do with the server. Blocks; nobody starts or stops it meanwhile."""
        with self._turn.taken():
            yield

    def reset(self, *, force: bool = False) -> None:
        """Stop the server and delete its data. Raises EmbeddedError while others use it, unless `force`."""
        self.stop(force=force)
        with self._turn.taken():
            self._postmaster.end_orphans()
            for folder in (self.place.data, self._cluster.unfinished, self.place.socket_folder):
                if folder.exists():
                    shutil.rmtree(folder)
            if self.place.is_far:
                self.place.link.unlink(missing_ok=True)
            shutil.rmtree(self.place.far, ignore_errors=True)  # what is there is this checkout's alone

    def status(self) -> Status:
        """What runs, and who uses it. Asks the server when it runs, over a connection of its own."""
        process = self._postmaster.process()
        users = self._users() if process and self._postmaster.is_ready() else []
        version = str(self._cluster.major() or "none yet")
        return Status(process.pid if process else None, version, self.url, self.place.data, tuple(users))

    def ended(self) -> str:
        """Why it ended by itself, with what to type; empty while it runs, and where its log tells nothing known."""
        return "" if self._postmaster.process() else cure(self._log_tail())

    def programs(self) -> Binaries:
        """The programs that fit the data. Raises EmbeddedError with the remedies when there are none."""
        return choose(self._programs(), self.place.account, self._cluster.major(), self._far)

    # -- start ---------------------------------------------------------------------------------------------------

    def _start(self) -> bool:
        deadline = time.monotonic() + START_S
        while self._postmaster.process():  # another process's start, a recovery or a shutdown: wait for how it ends
            if self._postmaster.is_ready():
                return False
            if time.monotonic() > deadline:
                raise EmbeddedError(f"PostgreSQL is not ready after {START_S} s; {self._log_tail()}")
            time.sleep(0.05)
        if self.place.is_far:
            self._go_far()
        self._postmaster.end_orphans()
        # What a dead server left. PostgreSQL would believe it when the pid has another process by now, or a zombie.
        for stale in (self.place.data / "postmaster.pid", *self.place.sockets):
            stale.unlink(missing_ok=True)
        programs = self.programs()
        for path in (self.place.data, programs.folder):
            if named := sorted(SHELLS & set(str(path))):
                raise EmbeddedError(
                    f"PostgreSQL's programs do not work in a folder whose name has {' '.join(named)}, as {path} has: "
                    "rename it, or set DATABASE_URL to a server that runs already"
                )
        if self._cluster.major() is None:
            self._cluster.make(programs)
        if self.place.socket_folder != self.place.data:
            self.place.make_private(self.place.socket_folder)
        self._cluster.write_access()
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.old"))
        folder = str(self.place.socket_folder).replace('"', '""')
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": f'"{folder}"',
            "unix_socket_permissions": "0700",
            "port": PORT,
            "max_connections": MAX_CONNECTIONS,
        }
        options = " ".join(f"-c {name}={shlex.quote(str(value))}" for name, value in settings.items())
        waiting = ["-w", "-s", "-t", START_S, "-D", self.place.data]
        with heard_later():  # half started it would be left running
            done = programs.run("pg_ctl", "start", *waiting, "-l", self.log, "-o", options, account=self.place.account)
        if done.returncode or not self._postmaster.is_ready():
            said = f"{done.stderr.strip()} {self._log_tail()}"
            raise EmbeddedError(f"{cure(said)}PostgreSQL {programs} did not start. {said}")
        return True

    def _far(self) -> Path:
        self.place.make_private(self.place.far)
        return self.place.far

    def _go_far(self) -> None:
        """Root's stand-in cannot come into the checkout: the data lie elsewhere, and a link here says where."""
        place = self.place
        self._far()
        if place.link.is_symlink():
            place.link.unlink()
        elif place.link.exists():
            raise EmbeddedError(f"{place.account.name} cannot reach {place.link} any more: check the folders above it")
        place.link.symlink_to(place.data)
        self._tell(
            f"The account {place.account.name} cannot reach {place.local}: PostgreSQL's data are in {place.data}"
        )

    # -- what is there -------------------------------------------------------------------------------------------

    def _who_uses_it(self, alone: bool) -> str:
        """Besides this process, in words; empty: nobody. PostgreSQL shows a connection that was closed until that one's
        process had its turn to notice: who is `alone` blocks for LEAVING_S at most, until none is shown."""
        deadline_s = time.monotonic() + LEAVING_S * alone
        while (users := self._users()) and time.monotonic() < deadline_s:
            time.sleep(0.1)
        if users:
            return f"connected: {', '.join(users)}"
        return "" if alone else "another process of this site (gunicorn, manage.py)"

    def _users(self) -> list[str]:
        programs = self.programs()
        address = self.place.url(SUPERUSER, "postgres")
        asked = programs.run("psql", "-X", "-A", "-t", "-c", USERS_SQL, address)
        return asked.stdout.split("\n")[:-1] if asked.returncode == 0 else []

    def _log_tail(self) -> str:
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        except OSError:
            return ""
        return "\n".join([f"The end of {self.log}:", *(f"  {line}" for line in lines)])

    def _stop(self, process: psutil.Process) -> None:
        waiting = ["-w", "-s", "-t", START_S, "-D", self.place.data]
        done = self.programs().run("pg_ctl", "stop", *waiting, "-m", "fast", account=self.place.account)
        if done.returncode and process.is_running():
            raise EmbeddedError(f"PostgreSQL did not stop. {done.stderr.strip()} {self._log_tail()}")
