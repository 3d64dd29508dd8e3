"""Locust typed many times: one process imports it, which takes longer than most of what is typed; it forks for each."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from served import PATIENCE_S, ROOT

FORKS = f"""
import json, os, signal, sys
import locust.main  # and gevent's patch: it knows what a fork is

def become(code, arguments, folder, environment, said):
    signal.alarm({PATIENCE_S:.0f})
    os.chdir(folder)
    os.environ |= environment
    for number, path in enumerate((os.devnull, *said)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    sys.argv = ["locust", *arguments]
    exec(code, {{"__name__": "__main__"}})
    sys.exit()

for line in sys.stdin:
    pids = []
    for each in json.loads(line):
        pids.append(os.fork())
        if not pids[-1]:
            become(*each)
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]), flush=True)
"""


class Typed(NamedTuple):
    """A command line of Locust on this site's file, where it is typed, and with which variables besides."""

    arguments: Sequence[str]
    folder: Path = ROOT
    environment: Mapping[str, str] = {}
    file: str = str(ROOT / "locustfile.py")


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


class Forks:
    """That process; leaving the block ends it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._number = folder, 0

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([sys.executable, "-c", FORKS], cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def locust(self, *typed: Typed) -> list[Done]:
        """Each as `python -m locust` would do it, all at once; blocks until the last has ended."""
        code = "import locust.main; locust.main.main()"
        return self._run([(code, ("-f", each.file, *each.arguments), each.folder, each.environment) for each in typed])

    def python(self, code: str) -> Any:
        """What that code prints as JSON, where importing the locustfile patches nobody else."""
        [done] = self._run([(code, (), ROOT, {})])
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def _run(self, runs: Sequence[tuple[str, Sequence[str], Path, Mapping[str, str]]]) -> list[Done]:
        tasks, files = [], []
        for code, arguments, folder, environment in runs:
            self._number += 1
            said = [self._folder / f"{self._number}.{name}" for name in ("stdout", "stderr")]
            tasks.append([code, arguments, os.fspath(folder), environment, list(map(os.fspath, said))])
            files.append(said)
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(tasks) + "\n")
        self._process.stdin.flush()
        codes = json.loads(self._process.stdout.readline())
        return [Done(code, *(file.read_text() for file in said)) for code, said in zip(codes, files, strict=True)]
