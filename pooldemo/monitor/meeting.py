"""Where the workers of one gunicorn meet: a folder that its gunicorn.conf.py made, or one named after the master.

A master is known by its process id and by when it began: in a container it is always the first process, and would go on
with what its predecessor was told.
"""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType

FOLDER_VARIABLE = "POOLDEMO_SNAPSHOTS"  # the environment's: the folder of this gunicorn's workers
FOLDER = "pooldemo-snapshots-"  # the beginning of its name; as in gunicorn.conf.py


def in_each_worker(begin: Callable[[], None]) -> None:
    """Call `begin` in the worker that calls; in a master that has preloaded the application, in each worker to come.

    Does nothing in a process that is not gunicorn's.
    """
    if "gunicorn.arbiter" not in sys.modules:  # a worker is its master's fork
        return
    if _preloads():
        os.register_at_fork(after_in_child=begin)
    else:
        begin()


def folder() -> Path | None:
    """The folder of the calling worker's master, made if need be; None: there is none that is safe to use."""
    if FOLDER_VARIABLE not in os.environ:
        _remove_strays()
        master = os.getppid()
        place = Path(tempfile.gettempdir()) / f"{FOLDER}{master}-{_began(master)}-{os.getuid()}"
        with contextlib.suppress(FileExistsError):  # another worker was first
            place.mkdir(mode=0o700)
        if place.is_symlink() or place.stat().st_uid != os.getuid():  # somebody else wants to read our statements
            return None
        os.environ[FOLDER_VARIABLE] = str(place)
    return Path(os.environ[FOLDER_VARIABLE])


def lives(pid: int) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        pass
    return True


def _preloads() -> bool:
    """Whether the caller is a master: only a worker loads the application, or serves, by gunicorn's worker classes."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and not str(frame.f_globals.get("__name__")).startswith("gunicorn.workers."):
        frame = frame.f_back
    return frame is None


def _remove_strays() -> None:
    """Folders of ours whose master is no more."""
    for place in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        pid, *began = place.name.removeprefix(FOLDER).split("-")[:-1]
        with contextlib.suppress(OSError):  # another worker cleans up as well
            ours = pid.isdecimal() and place.lstat().st_uid == os.getuid()
            if ours and (not lives(int(pid)) or (began and began != [_began(int(pid))])):
                shutil.rmtree(place, ignore_errors=True)


def _began(pid: int) -> str:
    """When that process began, in the system's own count; empty where it does not say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
