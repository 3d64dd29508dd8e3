"""Sweeps of the benchmarks, which take long: cut into pieces, each stops after a trial and goes on where it was."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from pooldemo.sweep.measure.target import Site
from pooldemo.sweep.stacks.stack import ROOT, make_folder

APPLICATION = "project.wsgi"


def site_on(database_url: str, application: str = APPLICATION) -> Site:
    """This site, as a sweep starts it, on that database."""
    return Site(application, database_url)


@dataclass(frozen=True)
class Piece:
    """What a command that is run in pieces was asked for: to forget what is done, to make the page alone, and how long
    it may take."""

    fresh: bool
    page: bool
    ends_s: float

    @classmethod
    def read(cls, about: str | None) -> "Piece":
        """From the command line. From now on SIGTERM is heard as Ctrl-C is, and both where a shell had them ignored."""
        parser = argparse.ArgumentParser(description=about)
        parser.add_argument("--minutes", type=float, default=600)
        parser.add_argument("--fresh", action="store_true")
        parser.add_argument("--page", action="store_true")
        given = parser.parse_args()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        return cls(given.fresh, given.page, time.monotonic() + 60 * given.minutes)

    def seconds_left(self) -> float:
        return max(1.0, self.ends_s - time.monotonic())

    def folder(self, name: str) -> Path:
        """Where what is done is kept."""
        folder = ROOT / ".local" / name
        make_folder(folder)
        if self.fresh:
            for document in folder.glob("*.json"):
                document.unlink()
        return folder


@dataclass(frozen=True)
class Load:
    """One sweep, by its options. A trial lasts `warmup_s` and `duration_s`; None is left to the command."""

    workload: str
    users: int
    sizes: str
    warmup_s: int
    duration_s: int
    repeats: int
    stack: str = "pooldemo"
    ms: int | None = None
    think_ms: int | None = None
    seed: int = 1

    @property
    def options(self) -> list[str]:
        """As `manage.py sweep` takes them."""
        given = {name.removesuffix("_s").replace("_", "-"): value for name, value in asdict(self).items()}
        return [text for name, value in given.items() if value is not None for text in (f"--{name}", str(value))]


def run(load: Load, database_url: str, document: Path, seconds_left: Callable[[], float]) -> bool:
    """Run what is left of the sweep; whether it is complete. `document` is its --json. Blocks, for so long at most.

    Raises RuntimeError when the sweep ends otherwise than done or interrupted.
    """
    before = json.loads(document.read_text())["sweep"] if document.exists() else {"status": ""}
    if before["status"] == "done":
        return True
    options = ["--resume", str(before["id"])] if before["status"] == "interrupted" else load.options
    command = [sys.executable, "manage.py", "sweep", *options, "--json", str(document)]
    # A session of its own: one Ctrl-C must reach it once, the second would stop it at once.
    sweep = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"DATABASE_URL": database_url}, start_new_session=True)
    try:
        sweep.wait(seconds_left())
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        sweep.send_signal(signal.SIGINT)
        sweep.wait()
    status = json.loads(document.read_text())["sweep"]["status"] if document.stat().st_size else "without a result"
    if status not in ("done", "interrupted"):
        raise RuntimeError(f"the sweep of {load.workload} ended {status}, exit code {sweep.returncode}")
    return bool(status == "done")
