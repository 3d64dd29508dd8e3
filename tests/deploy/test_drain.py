"""deploy/drain.py: what it refuses before it starts anything, and that no signal is lost on it."""

import contextlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from served import PATIENCE_S, ROOT, free_port, until

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


def test_it_starts_nothing_where_its_port_cannot_be_told(tmp_path: Path) -> None:
    environment = {"PORT_FILE": str(tmp_path / "none/port"), "TMPDIR": str(tmp_path)}
    command = [*DRAIN, "127.0.0.1", str(free_port()), "true"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == f"PORT_FILE={tmp_path / 'none/port'} cannot be written: No such file or directory\n"
    assert not list(tmp_path.iterdir())


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


@pytest.mark.parametrize(
    ("command", "more", "code"),
    [("exec sleep 240", signal.SIGTERM, 143), ("exec sleep 240", signal.SIGHUP, 129), ("sleep 1; exit 3", None, 3)],
)
def test_it_drains_no_longer_than_its_command_lives(
    command: str, more: signal.Signals | None, code: int, tmp_path: Path
) -> None:
    with draining(command, tmp_path) as process:
        if more is not None:
            process.send_signal(more)
        assert process.wait(PATIENCE_S) == code


def test_it_is_not_ended_by_a_signal_that_it_keeps_to_itself(tmp_path: Path) -> None:
    """SIGUSR2 is gunicorn's upgrade: it ended us, and left gunicorn behind."""
    with draining("exec sleep 240", tmp_path) as process:
        process.send_signal(signal.SIGUSR2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 143
    assert (tmp_path / "said").read_text() == "SIGUSR2 is not passed on: replace the host\n"


@pytest.mark.parametrize("is_full", [False, True])
def test_it_drains_also_where_its_folder_was_removed(is_full: bool, tmp_path: Path) -> None:
    """As systemd does in /tmp after ten days: it ended with a traceback, and left its command behind, serving."""
    (tmp_path / "own").mkdir()
    environment = {"DRAIN_S": "3600", "TMPDIR": str(tmp_path / "own"), "PATH": "/usr/bin:/bin"}
    line = [*DRAIN, "127.0.0.1", str(free_port()), "sh", "-c", "echo ready; exec sleep 240"]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=said, umask=0o077)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        (command,) = psutil.Process(process.pid).children()
        modes = [each.stat().st_mode & 0o777 for each in (tmp_path / "own").iterdir()]
        assert modes == [0o711], "gunicorn's workers may be somebody else (--user), and look there"
        shutil.rmtree(tmp_path / "own")
        if is_full:
            (tmp_path / "own").touch()
        else:
            (tmp_path / "own").mkdir()
        process.send_signal(signal.SIGTERM)
        told = [tmp_path / "said", tmp_path / "own"]
        until(lambda: process.poll() is not None or told[0].read_text() or list(told[1].glob("*/draining")))
        assert command.is_running()
        assert is_full or [each.stat().st_mode & 0o777 for each in (tmp_path / "own").iterdir()] == modes
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 143
    assert (tmp_path / "said").read_text().startswith("/readyz goes on saying yes: " if is_full else "")


@contextlib.contextmanager
def draining(command: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """It, with that command, an hour before the end of its drain."""
    environment = {"DRAIN_S": "3600", "TMPDIR": str(folder), "PATH": "/usr/bin:/bin"}
    line = [*DRAIN, "127.0.0.1", str(free_port()), "sh", "-c", f"echo ready; {command}"]
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=said)
    with process:
        assert process.stdout is not None
        family = [psutil.Process(process.pid)]
        try:
            assert process.stdout.readline() == b"ready\n"
            family += family[0].children(recursive=True)
            process.send_signal(signal.SIGTERM)
            until(lambda: list(folder.glob("*/draining")))
            yield process
        finally:
            for each in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
