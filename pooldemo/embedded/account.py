"""Under which account of this machine the server runs, and what that account can reach.

Reachability is computed from owners and modes, so that asking costs no process: settings ask at every import.
"""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import EmbeddedError

STAND_INS = ("postgres", "nobody")  # who runs the server for root, whom PostgreSQL refuses; the first that exists


@dataclass(frozen=True)
class Account:
    """An account of the operating system: its name and its ids."""

    name: str
    uid: int
    gid: int

    @property
    def is_ours(self) -> bool:
        return self.uid == os.geteuid()

    def process_options(self) -> dict[str, Any]:
        """What `subprocess` needs to run a process under this account; nothing when it is our own."""
        return {} if self.is_ours else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can_reach(self, path: Path) -> bool:
        """Whether this account may pass every folder down to `path` and `path` itself.

        What does not exist yet counts as passable: we make it, with a mode that lets the account in.
        """
        return all(self._may_pass(each) for each in (path, *path.parents))

    def _may_pass(self, path: Path) -> bool:
        try:
            found = path.stat()
        except FileNotFoundError:
            return True
        except PermissionError:
            return False
        if found.st_uid == self.uid:
            needed = stat.S_IXUSR
        elif found.st_gid == self.gid:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        return self.is_ours or bool(found.st_mode & needed)


def server_account() -> Account:
    """Our own account; for root a stand-in. Raises EmbeddedError when root has none."""
    if os.geteuid() != 0:
        return Account(_name(os.geteuid()), os.geteuid(), os.getegid())
    for name in STAND_INS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedError(
        f"PostgreSQL does not run as root, and this machine has no account {' or '.join(STAND_INS)} to run it for you: "
        "make one (useradd --system postgres), work as another user, or set DATABASE_URL to a server that runs"
    )


def our_name() -> str:
    """The name that the operating system, and so PostgreSQL's `peer` check, knows this process by."""
    return _name(os.geteuid())


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
