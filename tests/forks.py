"""Many runs of what takes long to import: one process imports it, and forks for each run."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from served import PATIENCE_S, ROOT

from pooldemo.sweep.measure.process import dying_with_us

FORKS = """
import ctypes, json, os, signal, sys
BEFORE

def become(code, arguments, folder, environment, said):
    signal.alarm(LIMIT_S)
    if sys.platform == "linux":  # it ends with whoever waits for it: PR_SET_PDEATHSIG
        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))
    os.chdir(folder)
    os.environ |= environment
    for number, path in enumerate((os.devnull, *said)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    sys.argv = arguments
    exec(code, {"__name__": "__main__"})
    sys.exit()

for line in sys.stdin:
    pids = []
    for each in json.loads(line):
        pids.append(os.fork())
        if not pids[-1]:
            become(*each)
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]), flush=True)
"""


class Run(NamedTuple):
    """Code, its `sys.argv`, where it runs and with which variables besides."""

    code: str
    arguments: Sequence[str]
    folder: Path = ROOT
    environment: Mapping[str, str] = {}


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


class Forks:
    """That process; leaving the block ends it. `before` is done before it forks: gevent's patch, and the imports.

    `options` are Python's, `environment` the process's (None: this one's). A run of more than `limit_s` is ended.
    """

    def __init__(
        self,
        folder: Path,
        before: str,
        *options: str,
        environment: Mapping[str, str] | None = None,
        limit_s: float = PATIENCE_S,
    ) -> None:
        self._folder, self._number, self._environment = folder, 0, environment
        code = FORKS.replace("BEFORE", before).replace("LIMIT_S", f"{limit_s:.0f}")
        self._command = dying_with_us([sys.executable, *options, "-c", code], signal.SIGKILL)

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, env=self._environment, stdin=pipe, stdout=pipe, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def run(self, *runs: Run) -> list[Done]:
        """All at once; blocks until the last has ended."""
        tasks, files = [], []
        for run in runs:
            self._number += 1
            said = [self._folder / f"{self._number}.{name}" for name in ("stdout", "stderr")]
            tasks.append([run.code, run.arguments, os.fspath(run.folder), run.environment, list(map(os.fspath, said))])
            files.append(said)
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(tasks) + "\n")
        self._process.stdin.flush()
        codes = json.loads(self._process.stdout.readline())
        return [Done(code, *(file.read_text() for file in said)) for code, said in zip(codes, files, strict=True)]
