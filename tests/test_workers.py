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


def killed(code: str) -> str:
    """What a process printed that runs the code and is killed after it."""
    code += "\nimport os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    command, pipe = [sys.executable, "-c", code], subprocess.PIPE
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        process.wait()  # it may still write the end of it
    assert process.returncode == -signal.SIGKILL, said
    return said


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's")
def test_a_site_ends_with_the_worker_that_started_it(database_url: str, log: Path) -> None:
    pid = killed(
        "from pathlib import Path; from served import Site\n"
        f"site = Site({database_url!r}, Path({str(log)!r})).__enter__()\n"
        "print(site.process.pid, flush=True)"
    )
    until(lambda: not psutil.pid_exists(int(pid)))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's")
def test_what_a_worker_has_forked_ends_with_it(tmp_path: Path) -> None:
    """It went on with all tests of its module, and kept the embedded PostgreSQL for them."""
    task = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    pid = killed(
        "import threading; from pathlib import Path; from forks import Forks, Run; from served import until\n"
        f"folder = Path({str(tmp_path)!r}); forks = Forks(folder, '', limit_s=3600).__enter__()\n"
        f"threading.Thread(target=forks.run, args=[Run({task!r}, ['task'])], daemon=True).start()\n"
        "print(until(lambda: (folder / '1.stdout').exists() and (folder / '1.stdout').read_text()), flush=True)"
    )
    until(lambda: not psutil.pid_exists(int(pid)))


def test_a_postgresql_of_its_own_ends_with_the_worker_that_started_it() -> None:
    """Nobody else knew of it."""
    pid, folder = killed(
        "from own_folders import folder_of_servers; from pooldemo.embedded import EmbeddedPostgres\n"
        "opened = folder_of_servers('pooldemo-test-'); folder = opened.__enter__()\n"
        "server = EmbeddedPostgres(folder / '.local', tell=lambda text: None); server.ensure()\n"
        "print(server.status().pid, folder, flush=True)"
    ).split()
    until(lambda: not psutil.pid_exists(int(pid)) and not Path(folder).exists())
