"""Locust typed many times, by a process that has imported it: that takes longer than most of what is typed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from forks import Done, Forks, Run
from served import ROOT


class Typed(NamedTuple):
    """A command line of Locust on this site's file, where it is typed, and with which variables besides."""

    arguments: Sequence[str]
    folder: Path = ROOT
    environment: Mapping[str, str] = {}
    file: str = str(ROOT / "locustfile.py")


class LocustForks(Forks):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "import locust.main  # and gevent's patch: it knows what a fork is")

    def locust(self, *typed: Typed) -> list[Done]:
        """Each as `python -m locust` would do it, all at once; blocks until the last has ended."""
        code = "import locust.main; locust.main.main()"
        return self.run(
            *(Run(code, ("locust", "-f", each.file, *each.arguments), each.folder, each.environment) for each in typed)
        )

    def python(self, code: str) -> Any:
        """What that code prints as JSON, where importing the locustfile patches nobody else."""
        [done] = self.run(Run(code, ("locust",)))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
