"""The environment that `make` makes: with uv or pip, interrupted, moved, changed, or impossible.

Python and uv are fakes that write what they were told to a log; the expectation is the log. CI makes the real one.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("sh", "make", "pwd", "cksum", "cut", "grep", "sed", "awk", "rm", "touch", "mkdir", "cp", "cat", "dirname")

PYTHON = """#!/bin/sh
case "$1 ${2:-}" in
    *ensurepip*) [ -z "${NO_ENSUREPIP:-}" ]; exit ;;
    "-c "*version_info*) exit 0 ;;
    "-c "*print*) echo 3.12.1; exit ;;
    "-c "*) exit 0 ;;
    "-m venv") mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; echo "VIRTUAL_ENV=$PWD/$3" >"$3/bin/activate" ;;
    "-m pip") [ "$3" = install ] || exit 0; [ -z "${INTERRUPTED:-}" ] || exit 130
        case "$*" in *fast.txt*) [ -z "${NO_COMPILER:-}" ] || exit 1 ;; esac ;;
esac
echo "python $*" >>"$LOG"
"""
UV = """#!/bin/sh
if [ "$1" = venv ]; then for venv; do :; done; mkdir -p "$venv/bin"; cp "$PYTHON" "$venv/bin/python"
    echo "VIRTUAL_ENV=$PWD/$venv" >"$venv/bin/activate"; fi
echo "uv $1" >>"$LOG"
"""


class Checkout:
    """A folder with this Makefile, two requirements files, and a PATH on which only fakes and plain tools lie."""

    def __init__(self, folder: Path, uv: bool = False) -> None:
        self.folder, self.log = folder / "checkout", folder / "log"
        self.tools = folder / "tools"
        (self.folder / "bin").mkdir(parents=True)
        self.tools.mkdir()
        for tool in TOOLS:
            (self.tools / tool).symlink_to(shutil.which(tool) or f"/bin/{tool}")
        for name, text in [("python3.12", PYTHON)] + ([("uv", UV)] if uv else []):
            (self.tools / name).write_text(text)
            (self.tools / name).chmod(0o755)
        for name in ("Makefile", "bin/environment"):
            shutil.copy(ROOT / name, self.folder / name)
        (self.folder / "requirements").mkdir()
        for name in ("requirements.txt", "requirements/fast.txt", "requirements/dev.txt"):
            (self.folder / name).write_text("")

    def make(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """`make environment` with these arguments and variables."""
        env = {"PATH": str(self.tools), "LOG": str(self.log), "PYTHON": str(self.tools / "python3.12"), **environment}
        command = ["make", "environment", *arguments]
        return subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=60)

    def said(self) -> list[str]:
        """What Python and uv were told since the last time."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [re.sub(r" --\S+( on)?", "", line) for line in lines]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


VENV = "python -m venv .venv"
PIP = "python -m pip install -r requirements.txt -r requirements/dev.txt"
FAST = "python -m pip install -r requirements/fast.txt"


def test_it_makes_the_environment_once(checkout: Checkout) -> None:
    assert checkout.make().returncode == 0
    assert checkout.said() == [VENV, PIP, FAST]
    assert checkout.make().returncode == 0
    assert checkout.said() == []


def test_it_takes_uv_where_it_is_on_the_path(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, uv=True)
    assert checkout.make().returncode == 0
    assert checkout.said() == ["uv venv", "uv pip", "uv pip"]


def test_it_installs_again_when_a_requirements_file_changed(checkout: Checkout) -> None:
    checkout.make()
    checkout.said()
    stamps = [path.stat().st_mtime for path in (checkout.folder / ".venv").glob(".*-*")]
    os.utime(checkout.folder / "requirements/dev.txt", (max(stamps) + 10, max(stamps) + 10))
    assert checkout.make().returncode == 0
    assert checkout.said() == [PIP, FAST]


def test_it_goes_on_after_an_interrupted_install(checkout: Checkout) -> None:
    assert checkout.make(INTERRUPTED="1").returncode != 0
    assert checkout.said() == [VENV]
    assert checkout.make().returncode == 0
    assert checkout.said() == [PIP, FAST]


def test_it_makes_the_environment_of_a_moved_checkout_again(checkout: Checkout) -> None:
    checkout.make()
    checkout.said()
    checkout.folder = checkout.folder.rename(checkout.folder.with_name("elsewhere"))
    assert checkout.make().returncode == 0
    assert checkout.said() == [VENV, PIP, FAST]


def test_it_makes_the_environment_again_when_its_python_is_gone(checkout: Checkout) -> None:
    checkout.make()
    checkout.said()
    python = checkout.folder / ".venv/bin/python"
    python.unlink()
    python.symlink_to("/nowhere/python3.12")
    assert checkout.make().returncode == 0
    assert checkout.said() == [VENV, PIP, FAST]


def test_it_names_the_package_where_venv_is_missing(checkout: Checkout) -> None:
    result = checkout.make(NO_ENSUREPIP="1")
    assert result.returncode != 0
    assert "apt install python3-venv" in result.stderr
    assert not (checkout.folder / ".venv").exists()


def test_it_goes_on_without_a_c_compiler(checkout: Checkout) -> None:
    result = checkout.make(NO_COMPILER="1")
    assert result.returncode == 0
    assert "gunicorn will parse HTTP in Python" in result.stderr
    assert checkout.said() == [VENV, PIP]


def test_it_names_the_versions_it_accepts(checkout: Checkout) -> None:
    result = checkout.make(PYTHON="/nowhere/python3")
    assert result.returncode != 0
    assert "PYTHON=/nowhere/python3 is no Python; accepted: Python 3.11 to 3.14." in result.stderr


def test_it_finds_a_python_that_fits(checkout: Checkout) -> None:
    assert checkout.make(PYTHON="").returncode == 0
    assert checkout.said() == [VENV, PIP, FAST]


def test_it_lists_every_target_in_help() -> None:
    makefile = (ROOT / "Makefile").read_text()
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^  make (\S+)  +\S", listed, re.MULTILINE) == re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)


def test_it_runs_targets_of_which_there_is_a_folder_too() -> None:
    rules = subprocess.run(["make", "-pn", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (phony,) = re.findall(r"^\.PHONY: (.*)$", rules, re.MULTILINE)
    assert {"peers", "test", "help"} <= set(phony.split())


def test_it_stops_the_embedded_postgresql_after_what_starts_it() -> None:
    """`demo` and `test` do so themselves; `bench` and `check` start none."""
    recipes = dict(
        re.findall(r"^([a-z0-9-]+):[^\n]*\n((?:\t[^\n]*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    )
    starts = re.compile(r"gunicorn|manage\.py sweep|tests\.django_own|benchmarks\.(?!pool)")
    starting = {name for name, recipe in recipes.items() if starts.search(recipe)}
    assert starting == {"run", "sweep", "test-django", "stacks", "workloads", "chaos"}
    assert starting <= {name for name, recipe in recipes.items() if "$(AFTERWARDS)" in recipe}
