"""deploy/drain.py: what it refuses before it starts anything, and that no signal is lost on it."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from served import ROOT, free_port, until

DRAIN = [sys.executable, str(ROOT / "deploy/drain.py")]


@pytest.mark.parametrize(
    ("arguments", "drain_s", "said"),
    [
        ((), "", "usage: "),
        (("127.0.0.1", "abc", "true"), "", "'abc' is no port: give one, or a range, as in 8001-8004"),
        (("127.0.0.1", "8004-8001", "true"), "", "is no port"),
        (("127.0.0.1", "70000", "true"), "", "is no port"),
        (("192.0.2.1", "8001", "true"), "", "no port of 8001 on 192.0.2.1 is to be had: "),
        # At SIGTERM it would be too late to say so: gunicorn was left behind.
        (("127.0.0.1", "8001", "true"), "soon", "DRAIN_S='soon' is not accepted: give seconds, 0 to 3600"),
        (("127.0.0.1", "8001", "true"), "nan", "DRAIN_S='nan' is not accepted"),
    ],
)
def test_it_says_what_it_does_not_accept(arguments: tuple[str, ...], drain_s: str, said: str) -> None:
    done = subprocess.run([*DRAIN, *arguments], env={"DRAIN_S": drain_s}, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert said in done.stderr


@pytest.mark.parametrize(("command", "code"), [("exit 3", 3), ("kill -9 $$", 137)])
def test_it_ends_as_its_command_ends(command: str, code: int) -> None:
    done = subprocess.run([*DRAIN, "127.0.0.1", str(free_port()), "sh", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, "")
    missing = subprocess.run([*DRAIN, "127.0.0.1", str(free_port()), "no-such-program"], capture_output=True, text=True)
    assert missing.returncode == 127
    assert missing.stderr.startswith("no-such-program cannot be started: ")


@pytest.mark.parametrize("late_s", [0.0, 0.02, 0.04, 0.08])
def test_it_leaves_nothing_behind_whenever_it_is_told_to_end(late_s: float, tmp_path: Path) -> None:
    """From the moment at which it has a port: between its fork and its handler it was killed, and its command lived."""
    at = tmp_path / "port"
    environment = {"PORT_FILE": str(at), "DRAIN_S": "0", "TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    port = free_port()
    command = [*DRAIN, "127.0.0.1", str(port), "sleep", f"240{port}"]  # which no other process does
    with subprocess.Popen(command, env=environment) as process:
        until(at.exists, every_s=0.001)
        time.sleep(late_s)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 143
    assert not [each for each in psutil.process_iter(["cwd", "cmdline"]) if each.info["cmdline"] == command[-2:]]
    assert [each.name for each in tmp_path.iterdir()] == ["port"], "its folder"
