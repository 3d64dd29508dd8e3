"""The data folder of the embedded server, which PostgreSQL calls a cluster: made once, whole, and its owner's alone."""

import shutil
from collections.abc import Callable
from pathlib import Path

from .account import our_name
from .binaries import Binaries
from .errors import EmbeddedError, cure
from .hearing import heard_later
from .place import DATABASE, ROLE, Place

SUPERUSER = "postgres"
# Not the superuser: PostgreSQL's reserved connections are then out of the pools' reach, as they are in production.
FIRST_SQL = (
    f"CREATE ROLE {ROLE} LOGIN CREATEDB",
    f"GRANT pg_monitor, pg_signal_backend TO {ROLE}",
    f"CREATE DATABASE {DATABASE} OWNER {ROLE}",
)


class Cluster:
    """The data at `place`, be there some or not. `tell` gets what a user should know."""

    def __init__(self, place: Place, tell: Callable[[str], None]) -> None:
        self._place, self._tell = place, tell

    @property
    def unfinished(self) -> Path:
        """Where it is made."""
        return self._place.data.with_name(f"{self._place.data.name}.new")

    def major(self) -> int | None:
        """PostgreSQL's major version that made it; None before."""
        try:
            return int((self._place.data / "PG_VERSION").read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None

    def make(self, programs: Binaries) -> None:
        """initdb beside the final place and move it there complete: what is there is never half made."""
        self._tell(f"Making a PostgreSQL {programs.version} for this install in {self._place.data}")
        shutil.rmtree(self.unfinished, ignore_errors=True)
        self._place.make_private(self.unfinished)
        # The builtin provider gives the same UTF-8 on every machine; before it, only C was everywhere.
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if programs.major >= 17 else []
        account = self._place.account
        arguments = ["-D", self.unfinished, "-U", SUPERUSER, "-E", "UTF8", "--no-locale", *locale, "-A", "trust"]
        with heard_later():  # else its processes go on unseen, in a folder that the next one makes anew
            made = programs.run("initdb", *arguments, account=account)
            if made.returncode == 0:
                single = ["--single", "-j", "-D", self.unfinished, "postgres"]  # alone: nobody can connect yet
                made = programs.run("postgres", *single, account=account, text=";\n\n".join(FIRST_SQL) + ";\n\n")
        if made.returncode:
            said = made.stderr.strip()
            raise EmbeddedError(f"{cure(said)}PostgreSQL {programs} could not make its data: {said}")
        try:
            self.unfinished.rename(self._place.data)
        except OSError as error:
            raise EmbeddedError(f"{self._place.data} is there and holds no PostgreSQL: remove it") from error

    def write_access(self) -> None:
        """Nobody but this account, the server's own and root: the kernel says who is at the other end of the socket."""
        names = sorted({our_name(), self._place.account.name, "root"})
        lines = [f'owner "{name}" {role}' for name in names for role in (ROLE, SUPERUSER)]
        (self._place.data / "pg_ident.conf").write_text("\n".join(lines) + "\n")
        (self._place.data / "pg_hba.conf").write_text("local all all peer map=owner\n")
