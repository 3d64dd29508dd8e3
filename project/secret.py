"""The secret of this install, for when SECRET_KEY is not set: made once, readable by its owner only."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path


def install_secret(path: Path) -> str:
    """What `path` holds, made first if need be. Of several processes at once all get the same one.

    Raises OSError where `path`'s folder cannot be written.
    """
    try:
        return path.read_text()
    except FileNotFoundError:
        pass
    with tempfile.NamedTemporaryFile("w", dir=path.parent) as complete:  # made with mode 0600
        complete.write(secrets.token_urlsafe(50))
        complete.flush()
        with contextlib.suppress(FileExistsError):  # another process was first
            os.link(complete.name, path)  # there at once and whole
    return path.read_text()
