"""Where the embedded server keeps its data and its socket: pure, so that the URL is known before anything runs."""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from .account import Account
from .errors import EmbeddedError

PORT = 5432  # only names the socket's file: nothing listens on a port
ROLE = DATABASE = "pooldemo"
SOCKET_PATH_BYTES = 103  # macOS's limit, the smallest; Linux takes 107
SHORT_FOLDER = Path("/tmp")  # noqa: S108  not TMPDIR, on which two processes may differ; make_private guards it
FAR_FOLDERS = (Path("/var/lib"), Path("/var/tmp"))  # noqa: S108  guarded likewise


@dataclass(frozen=True)
class Place:
    """The folders of one embedded server. `local` is this install's own folder, git-ignored."""

    local: Path
    account: Account

    @property
    def link(self) -> Path:
        """Where one looks for the data: the data themselves, or a link to where the server's account can reach them."""
        return self.local / "postgres"

    @property
    def data(self) -> Path:
        """The data folder, and the socket's when the path is short enough."""
        if not self.link.is_symlink() and self.account.can_reach(self.local):
            return self.link
        return self.far / "data"

    @property
    def is_far(self) -> bool:
        return self.data != self.link

    @property
    def far(self) -> Path:
        """A private folder of this checkout outside of it, for root whose stand-in cannot come in here."""
        top = next((folder for folder in FAR_FOLDERS if os.access(folder, os.W_OK)), FAR_FOLDERS[-1])
        return top / f"pooldemo-{self._digest}"

    @property
    def socket_folder(self) -> Path:
        path = os.fsencode(self.data / f".s.PGSQL.{PORT}")
        if len(path) <= SOCKET_PATH_BYTES and b"," not in path:  # libpq reads a comma as the start of another host
            return self.data
        return SHORT_FOLDER / f"pooldemo-{self.account.uid}-{self._digest}"

    @property
    def sockets(self) -> tuple[Path, Path]:
        """The socket, and the file by which PostgreSQL knows whose it is."""
        socket = self.socket_folder / f".s.PGSQL.{PORT}"
        return socket, socket.with_name(f"{socket.name}.lock")

    def url(self, role: str = ROLE, database: str = DATABASE) -> str:
        """The address in the form that libpq, SQLAlchemy and asyncpg all read: the socket's folder in the query."""
        query = urlencode({"host": str(self.socket_folder), "port": PORT}, quote_via=quote, safe="/")
        return f"postgresql://{role}@/{database}?{query}"

    @property
    def _digest(self) -> str:
        return hashlib.sha256(os.fsencode(self.local)).hexdigest()[:12]

    def make_private(self, folder: Path) -> None:
        """Make `folder` the server account's alone, mode 0700. Raises EmbeddedError when another was there first."""
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            pass
        else:
            os.chown(folder, self.account.uid, self.account.gid)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != self.account.uid or stat.S_IMODE(found.st_mode) & 0o077:
            raise EmbeddedError(
                f"{folder} must be a folder of {self.account.name} alone (mode 0700), and it is "
                f"{stat.filemode(found.st_mode)} of uid {found.st_uid}: remove it, or set DATABASE_URL"
            )


def make_local(local: Path) -> None:
    """Make this install's own folder: others may pass (root's stand-in must), none may list it.

    Raises EmbeddedError when that is not allowed here.
    """
    try:
        local.mkdir(mode=0o711)
        local.chmod(0o711)  # whatever the umask
    except FileExistsError:
        pass
    except OSError as error:
        raise EmbeddedError(
            f"{local} cannot be made ({error.strerror}): make its folder yours (chown -R), or work in a copy of it: "
            "cp -r . ~/pooldemo"
        ) from error
