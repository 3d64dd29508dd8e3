"""Processes that end with the sweep, however it ends: in sessions of their own, written down, taken along by a death
signal.

A child is the leader of a session, so a Ctrl-C at the terminal reaches the sweep alone, and all that the child starts
can be found. Three things stop it: `stop`; on Linux the kernel, when the sweep is killed; else the next sweep, which
reads the ledger.
"""

import contextlib
import fcntl
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import psutil

from pooldemo.sweep.analyse.ending import ending
from pooldemo.sweep.stacks.stack import make_folder

MARK = "POOLDEMO_SWEEP"
PREFIX = "sweep-"  # of the folders that trials use

# Runs in the child and becomes the command. PR_SET_PDEATHSIG outlives exec; a preexec_fn is unsafe beside threads.
_LAUNCHER = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, int(sys.argv[1]))
if os.getppid() != int(sys.argv[2]):  # it died before the line above
    sys.exit(1)
os.execvp(sys.argv[3], sys.argv[3:])
"""


def dying_with_us(command: Sequence[str], ends_with: signal.Signals = signal.SIGTERM) -> list[str]:
    """The command that gets that signal from the kernel when this process dies: on Linux, and unless it changes its
    user. Start it from the main thread."""
    if sys.platform != "linux":
        return [*command]
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(int(ends_with)), str(os.getpid()), *command]


class Ledger:
    """The file in `folder` that names the children and the folders of this process, so that a later one can stop and
    remove those left behind.

    A process is its id and its start: ids are used again. Of what a child has started, `mark` is the proof: a variable
    in its environment, which a stranger with an id of the same number does not have.
    """

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        self.path = folder / f"sweep-{os.getpid()}.json"
        # Held until this process ends: when it began is told by a clock, which may be set meanwhile.
        self._lock: int | None = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        self._owner = (os.getpid(), psutil.Process().create_time())
        self.mark = _mark(*self._owner)
        self._children: dict[int, tuple[float, str]] = {}
        self._folders: list[str] = []

    @contextlib.contextmanager
    def temporary(self) -> Iterator[Path]:
        """A folder for as long as the block lasts, and no longer than until the next sweep."""
        with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
            self._folders.append(name)
            try:
                self._write()
                yield Path(name)
            finally:
                self._folders.remove(name)

    def add(self, pid: int, name: str) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):  # ended already
            self._children[pid] = (psutil.Process(pid).create_time(), name)
        self._write()

    def remove(self, pid: int) -> None:
        self._children.pop(pid, None)
        self._write()

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        self.path.with_suffix(".lock").unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self) -> None:
        children = [[pid, started, name] for pid, (started, name) in self._children.items()]
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps({"owner": self._owner, "children": children, "folders": self._folders}))
        part.replace(self.path)


def clean_up(folder: Path) -> list[str]:
    """Stop what sweeps that are no more left running, and say what it was: a name and process id each."""
    stopped = []
    for path in sorted(folder.glob("sweep-*.json")):
        try:
            ledger = json.loads(path.read_text())
            owner = _process(*ledger["owner"])
            children = [(*_process(pid, started), str(name)) for pid, started, name in ledger["children"]]
            folders = [Path(each) for each in ledger.get("folders", ())]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # another sweep is just removing it, or it is none of ours
        if _lives(path, owner):
            continue
        for pid, started, name in children:
            # The leader, or what it left: after a reboot, members of that session may be anybody's.
            mark = None if _is_same(pid, started) else _mark(*owner)
            if _kill_session(pid, mark=mark):
                stopped.append(f"{name} (process {pid})")
        for each in folders:
            if each.name.startswith(PREFIX) and each.parent == Path(tempfile.gettempdir()):
                shutil.rmtree(each, ignore_errors=True)
        path.with_suffix(".lock").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    return stopped


def is_running(folder: Path, pid: int) -> bool:
    """Whether the sweep with that process id is there, whose ledger lies in `folder`."""
    return _lives(folder / f"sweep-{pid}.json", (pid, -math.inf))


class Child:
    """One process of a sweep, started at once; `name` is for people, its output goes to the file `log`.

    `ends_with` is the signal that asks it to end. Start it from the main thread: the kernel's death signal is about
    the thread.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        ledger: Ledger,
        log: Path,
        env: Mapping[str, str],
        cwd: Path,
        ends_with: signal.Signals = signal.SIGTERM,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self.name, self.log, self._ledger, self._ends_with = name, log, ledger, ends_with
        command = dying_with_us(command, ends_with)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, cwd=cwd, env={**env, MARK: ledger.mark}, stdin=stdin, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        self.pid: int = self._process.pid
        try:
            ledger.add(self.pid, name)
        except BaseException:  # no disk left, Ctrl-C: nobody else knows of it
            _kill_session(self.pid)
            self._process.wait()
            raise

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        code: int | None = self._process.poll()
        return code

    def tail(self, lines: int = 12) -> str:
        """The last lines of its output."""
        return "\n".join(self.log.read_text(errors="replace").strip().splitlines()[-lines:])

    @property
    def ending(self) -> str:
        """How it ended, and the last lines of its output; empty while it runs."""
        if (code := self.exit_code) is None:
            return ""
        return f"{ending(code)}: {self.tail() or 'it said nothing'}"

    def cpu_s(self) -> dict[int, float]:
        """CPU seconds used so far by it and by each process of its session, by process id."""
        return {each.pid: sum(each.cpu_times()[:2]) for each in _session(self.pid)}

    def children(self) -> set[int]:
        """Process ids of those that it has started itself."""
        try:
            return {each.pid for each in psutil.Process(self.pid).children()}
        except psutil.NoSuchProcess:
            return set()

    def tell(self, data: bytes) -> None:
        """Write `data` to its standard input, a pipe. Raises BrokenPipeError when it has ended."""
        if self._process.stdin is None:
            raise RuntimeError(f"bug: {self.name} was started without a pipe")
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def wait(self, timeout_s: float) -> bool:
        """Whether it ended within `timeout_s`. Blocks."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, grace_s: float = 5.0) -> None:
        """Ask it to end, wait `grace_s`, then kill what is left of its session. Blocks; may be called again."""
        try:
            if self.exit_code is None:
                self._process.send_signal(self._ends_with)
                self.wait(grace_s)
        finally:  # Ctrl-C for the second time, it may be
            _kill_session(self.pid)
        self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self._ledger.remove(self.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _process(pid: Any, started: Any) -> tuple[int, float]:
    """A process as it is written down. Raises ValueError or TypeError."""
    return int(pid), float(started)


def _is_same(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _lives(path: Path, owner: tuple[int, float]) -> bool:
    """Whether the sweep is there whose ledger lies at `path`."""
    try:
        with path.with_suffix(".lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:  # of an older release
        return _is_same(*owner)
    except BlockingIOError:
        return True
    return False


def _mark(pid: int, started: float) -> str:
    return f"{pid}-{started:.2f}"


def _session(leader: int, mark: str | None = None) -> list[psutil.Process]:
    """The living processes of the session that `leader` began; with a `mark`, those that carry it."""
    members = []
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getsid(pid) != leader or (process := psutil.Process(pid)).status() == psutil.STATUS_ZOMBIE:
                continue
            if mark is None or process.environ().get(MARK) == mark:
                members.append(process)
    return members


def _kill_session(leader: int, timeout_s: float = 5.0, mark: str | None = None) -> bool:
    """Kill what lives of that session; whether there was anything. Blocks until it is gone."""
    deadline_s = time.monotonic() + timeout_s
    found = False
    while (members := _session(leader, mark)) and time.monotonic() < deadline_s:
        found = True
        for process in members:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(0.01)  # psutil.wait_procs would take our children's exit codes from their Popen
    return found
