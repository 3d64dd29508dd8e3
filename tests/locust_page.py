"""Locust with its page, as its user drives it: the form that it shows, what it posts, and what it says then."""

import http.client
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

from served import PATIENCE_S, ROOT, free_port, until

from pooldemo.sweep.measure.process import dying_with_us

# A master gives a worker up that is silent for three seconds: on a loaded machine it only waits for its turn. And the
# page shows figures that are two seconds old, for which these tests would wait while the load goes on. No page shows
# what the timeline has so far: a run that must last until something was noted asks an address of the tests' own.
PATIENT = """
import locust, locust.runners, locust.web
locust.runners.HEARTBEAT_LIVENESS = 60
locust.web.DEFAULT_CACHE_TIME = 0.05

@locust.events.init.add_listener
def show(environment, web_ui, **_):
    if web_ui:
        noted = lambda: [[*key, value] for key, value in environment.timeline.facts.items()]
        web_ui.app.add_url_rule("/noted", view_func=noted)
"""


class Page:
    """A Locust that serves its page on a free loopback port; leaving the block ends it by SIGTERM.

    Two ports more are ready for `--processes`: a master and its workers meet there."""

    def __init__(self, host: str, *arguments: str) -> None:
        self.port, self.meeting = free_port(), str(free_port())
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = tempfile.TemporaryDirectory()
        (patient := Path(self._folder.name) / "patient.py").write_text(PATIENT)
        self.command = [sys.executable, "-m", "locust", "-f", f"{patient},{ROOT / 'locustfile.py'}", "--host", host]
        self.command += ["--web-port", str(self.port), "--loglevel", "INFO"]
        self.command += ["--master-bind-port", self.meeting, "--master-port", self.meeting, *arguments]

    def __enter__(self) -> Self:
        self._log = Path(self._folder.name) / "log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(dying_with_us(self.command), cwd=ROOT, stdout=log, stderr=log)
        try:
            until(self._answers)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
            self.log = self._log.read_text()
            self._folder.cleanup()

    def _answers(self) -> bool:
        assert self.process.poll() is None, self._log.read_text()
        try:
            self.get("/")
        except OSError:
            return False
        return True

    def get(self, path: str, **headers: str) -> str:
        return self._ask("GET", path, None, headers)

    def post(self, path: str, fields: dict[str, Any] | None = None, **headers: str) -> str:
        return self._ask("POST", path, urlencode(fields or {}), headers)

    def _ask(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, {"Content-Type": "application/x-www-form-urlencoded"} | headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            assert answer.status == 200, text
            return text
        finally:
            connection.close()

    def form(self, changes: dict[str, str] | None = None, edit: bool = False) -> dict[str, str]:
        """The fields that START, or UPDATE while it runs, posts: what the page shows, with the `changes`."""
        found = re.search(r"window.templateArgs = (.*)", self.get("/"))
        assert found
        shown = json.loads(found[1])
        fields = {"user_count": shown["num_users"] or 1, "spawn_rate": shown["spawn_rate"] or 1}
        if not edit:
            fields |= {"host": shown["host"], "run_time": shown["run_time"], "profile": shown["profile"]}
        for name, option in shown["extra_options"].items():
            fields[name] = option["default_value"] or (option["choices"] or [""])[0]
        changes = changes or {}
        assert set(changes) <= set(fields), "the page has no such field"
        return {name: as_shown(value) for name, value in (fields | changes).items()}

    def start(self, **changes: str) -> dict[str, Any]:
        """Press START in a form that shows what a new page shows, but for a pause: users that ask without one take all
        that the machine has. What the page is answered."""
        fresh = {"workload": "slow", "ms": "", "think_ms": "", "pause_ms": "20", "pace_ms": ""}
        answer: dict[str, Any] = json.loads(self.post("/swarm", self.form(fresh | changes)))
        return answer

    def edit(self, **changes: str) -> dict[str, Any]:
        """Press EDIT, and UPDATE in its form; what the page is answered."""
        answer: dict[str, Any] = json.loads(self.post("/swarm", self.form(changes, edit=True)))
        return answer

    def stats(self) -> dict[str, Any]:
        """What the page asks for every two seconds."""
        found: dict[str, Any] = json.loads(self.get("/stats/requests"))
        return found

    def until(self, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The first stats that are so."""

        stats: dict[str, Any] = {}

        def look() -> dict[str, Any] | None:
            nonlocal stats
            stats = self.stats()
            return stats if condition(stats) else None

        try:
            found: dict[str, Any] = until(look, every_s=0.1)  # a look takes Locust some milliseconds
        except TimeoutError:
            raise TimeoutError(f"{stats}\n{self._log.read_text()}") from None
        return found

    def noted(self) -> dict[tuple[Any, ...], Any]:
        """The facts that the timeline has so far."""
        return {tuple(key): value for *key, value in json.loads(self.get("/noted"))}

    def requests(self, name: str = "Aggregated") -> int:
        return sum(row["num_requests"] for row in self.stats()["stats"] if row["name"] == name)

    def exceptions(self) -> list[Any]:
        """The page's tab of that name."""
        found: list[Any] = json.loads(self.get("/exceptions"))["exceptions"]
        return found

    def pool_rows(self) -> list[dict[str, Any]]:
        """The rows of the tab "Pool"."""
        return [row for table in self.stats().get("extended_stats", ()) for row in table["data"]]


def as_shown(value: object) -> str:
    """As a field of the form has it."""
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
