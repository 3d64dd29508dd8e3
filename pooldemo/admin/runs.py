"""A sweep from the page: `manage.py sweep` in a process of its own, which outlives the request and its worker.

The command alone knows what can be measured, and for how long: the page asks it (`--dry-run`) and says what it says.
Nothing of a sweep is imported or run here.

Whether it lives is told by a lock on a file that it inherits and that ends with it, however it ends: no number of a
process, which another may have by now, and no clock, which may jump.
"""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.db import connections

from pooldemo.postgresql.place import place
from pooldemo.sweep.analyse.ending import ending
from pooldemo.sweep.stacks.stack import FROM_PAGE, RUN_FOLDER, make_folder

FOLDER = RUN_FOLDER
NOT_INHERITED = ("POOLDEMO_SNAPSHOTS", "PGAPPNAME", "GUNICORN_FD", "LISTEN_FDS", "GUNICORN_CMD_ARGS")
"""What belongs to the site that this page is of, and not to those that a sweep starts."""
SAID = 4000  # characters of its last words
BEGUN = 20_000  # characters, in which it has said its number
CHECK_S = 60.0
PATIENCE_S = 5.0  # for one whose row says that it has ended, and whose process is just about to
NUMBER = re.compile(r"^sweep (\d+): .* with \d+ users?, sizes ", re.MULTILINE)
"""Of the line with which the command begins; it may say of other sweeps before what became of them."""


@dataclass(frozen=True)
class Run:
    """The sweep that was last started from a page: whether it `lives`, its `number` (None: not known yet, or it is of
    another database), and the last of what it `said`."""

    lives: bool
    number: int | None
    said: str


def check(options: Sequence[str]) -> tuple[bool, str]:
    """Whether the command takes them, and how many trials and minutes it says, or why it does not. Blocks for a second
    or so."""
    try:
        done = subprocess.run(
            [*_command(options), "--dry-run"], cwd=Path.cwd(), env=_environment(), capture_output=True, text=True,
            errors="replace", timeout=CHECK_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False, f"the command did not answer within {CHECK_S:g} s"
    except (OSError, ValueError) as error:  # longer than a command may be, or with a zero in it
        return False, f"this cannot be given to the command: {error}"
    lines = (done.stdout if done.returncode == 0 else done.stderr or done.stdout).strip().splitlines()
    said = lines[-1] if lines and done.returncode >= 0 else f"the command {ending(done.returncode)}"
    return done.returncode == 0, said.removeprefix("CommandError: ").removesuffix("; nothing was started")


def start(options: Sequence[str]) -> bool:
    """Start it, detached: it has a session of its own and writes to a file, so neither a closed page nor a stopped
    worker ends it. False: another one lives, which may have been started at this moment."""
    make_folder(FOLDER)
    with _lock() as lock:
        if not _take(lock, fcntl.LOCK_EX, PATIENCE_S):
            return False
        log = FOLDER / "page.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                _command(options), cwd=Path.cwd(), env=_environment(), stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, start_new_session=True, pass_fds=(lock,),
            )  # fmt: skip
        part = FOLDER / "page.part"
        part.write_text(json.dumps({"pid": process.pid, "log": str(log), "database": _database()}))
        part.replace(FOLDER / "page.json")
    threading.Thread(target=process.wait, name="sweep", daemon=True).start()  # else it stays a zombie
    return True


def last() -> Run:
    """What became of the last one that was started from a page."""
    lives = _lives()  # first: of one that has ended all is read that it said
    try:
        note = json.loads((FOLDER / "page.json").read_text())
        with Path(note["log"]).open("rb") as log:
            begun = log.read(BEGUN).decode(errors="replace")
            log.seek(max(0, os.fstat(log.fileno()).st_size - SAID))
            said = log.read(SAID).decode(errors="replace")
    except (OSError, ValueError, KeyError, TypeError):
        return Run(lives, None, "")
    found = NUMBER.search(begun) if note.get("database") == _database() else None
    return Run(lives, int(found[1]) if found else None, said.strip())


def stop(number: int | None = None) -> bool:
    """Ask it to end after this trial; the second time at once. Whether there was one to ask, of that number (None:
    whichever)."""
    if not _lives() or number not in (None, last().number):
        return False
    try:
        os.kill(json.loads((FOLDER / "page.json").read_text())["pid"], signal.SIGTERM)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return True


def _command(options: Sequence[str]) -> list[str]:
    manage = Path("manage.py").resolve()
    by = [str(manage)] if manage.is_file() else ["-m", "django"]
    return [sys.executable, *by, "sweep", *options]


def _environment() -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    told = {"NO_COLOR": "1", "PYTHONUNBUFFERED": "1", FROM_PAGE: "1"}
    return own | told | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _database() -> list[str]:
    """Where the sweeps of this site are kept: two sites in one folder may number theirs alike."""
    return [str(each) for each in place(connections.settings["default"])]


@contextmanager
def _lock() -> Iterator[int]:
    descriptor = os.open(FOLDER / "page.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _take(lock: int, how: int, patience_s: float) -> bool:
    """Whether the lock could be had: others have it to look for a moment, a sweep has it while it lives."""
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(lock, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                return False
            time.sleep(0.02)
        else:
            return True


def _lives() -> bool:
    try:
        with (FOLDER / "page.lock").open() as lock:
            return not _take(lock.fileno(), fcntl.LOCK_SH, 0)
    except OSError:  # none was started here, or by another user
        return False
