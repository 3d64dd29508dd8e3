"""How the tests are dealt out to workers."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import workers
from served import ROOT, until


def test_it_gives_each_process_a_number_of_its_own_and_a_dead_ones_again(tmp_path: Path) -> None:
    first, lock = workers.take_number(tmp_path)
    second, other = workers.take_number(tmp_path)
    os.close(lock)
    again, last = workers.take_number(tmp_path)
    for each in (other, last):
        os.close(each)
    assert (first, second, again) == (1, 2, 1)


def test_it_keeps_together_what_shares_processes() -> None:
    assert workers.room("tests/peers/test_known_facts.py::test_x[a::b]") == workers.room(
        "tests/peers/test_stacks.py::test_y"
    )
    assert workers.room("tests/pool/test_cap.py::test_x[a::b]") == "tests/pool/test_cap.py"


def test_it_names_only_what_exists() -> None:
    for start in (*workers.TOGETHER, *workers.FIRST):
        assert list(ROOT.glob(f"{start}*")), f"{start} moved: it has no place of its own any more"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's")
def test_a_site_ends_with_the_worker_that_started_it(database_url: str, log: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from served import Site\n"
        f"site = Site({database_url!r}, Path({str(log)!r})).__enter__()\n"
        "print(site.process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    until(lambda: not psutil.pid_exists(int(done.stdout)))
