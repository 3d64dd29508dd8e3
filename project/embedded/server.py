"""The embedded server: ensure, stop, status, reset. Where it lives is `place`, with which programs `binaries`.

A process that uses the server holds a lease on it (`locks`), so that `stop` knows of users that are between two
connections. Importing this starts nothing, and neither does making an `EmbeddedPostgres`.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from .account import our_name, server_account
from .binaries import Binaries, choose, find
from .errors import EmbeddedError
from .locks import Lease, Turn
from .place import DATABASE, PORT, ROLE, Place, make_local

MAX_CONNECTIONS = 300
START_S = 60  # a recovery after a crash in the middle of a load takes some seconds; a start, half of one
ORPHANS_S = 5  # for the processes of a killed server to leave before they are killed as well
LOG_LINES = 15
SUPERUSER = "postgres"
# Not the superuser: PostgreSQL's reserved connections are then out of the pools' reach, as they are in production.
FIRST_SQL = (
    f"CREATE ROLE {ROLE} LOGIN CREATEDB",
    f"GRANT pg_monitor, pg_signal_backend TO {ROLE}",
    f"CREATE DATABASE {DATABASE} OWNER {ROLE}",
)
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


def _is_dead(process: psutil.Process) -> bool:
    """Zombies are: their memory is free, and in a container nobody may ever collect them."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


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
        self._tell = tell
        self._programs = programs
        self._turn = Turn(self.place.local / "postgres.turn")
        self._lease = Lease(self.place.local / "postgres.users")
        self._asked = self.place.local / "postgres.asked"  # exists: a user said `postgres start`, so it stays

    Error = EmbeddedError  # for those who reach this object through the settings and may not import it

    def __repr__(self) -> str:
        process = self._postmaster()
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
        if not self._ready():
            with self._turn.taken():
                started = self._start()
                if started:
                    self._asked.unlink(missing_ok=True)
        if asked:
            self._asked.touch()
        return started

    def ensure_or_exit(self) -> None:
        """`ensure` for an entry point: what goes wrong is told, and the process ends with code 2."""
        try:
            self.ensure()
        except EmbeddedError as error:
            self._tell(str(error))
            sys.exit(2)

    def stop(self, *, force: bool = False, unless_asked: bool = False) -> bool:
        """Stop the server; True when this call did. This process's own lease ends.

        Raises EmbeddedError while others use it, unless `force`, which ends their connections. With `unless_asked`
        it stays, without an error, when a user started it or others use it.
        """
        make_local(self.place.local)
        with self._turn.taken(), self._lease.alone() as alone:
            if (process := self._postmaster()) is None:
                self._asked.unlink(missing_ok=True)
                return False
            users = self._users()
            if unless_asked and (self._asked.exists() or users or not alone):
                return False
            if not force and (users or not alone):
                who = (
                    f"connected: {', '.join(users)}" if users else "another process of this site (gunicorn, manage.py)"
                )
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
            self._end_orphans()
            for folder in (self.place.data, self._unfinished, self.place.socket_folder):
                if folder.exists():
                    shutil.rmtree(folder)
            if self.place.is_far:
                self.place.link.unlink(missing_ok=True)
            shutil.rmtree(self.place.far, ignore_errors=True)  # what is there is this checkout's alone

    def status(self) -> Status:
        """What runs, and who uses it. Asks the server when it runs, over a connection of its own."""
        process = self._postmaster()
        users = self._users() if process and self._ready() else []
        version = self._made_by() or "none yet"
        return Status(process.pid if process else None, version, self.url, self.place.data, tuple(users))

    def programs(self) -> Binaries:
        """The programs that fit the data. Raises EmbeddedError with the remedies when there are none."""
        version = self._made_by()
        return choose(self._programs(), self.place.account, int(version) if version else None, self._far)

    # -- start ---------------------------------------------------------------------------------------------------

    def _start(self) -> bool:
        deadline = time.monotonic() + START_S
        while self._postmaster():  # another process's start, a recovery or a shutdown: wait for how it ends
            if self._ready():
                return False
            if time.monotonic() > deadline:
                raise EmbeddedError(f"PostgreSQL is not ready after {START_S} s; {self._log_tail()}")
            time.sleep(0.05)
        if self.place.is_far:
            self._go_far()
        self._end_orphans()
        # What a dead server left. PostgreSQL would believe it when the pid has another process by now, or a zombie.
        for stale in (self.place.data / "postmaster.pid", *self.place.sockets):
            stale.unlink(missing_ok=True)
        programs = self.programs()
        if self._made_by() is None:
            self._make_data(programs)
        if self.place.socket_folder != self.place.data:
            self.place.make_private(self.place.socket_folder)
        self._write_access()
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
        done = self._run(
            programs, "pg_ctl", "start", "-w", "-s", "-t", START_S, "-D", self.place.data, "-l", self.log, "-o", options
        )
        if done.returncode or not self._ready():
            raise EmbeddedError(f"PostgreSQL {programs} did not start. {done.stderr.strip()} {self._log_tail()}")
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

    def _make_data(self, programs: Binaries) -> None:
        """initdb beside the final place and move it there complete: what is there is never half made."""
        self._tell(f"Making a PostgreSQL {programs.version} for this install in {self.place.data}")
        shutil.rmtree(self._unfinished, ignore_errors=True)
        self.place.make_private(self._unfinished)
        # The builtin provider gives the same UTF-8 on every machine; before it, only C was everywhere.
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if programs.major >= 17 else []
        arguments = ["-D", self._unfinished, "-U", SUPERUSER, "-E", "UTF8", "--no-locale", *locale, "-A", "trust"]
        made = self._run(programs, "initdb", *arguments)
        if made.returncode == 0:
            single = ["--single", "-j", "-D", self._unfinished, "postgres"]  # alone: nobody can connect yet
            made = self._run(programs, "postgres", *single, text=";\n\n".join(FIRST_SQL) + ";\n\n")
        if made.returncode:
            raise EmbeddedError(f"PostgreSQL {programs} could not make its data: {made.stderr.strip()}")
        try:
            self._unfinished.rename(self.place.data)
        except OSError as error:
            raise EmbeddedError(f"{self.place.data} is there and holds no PostgreSQL: remove it") from error

    def _write_access(self) -> None:
        """Nobody but this account, the server's own and root: the kernel says who is at the other end of the socket."""
        names = sorted({our_name(), self.place.account.name, "root"})
        lines = [f'owner "{name}" {role}' for name in names for role in (ROLE, SUPERUSER)]
        (self.place.data / "pg_ident.conf").write_text("\n".join(lines) + "\n")
        (self.place.data / "pg_hba.conf").write_text("local all all peer map=owner\n")

    # -- what is there -------------------------------------------------------------------------------------------

    @property
    def _unfinished(self) -> Path:
        return self.place.data.with_name(f"{self.place.data.name}.new")

    def _pid_file(self) -> list[str]:
        try:
            return (self.place.data / "postmaster.pid").read_text().splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return []
        except PermissionError as error:
            raise EmbeddedError(
                f"{self.place.data} belongs to another user: work as that user, or set DATABASE_URL"
            ) from error

    def _postmaster(self) -> psutil.Process | None:
        """The live server of these data. A process that merely has the pid of a dead one works elsewhere."""
        lines = self._pid_file()
        if not lines or not lines[0].strip().isdigit():
            return None
        try:
            process = psutil.Process(int(lines[0]))
            return process if process.cwd() == str(self.place.data) else None
        except psutil.Error:
            return None

    def _ready(self) -> bool:
        lines = self._pid_file()
        return len(lines) >= 8 and lines[7].strip() == "ready" and self._postmaster() is not None

    def _made_by(self) -> str | None:
        """The major version that made the data; None before."""
        try:
            return (self.place.data / "PG_VERSION").read_text().strip()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _users(self) -> list[str]:
        programs = self.programs()
        address = self.place.url(SUPERUSER, "postgres")
        asked = self._run(programs, "psql", "-X", "-A", "-t", "-c", USERS_SQL, address, as_server=False)
        return asked.stdout.split("\n")[:-1] if asked.returncode == 0 else []

    def _log_tail(self) -> str:
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        except OSError:
            return ""
        return "\n".join([f"The end of {self.log}:", *(f"  {line}" for line in lines)])

    # -- end -----------------------------------------------------------------------------------------------------

    def _stop(self, process: psutil.Process) -> None:
        done = self._run(
            self.programs(), "pg_ctl", "stop", "-w", "-s", "-m", "fast", "-t", START_S, "-D", self.place.data
        )
        if done.returncode and process.is_running():
            raise EmbeddedError(f"PostgreSQL did not stop. {done.stderr.strip()} {self._log_tail()}")

    def _end_orphans(self) -> None:
        """End what a killed server left behind: its shared memory keeps a new one from starting.

        A backend notices the death when it next waits; one that computes does not. So with a folder deleted meanwhile.
        """
        homes = (str(self.place.data), f"{self.place.data} (deleted)")
        orphans = []
        for process in psutil.process_iter():
            try:
                if process.name().startswith("postgres") and process.cwd() in homes:
                    orphans.append(process)
                    process.send_signal(signal.SIGQUIT)  # leave at once, recovery is due anyway
            except psutil.Error:
                continue
        deadline = time.monotonic() + ORPHANS_S
        while alive := [process for process in orphans if not _is_dead(process)]:
            if time.monotonic() > deadline:
                for process in alive:
                    process.kill()
                break
            time.sleep(0.02)

    def _run(
        self, programs: Binaries, name: str, *arguments: object, text: str = "", as_server: bool = True
    ) -> subprocess.CompletedProcess[str]:
        # PGPORT, PGDATA, PGOPTIONS and their like mean the user's other servers.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        return subprocess.run(
            [str(programs.folder / name), *map(str, arguments)],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",  # wherever we are, the server's account may not be allowed to be
            env=environment | {"LC_ALL": "C"},
            **(self.place.account.process_options() if as_server else {}),
        )
