"""A sweep from the page: `manage.py sweep` in a process of its own, which outlives the request and its worker.

The command alone knows what can be measured, and for how long: the page asks it (`--dry-run`) and says what it says.
Nothing of a sweep is imported or run here.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pooldemo.sweep.stacks.stack import ROOT

FOLDER = ROOT / ".local" / "run"
FIELDS = {
    "stack": "stacks, or all",
    "workload": "workload",
    "url": "or a page of this site: /orders/",
    "ms": "its query, ms",
    "users": "users",
    "sizes": "MAX_CONNS: 1,2,4-8",
    "workers": "workers",
    "duration": "seconds of a trial",
    "warmup": "seconds before them",
    "repeats": "repeats",
    "slo": "SLO: p95=300,errors=0.1%",
    "arrivals": "open loop: requests/s, or max",
}
"""What the form asks, by the names of the command's options; an empty field is the command's default."""
NOT_INHERITED = ("POOLDEMO_SNAPSHOTS", "PGAPPNAME", "GUNICORN_FD", "LISTEN_FDS", "GUNICORN_CMD_ARGS")
"""What belongs to the site that this page is of, and not to those that a sweep starts."""
SAID = 4000  # characters of its last words
CHECK_S = 60.0


@dataclass(frozen=True)
class Run:
    """The sweep that was last started from a page: whether it `lives`, its `number` (None: not known yet), and the last
    of what it `said`."""

    lives: bool
    number: int | None
    said: str


def arguments(given: Mapping[str, str]) -> list[str]:
    """The command's options for what the form says. Each is one word, so that no value can be an option of its own."""
    return [f"--{name}={value}" for name in FIELDS if (value := given.get(name, "").strip())]


def check(options: Sequence[str]) -> tuple[bool, str]:
    """Whether the command takes them, and how many trials and minutes it says, or why it does not. Blocks for a second
    or so."""
    try:
        done = subprocess.run(
            [*_command(options), "--dry-run"], cwd=Path.cwd(), env=_environment(), capture_output=True, text=True,
            timeout=CHECK_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False, f"the command did not answer within {CHECK_S:g} s"
    lines = (done.stdout if done.returncode == 0 else done.stderr or done.stdout).strip().splitlines()
    said = lines[-1] if lines else f"it ended with {done.returncode} and said nothing"
    return done.returncode == 0, said.removeprefix("CommandError: ").removesuffix("; nothing was started")


def start(options: Sequence[str]) -> None:
    """Start it, detached: it has a session of its own and writes to a file, so neither a closed page nor a stopped
    worker ends it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    log = FOLDER / "page.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(options), cwd=Path.cwd(), env=_environment(), stdin=subprocess.DEVNULL, stdout=output,
            stderr=output, start_new_session=True,
        )  # fmt: skip
    note = {"pid": process.pid, "began": _began(process.pid), "log": str(log)}
    part = FOLDER / "page.part"
    part.write_text(json.dumps(note))
    part.replace(FOLDER / "page.json")
    threading.Thread(target=process.wait, name="sweep", daemon=True).start()  # else it stays a zombie


def last() -> Run:
    """What became of the last one that was started from a page."""
    try:
        note = json.loads((FOLDER / "page.json").read_text())
        text = Path(note["log"]).read_text(errors="replace")
    except (OSError, ValueError, KeyError):
        return Run(False, None, "")
    found = re.search(r"^sweep (\d+): ", text, re.MULTILINE)
    return Run(_lives(note), int(found[1]) if found else None, text[-SAID:].strip())


def stop() -> bool:
    """Ask it to end after this trial; the second time at once. Whether there was one to ask."""
    try:
        note = json.loads((FOLDER / "page.json").read_text())
        if not _lives(note):
            return False
        os.kill(note["pid"], signal.SIGTERM)
    except (OSError, ValueError, KeyError):
        return False
    return True


def _command(options: Sequence[str]) -> list[str]:
    manage = Path("manage.py").resolve()
    by = [str(manage)] if manage.is_file() else ["-m", "django"]
    return [sys.executable, *by, "sweep", *options]


def _environment() -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    return own | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}


def _lives(note: Mapping[str, object]) -> bool:
    return note["began"] is not None and _began(int(str(note["pid"]))) == note["began"]


def _began(pid: int) -> float | None:
    """When that process began, which tells it from a later one of the same number; None: it is no more."""
    import psutil  # comes with the extra [sweep]; without it there is no sweep to start

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None
