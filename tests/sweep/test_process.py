"""Processes of a sweep: nothing of them is left, however it ends. The children are shells and sleeps."""

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
from served import ROOT, until

from pooldemo.sweep.analyse.ending import BY_WHOM
from pooldemo.sweep.analyse.warnings import brief
from pooldemo.sweep.measure.process import MARK, Child, Ledger, clean_up
from pooldemo.sweep.stacks.stack import make_folder

STUBBORN = "trap '' TERM; sleep 60 & echo $! >grandchild; wait; wait"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "run")
    yield ledger
    ledger.close()


def test_what_it_writes_in_a_project_its_git_does_not_see(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    make_folder(tmp_path / ".local" / "run")
    (tmp_path / ".local" / "run" / "page.log").touch()
    seen = subprocess.run(["git", "status", "--short"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert seen.stdout == ""


def test_what_it_writes_in_a_project_others_do_not_list(tmp_path: Path) -> None:
    """Logs have statements. Root's PostgreSQL, another account's, must pass `.local`."""
    umask = os.umask(0)
    try:
        make_folder(tmp_path / "site" / ".local" / "run")
    finally:
        os.umask(umask)
    made = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "site").rglob("*") if path.is_dir()}
    assert made == {".local": 0o711, "run": 0o700}


def shell(script: str, ledger: Ledger, folder: Path) -> Child:
    return Child("a shell", ["sh", "-c", script], ledger, folder / "log", dict(os.environ), folder)


def grandchild(folder: Path) -> int:
    path = folder / "grandchild"
    until(lambda: path.exists() and path.read_text().strip())
    return int(path.read_text())


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_it_kills_what_does_not_want_to_end_and_all_that_this_started(ledger: Ledger, tmp_path: Path) -> None:
    with shell(STUBBORN, ledger, tmp_path) as child:
        pid = grandchild(tmp_path)
        child.stop(grace_s=0.1)
        assert child.exit_code == -signal.SIGKILL
        assert gone(pid)


def test_it_kills_it_also_when_ctrl_c_comes_while_it_waits_for_its_end(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_grace_s: float) -> bool:
        raise KeyboardInterrupt

    with shell(STUBBORN, ledger, tmp_path) as child:
        pid = grandchild(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(child, "wait", interrupted)
            with pytest.raises(KeyboardInterrupt):
                child.stop()
        assert gone(pid)


def test_it_kills_what_a_child_that_has_ended_left_behind(ledger: Ledger, tmp_path: Path) -> None:
    with shell("sleep 60 & echo $! >grandchild", ledger, tmp_path) as child:
        pid = grandchild(tmp_path)
        assert child.wait(240)
    assert gone(pid)


def test_it_keeps_what_its_child_said_last(ledger: Ledger, tmp_path: Path) -> None:
    with shell("echo one; echo two >&2; exit 3", ledger, tmp_path) as child:
        assert child.wait(240)
        assert (child.exit_code, child.tail(1), child.ending) == (3, "two", "ended with 3: one\ntwo")


def test_it_says_that_its_child_was_killed(ledger: Ledger, tmp_path: Path) -> None:
    """It "ended with -9"."""
    with shell("echo begun; exec sleep 60", ledger, tmp_path) as child:
        assert child.ending == ""
        until(child.tail)
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait(240)
        assert child.ending == f"was killed by signal 9 (Killed), {BY_WHOM}: begun"
        assert "the kernel because memory ran out" in brief(f"the server {child.ending}")


def test_it_counts_the_cpu_of_the_whole_session(ledger: Ledger, tmp_path: Path) -> None:
    with shell("(while :; do :; done) & echo $! >grandchild; wait", ledger, tmp_path) as child:
        pid = grandchild(tmp_path)
        until(lambda: (used := child.cpu_s()).get(pid, 0.0) > 2 * used.get(child.pid, 1.0))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's; elsewhere the ledger serves")
def test_it_leaves_nothing_running_when_the_sweep_is_killed(tmp_path: Path) -> None:
    script = f"""
import os, sys
from pathlib import Path
from pooldemo.sweep.measure.process import Child, Ledger
folder = Path({str(tmp_path)!r})
child = Child("sleep", ["sleep", "60"], Ledger(folder / "run"), folder / "log", dict(os.environ), folder)
print(child.pid, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as sweep:
        assert sweep.stdout is not None
        pid = int(sweep.stdout.readline())
        assert not gone(pid)
        sweep.kill()
    until(lambda: gone(pid))


def test_it_stops_what_a_killed_sweep_left_running_and_names_it(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stray:
        write_ledger(tmp_path, stray.pid, psutil.Process(stray.pid).create_time())
        assert clean_up(tmp_path) == [f"a stray (process {stray.pid})"]
        assert stray.wait(240) == -signal.SIGKILL
    assert clean_up(tmp_path) == []


def test_it_removes_the_folders_that_a_killed_sweep_left_and_no_other(ledger: Ledger, tmp_path: Path) -> None:
    with ledger.temporary() as folder:
        told = json.loads(ledger.path.read_text())["folders"]
        assert told == [str(folder)]
        other = tmp_path / "sweep-of-somebody"
        other.mkdir()
        write_ledger(tmp_path, 999_999_999, 0.0, folders=[*told, str(other)])
        assert clean_up(tmp_path) == []
        assert not folder.exists()
        assert other.exists(), "no sweep makes one there"
        folder.mkdir()
    assert not folder.exists()


def test_it_spares_a_process_that_has_the_id_of_another(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as innocent:
        write_ledger(tmp_path, innocent.pid, psutil.Process(innocent.pid).create_time() - 100)
        assert clean_up(tmp_path) == []
        assert innocent.poll() is None
        innocent.kill()


def leaderless(folder: Path, **mark: str) -> tuple[int, int]:
    """A session whose leader has ended, and its one member."""
    script = "sleep 60 >/dev/null 2>&1 & echo $! >grandchild"
    with subprocess.Popen(["sh", "-c", script], cwd=folder, env=os.environ | mark, start_new_session=True) as leader:
        leader.wait(240)
    return leader.pid, grandchild(folder)


def test_it_spares_a_session_that_has_the_number_of_another_after_a_reboot(tmp_path: Path) -> None:
    leader, member = leaderless(tmp_path)
    write_ledger(tmp_path, leader, time.time() - 10**6)
    assert clean_up(tmp_path) == []
    assert not gone(member)
    os.kill(member, signal.SIGKILL)


def test_it_stops_what_a_killed_child_of_a_killed_sweep_left_running(tmp_path: Path) -> None:
    owner = (os.getpid(), 1000.0)
    leader, member = leaderless(tmp_path, **{MARK: f"{owner[0]}-{owner[1]:.2f}"})
    write_ledger(tmp_path, leader, time.time(), owner)
    assert clean_up(tmp_path) == [f"a stray (process {leader})"]
    until(lambda: gone(member))


def test_it_leaves_nothing_running_that_it_could_not_write_down(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        grandchild(tmp_path)
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(ledger, "_write", full)
    with pytest.raises(OSError, match="no space left"):
        shell("sleep 60 & echo $! >grandchild; wait", ledger, tmp_path)
    assert gone(grandchild(tmp_path))


def test_it_spares_the_children_of_a_sweep_that_runs(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the clock was set by an hour since it began."""
    with shell("sleep 60", ledger, tmp_path) as child:
        began = psutil.Process.create_time
        monkeypatch.setattr(psutil.Process, "create_time", lambda self: began(self) + 3600)
        assert clean_up(tmp_path / "run") == []
        assert child.exit_code is None
        monkeypatch.undo()


def write_ledger(
    folder: Path, pid: int, started: float, owner: tuple[int, float] | None = None, folders: Sequence[str] = ()
) -> None:
    """The ledger of a sweep that is no more."""
    owner = owner or (os.getpid(), time.time() - 10**6)  # this id, but another process
    children = [[pid, started, "a stray"]]
    (folder / "sweep-1.json").write_text(json.dumps({"owner": owner, "children": children, "folders": list(folders)}))
