"""A locust.conf of the user's beside the load of a trial."""

import json
import socket
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from forks import Run
from locust_forks import LocustForks
from served import ROOT

from pooldemo.sweep.generator import THEIRS
from pooldemo.sweep.measure import gate


@pytest.fixture
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocustForks]:
    with LocustForks(tmp_path_factory.mktemp("forks")) as forks:
        yield forks


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a site that never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


OPENED = "import os; ends = os.pipe(); os.write(ends[1], b'g'); os.dup2(ends[0], 0); "  # the gate
LOCUST = "import locust.main; locust.main.main()"
OWN_CONF = "processes = 2\nheadful = true\nhtml = report.html\nstop-timeout = 60\nshop = toys\n"
OWN_FILE = """
from locust import HttpUser, events, tag, task


@events.init_command_line_parser.add_listener
def add(parser):
    parser.add_argument("--shop")
    for name in ("workload", "pause-ms", "timeline"):  # which ours has as well
        parser.add_argument(f"--{name}", default="theirs")


class Shopper(HttpUser):
    @task
    @tag("buys")
    def buy(self):
        self.client.get(f"/{self.environment.parsed_options.shop}/", timeout=0.1)

    @task
    def look(self):
        self.client.get("/look/", timeout=0.1)
"""


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_a_trial_is_run_as_no_file_of_the_users_says(
    forks: LocustForks, silent: str, tmp_path: Path, whose: str
) -> None:
    """A locust.conf is for runs of their own: a trial failed without a word of it, or measured another load.

    It may say what users of a locustfile of theirs do, and what its options are, which may be called as ours are.
    """
    more = {"ours": "tags = [slow]\nms = 7\npause-ms = 60000\n", "theirs": "tags = [buys]\n"}[whose]
    for name in (".locust.conf", "locust.conf"):
        (tmp_path / name).write_text(OWN_CONF + more)
    (tmp_path / "theirs.py").write_text(OWN_FILE)
    files = [gate.__file__, str(ROOT / "locustfile.py"), *[str(tmp_path / "theirs.py")] * (whose == "theirs")]
    typed = ["locust", "-f", ",".join(files), "--headless", "-t", "2s", "--host", silent]
    prefix = "" if whose == "ours" else "pooldemo-"
    typed += [f"--{prefix}timeline", "t.json", "--exit-code-on-error", "0"]
    typed += ["--workload", "nodb"] * (whose == "ours")
    environment = {"HOME": str(tmp_path)} | ({THEIRS: "1"} if whose == "theirs" else {})
    [done] = forks.run(Run(OPENED + LOCUST, typed, tmp_path, environment))
    assert done.returncode == 0, done.stderr
    timeline = json.loads((tmp_path / "t.json").read_text())
    names = {name for second in timeline["seconds"] for name in second["workloads"]}
    assert (timeline["workload"], timeline["ms"], timeline["pause_ms"]) == (
        "nodb" if whose == "ours" else "slow",
        None,
        0,
    )
    assert names == (set() if whose == "ours" else {"/toys/"})
    assert len(timeline["generators"]) == 1, "no processes but those that the sweep asked for"
    assert not (tmp_path / "report.html").exists()


def test_it_says_that_a_locustfile_has_no_user(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Locust then reads all files again, for pytest's tests: installed, ours came under another name, and refused."""
    monkeypatch.setitem(sys.modules, "pooldemo.sweep.measure.locustfile", sys)
    with pytest.raises(SystemExit):
        gate.keep_out(ArgumentParser())
    assert "no User class was found in the locustfile" in capsys.readouterr().err
