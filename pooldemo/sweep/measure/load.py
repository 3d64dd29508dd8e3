"""The load: Locust, headless, in a process of its own, held at the gate until the server is ready.

What its users ask for is one of our workloads, a project's own addresses (`--url`), or what its own locustfile says.

The one file that knows Locust's command line. It never imports locust: that would monkey-patch this process.
"""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pooldemo.sweep.facts import Plan
from pooldemo.sweep.generator import BEGINS, PREFIX, THEIRS
from pooldemo.sweep.measure import gate
from pooldemo.sweep.measure.process import Child, Ledger
from pooldemo.sweep.measure.server import free_port
from pooldemo.sweep.measure.target import TrialError
from pooldemo.sweep.stacks.stack import ROOT
from pooldemo.sweep.workloads import MIX, has_length

READY_S = 30.0
_INSTALLED = Path(__file__).with_name("locustfile.py")  # a wheel brings it; in a checkout it lies where Locust looks
LOCUSTFILE = _INSTALLED if _INSTALLED.exists() else Path(__file__).resolve().parents[3] / "locustfile.py"
COME_S = 120.0  # for generators of other hosts
STOP_S = 10.0  # to write its timeline; it takes a fifth of a second


@dataclass(frozen=True)
class Meeting:
    """Where Locust's master waits for workers that somebody else starts: on other hosts, or on this one."""

    host: str
    port: int

    def invitation(self, plan: Plan) -> str:
        """What to type on those hosts. A worker ends with its trial, so it comes again for the next one."""
        files = ",".join(map(_as_typed, (LOCUSTFILE, *([Path(plan.locustfile)] if plan.locustfile else ()))))
        return (
            f"waiting for {plan.processes} load generators. On their hosts, in this folder, so many times in all: "
            f"while :; do {f'{THEIRS}=1 ' * bool(plan.locustfile)}locust -f {shlex.quote(files)} --worker "
            f"--master-host {self.host} --master-port {self.port}; done"
        )


def home_of(plan: Plan, locustfile: Path = LOCUSTFILE) -> Path:
    """The folder that Locust runs in."""
    return Path(plan.locustfile or locustfile).parent


def _listed(file: Path, home: Path) -> str:
    """As it can stand in Locust's list of files, for Locust in `home`: a comma in a folder's name would divide it."""
    return os.path.relpath(file.resolve(), home.resolve()) if "," in str(file) else str(file)


def _as_typed(file: Path) -> str:
    """From the project's folder, where it lies in that: on another host it may be another one."""
    return str(file.relative_to(ROOT) if file.is_relative_to(ROOT) else file)


def command(
    plan: Plan, url: str, timeline: Path, locustfile: Path = LOCUSTFILE, meeting: Meeting | None = None
) -> list[str]:
    """Locust's command line for the load of `plan` against `url`; with a `meeting`, its generators come to that."""
    files = (Path(gate.__file__), locustfile, *([Path(plan.locustfile)] if plan.locustfile else ()))
    options: dict[str, object] = {
        "-f": ",".join(_listed(file, home_of(plan, locustfile)) for file in files),
        "--host": url,
        "--users": plan.users,
        "--spawn-rate": plan.users,
        # It is stopped before; one that is forgotten stops itself.
        "--run-time": f"{int(plan.warmup_s + plan.duration_s) + 30}s",
        f"--{PREFIX.replace('_', '-') if plan.locustfile else ''}timeline": timeline,
        "--exit-code-on-error": 0,
        "--loglevel": "WARNING",
    }
    if plan.urls:
        options["--urls"] = json.dumps(plan.urls)
    elif not plan.locustfile:
        options["--workload"] = plan.workload
    if plan.workload == MIX or has_length(plan.workload):
        options["--ms"] = f"{plan.ms:g}"
    if plan.workload in ("hold", "think", "mix"):
        options["--think-ms"] = f"{plan.think_ms:g}"
    if plan.rate is not None:
        options |= {"--arrivals": f"{plan.rate:g}", "--spacing": "random" if plan.poisson else "even"}
    flags = ["--headless", "--only-summary", "--reset-stats"]
    if meeting:
        flags.append("--master")
        options |= {"--master-bind-host": meeting.host, "--master-bind-port": meeting.port}
        options |= {"--expect-workers": plan.processes, "--expect-workers-max-wait": int(COME_S)}
    elif plan.processes > 1:
        meeting_port = free_port()
        options |= {"--processes": plan.processes, "--master-bind-port": meeting_port, "--master-port": meeting_port}
    return [sys.executable, "-m", "locust", *flags, *(str(part) for pair in options.items() for part in pair)]


class Load:
    """Locust for one trial: started at once, asking nothing until `go`. Leaving the block stops it."""

    def __init__(
        self,
        plan: Plan,
        url: str,
        folder: Path,
        ledger: Ledger,
        headers: Mapping[str, str] | None = None,
        meeting: Meeting | None = None,
        locustfile: Path = LOCUSTFILE,
    ) -> None:
        self._timeline = folder / "timeline.json"
        self._begins_later = meeting is not None or plan.processes > 1
        self._patience_s = COME_S + READY_S if meeting else READY_S  # of others' generators Locust itself says more
        line = command(plan, url, self._timeline, locustfile, meeting)
        env = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
        if headers:
            env["LOCUST_HEADERS"] = json.dumps(dict(headers))  # not on the command line, which everybody may read
        if plan.locustfile:
            env[THEIRS] = "1"
        home = home_of(plan, locustfile)
        self._child = Child("Locust", line, ledger, folder / "locust.log", env, home, stdin=subprocess.PIPE)

    @property
    def said(self) -> str:
        """The last lines of its log."""
        return self._child.tail()

    def go(self) -> None:
        """Open the gate as soon as Locust stands there, and block until all its generators have begun: they come to its
        master when the machine lets them. Raises TrialError when they do not.
        """
        deadline_s = time.monotonic() + READY_S
        while gate.WAITING not in self.said:
            self.check()
            if time.monotonic() > deadline_s:
                raise TrialError(f"Locust was not ready in {READY_S:g} s: {self.said or 'it said nothing'}")
            time.sleep(0.01)
        try:
            self._child.tell(b"g")
        except BrokenPipeError:
            self._child.wait(1)
            self.check()
        deadline_s = time.monotonic() + self._patience_s
        while self._begins_later and BEGINS not in self.said:
            self.check()
            if time.monotonic() > deadline_s:
                raise TrialError(f"the load did not begin in {self._patience_s:g} s: {self.said or 'it said nothing'}")
            time.sleep(0.01)

    def check(self) -> None:
        """Raises TrialError when it has ended before it was stopped."""
        if ending := self._child.ending:
            raise TrialError(f"Locust {ending}")

    def finish(self) -> dict[str, Any]:
        """Stop it and read what it saw. Blocks until it has written its timeline; raises TrialError when it has not."""
        self._child.stop(STOP_S)
        try:
            document: dict[str, Any] = json.loads(self._timeline.read_text())
        except (OSError, ValueError):
            raise TrialError(f"Locust left no timeline: {self.said or 'it said nothing'}") from None
        return document

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.stop()
