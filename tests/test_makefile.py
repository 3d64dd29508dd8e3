"""The environment that `make` makes: with uv or pip, interrupted, moved, changed, or impossible.

Python and uv are fakes that write what they were told to a log; the expectation is the log. CI makes the real one.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STRANGER = 64999  # a user id that owns nothing here
TOOLS = (
    "sleep",
    "tail",
    "sh",
    "make",
    "pwd",
    "cksum",
    "cut",
    "grep",
    "sed",
    "awk",
    "rm",
    "touch",
    "mkdir",
    "cp",
    "cat",
    "dirname",
    "chmod",
)

PYTHON = """#!/bin/sh
case "$1 ${2:-}" in
    *ensurepip*) [ -z "${NO_ENSUREPIP:-}" ]; exit ;;
    "-c "*version_info*) [ -z "${FREE_THREADED:-}" ]; exit ;;
    "-c "*flock*) [ -z "${REAL_PYTHON:-}" ] || exec "$REAL_PYTHON" "$@"; exit ;;
    "-c "*python_version_tuple*) echo "python3.${MINOR:-12}"; exit ;;
    "-c "*print*) echo "3.${MINOR:-12}.1${FREE_THREADED:-}"; exit ;;
    "-c "*) exit 0 ;;
    "-m venv") mkdir -p "$3/bin" "$3/lib/python3.${MINOR:-12}"; echo "VIRTUAL_ENV=$PWD/$3" >"$3/bin/activate"
        sed "2iMINOR=${MINOR:-12}" "$0" >"$3/bin/python"; chmod +x "$3/bin/python" ;;
    "-m pip") [ "$3" = install ] || exit 0; [ "${PIP_USER:-0}" = 0 ] || exit 1; [ -z "${INTERRUPTED:-}" ] || exit 130
        echo "Collecting Django"; [ -z "${PIP_SAYS:-}" ] || { echo "$PIP_SAYS"; exit 1; }
        case "$*" in *fast.txt*) [ -z "${NO_COMPILER:-}" ] || exit 1 ;; esac ;;
esac
echo "python $*" >>"$LOG"
"""
UV = """#!/bin/sh
[ "$1" != cache ] || { echo "$HOME/.cache/uv"; exit; }
[ -n "${UV_NO_CACHE:-}" ] || mkdir -p "$HOME/.cache/uv" || exit
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

    def make(self, *arguments: str, user: int | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """`make environment` with these arguments and variables."""
        process = self.begin(*arguments, user=user, **environment)
        out, errors = process.communicate(timeout=240)
        return subprocess.CompletedProcess(process.args, process.returncode, out, errors)

    def begin(self, *arguments: str, user: int | None = None, **environment: str) -> "subprocess.Popen[str]":
        """The same, without waiting for its end."""
        env = {"PATH": str(self.tools), "LOG": str(self.log), "PYTHON": str(self.tools / "python3.12")}
        env |= {"HOME": str(self.folder.parent), **environment}
        command, pipe = ["make", "environment", *arguments], subprocess.PIPE
        return subprocess.Popen(command, cwd=self.folder, env=env, stdout=pipe, stderr=pipe, text=True, user=user)

    def said(self) -> list[str]:
        """What Python and uv were told since the last time."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [re.sub(r" --\S+( off)?", "", line) for line in lines]


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


def test_it_takes_uv_under_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, uv=True)
    result = checkout.make(HOME="/dev/null")  # no mode holds root back
    assert result.returncode == 0, result.stderr
    assert "/dev/null" not in result.stderr
    assert checkout.said() == ["uv venv", "uv pip", "uv pip"]


def test_it_installs_there_whatever_pip_does_elsewhere(checkout: Checkout) -> None:
    assert checkout.make(PIP_USER="1").returncode == 0
    assert checkout.said() == [VENV, PIP, FAST]


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


def test_it_waits_for_another_make_that_is_at_it(checkout: Checkout) -> None:
    """`make run` beside the first `make demo` took its half-made environment away."""
    with (checkout.folder / "bin/environment").open() as script:
        fcntl.flock(script, fcntl.LOCK_EX)
        second = checkout.begin(REAL_PYTHON=sys.executable)
        assert second.stderr
        assert second.stderr.readline() == "Another make is at it already: waiting for it\n"
        assert checkout.said() == []
    assert second.communicate()[1].startswith("Making .venv")
    assert checkout.said() == [VENV, PIP, FAST]


def test_it_makes_the_environment_where_nothing_can_be_locked(checkout: Checkout, tmp_path: Path) -> None:
    """On NFS who only reads a file cannot lock it for himself."""
    refuses = "import fcntl\n\ndef flock(*_):\n    raise OSError(9, 'Bad file descriptor')\n\nfcntl.flock = flock\n"
    (tmp_path / "sitecustomize.py").write_text(refuses)
    done = checkout.make(REAL_PYTHON=sys.executable, PYTHONPATH=str(tmp_path))
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert checkout.said() == [VENV, PIP, FAST]


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


def test_it_makes_the_environment_again_with_another_version_that_is_asked_for(checkout: Checkout) -> None:
    """`make PYTHON=python3.13 test` beside one of 3.12 said nothing, and tested on 3.12."""
    checkout.make()
    checkout.said()
    other = checkout.folder / "an other python"
    other.symlink_to(checkout.tools / "python3.12")
    result = checkout.make(PYTHON=str(other), MINOR="13")
    assert f"has Python 3.12.1, and PYTHON={other} is 3.13.1: making it again" in result.stderr
    assert checkout.said() == [VENV, PIP, FAST]
    for same in (checkout.make(PYTHON=str(other), MINOR="13"), checkout.make(PYTHON="", MINOR="14")):
        assert (same.returncode, same.stderr, checkout.said()) == (0, "", [])
    assert "PYTHON=/nowhere/python3 is no Python" in checkout.make(PYTHON="/nowhere/python3").stderr


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
    assert "PYTHON=/nowhere/python3 is no Python; accepted: Python 3.11 to 3.14, not free-threaded" in result.stderr


def test_it_refuses_a_free_threaded_python(checkout: Checkout) -> None:
    result = checkout.make(FREE_THREADED=" (free-threaded)")
    assert result.returncode != 0
    assert "is 3.12.1 (free-threaded); accepted: Python 3.11 to 3.14, not free-threaded" in result.stderr


def test_it_keeps_what_pip_says_for_itself(checkout: Checkout) -> None:
    result = checkout.make()
    assert "Collecting" not in result.stdout + result.stderr
    assert "Collecting Django" in (checkout.folder / ".venv/install.log").read_text()


@pytest.mark.parametrize(
    ("said", "cure"),
    [
        ("OSError: [Errno 28] No space left on device", "make room (df -h ."),
        ("PermissionError: [Errno 13] Permission denied", "make it yours (chown -R)"),
        ("error: command 'gcc' failed: No such file", "apt install build-essential python3-dev"),
        ("ERROR: No matching distribution found for Django", "look at the network, or at the index of pip"),
        ("error: Failed to fetch: `https://pypi.org/simple/rich/`", "look at the network, or at the index of pip"),
        ("error: Failed to fetch; cause: invalid peer certificate: UnknownIssuer", "export SSL_CERT_FILE=FILE (uv)"),
        ("SSLError: certificate verify failed. No matching distribution found for Django", "PIP_CERT=FILE (pip)"),
        ("ERROR: whatever else", "Try it anew: rm -r .venv"),
    ],
)
def test_it_shows_what_pip_said_when_it_failed_and_what_to_type(checkout: Checkout, said: str, cure: str) -> None:
    result = checkout.make(PIP_SAYS=said)
    assert result.returncode != 0
    assert said in result.stderr
    assert ".venv/install.log" in result.stderr
    assert cure in result.stderr


def test_it_says_that_the_folder_cannot_be_written() -> None:
    with tempfile.TemporaryDirectory(prefix="pooldemo-test-") as name:  # pytest's own folders are their owner's alone
        Path(name).chmod(0o755)
        checkout = Checkout(Path(name))
        checkout.folder.chmod(0o555)
        result = checkout.make(user=STRANGER if os.geteuid() == 0 else None)  # no mode holds root back
        checkout.folder.chmod(0o755)
    assert result.returncode != 0
    assert "checkout cannot be written: make it yours (chown -R), or work in a copy of it" in result.stderr


def test_it_takes_nothing_of_an_environment_that_another_has_made() -> None:
    with tempfile.TemporaryDirectory(prefix="pooldemo-test-") as name:
        Path(name).chmod(0o755)
        checkout = Checkout(Path(name))
        checkout.make()
        (checkout.folder / ".venv").chmod(0o555)
        result = checkout.make(MINOR="13", user=STRANGER if os.geteuid() == 0 else None)
        (checkout.folder / ".venv").chmod(0o755)
    assert result.returncode != 0
    assert "rm:" not in result.stderr
    assert "checkout cannot be written: make it yours (chown -R), or work in a copy of it" in result.stderr


def test_it_finds_a_python_that_fits(checkout: Checkout) -> None:
    assert checkout.make(PYTHON="").returncode == 0
    assert checkout.said() == [VENV, PIP, FAST]


@pytest.mark.parametrize(("given", "accepted"), [("abc", False), ("0", False), ("-1", False), ("", True), ("10", True)])
def test_it_says_how_many_workers_it_accepts(checkout: Checkout, given: str, accepted: bool) -> None:
    """gunicorn reads the variable while it is imported: whoever refuses it in words must stand before that."""
    done = checkout.make("run", WEB_CONCURRENCY=given)
    said = f"WEB_CONCURRENCY='{given}' is not accepted: give a whole number from 1"
    assert (said in done.stderr, done.returncode == 0) == (not accepted, accepted), done.stderr
    assert any("gunicorn" in each for each in checkout.said()) is accepted


def test_it_takes_no_settings_of_another_project(checkout: Checkout) -> None:
    (checkout.folder / "probe.mk").write_text('probe: ; @echo "<$$DJANGO_SETTINGS_MODULE$$PYTHONSAFEPATH>"\n')
    files = ("-f", "Makefile", "-f", "probe.mk", "probe")
    assert "<>" in checkout.make(*files, DJANGO_SETTINGS_MODULE="shop.settings", PYTHONSAFEPATH="1").stdout


def test_it_lists_every_target_in_help() -> None:
    makefile = (ROOT / "Makefile").read_text()
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^  make (\S+)  +\S", listed, re.MULTILINE) == re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)


def test_it_runs_targets_of_which_there_is_a_folder_too() -> None:
    rules = subprocess.run(["make", "-pn", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (phony,) = re.findall(r"^\.PHONY: (.*)$", rules, re.MULTILINE)
    assert {"peers", "test", "help"} <= set(phony.split())


def test_it_stops_the_embedded_postgresql_after_what_starts_it() -> None:
    """`demo` and gunicorn do so themselves; `bench`, `fleet`, `check` start none. Of the tests' workers one that is
    killed cannot."""
    recipes = dict(
        re.findall(r"^([a-z0-9-]+):[^\n]*\n((?:\t[^\n]*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    )
    starts = re.compile(r"manage\.py sweep|tests\.django_own|\(PY\) -m pytest -n|benchmarks\.(?!pool|fleet)")
    starting = {name for name, recipe in recipes.items() if starts.search(recipe)}
    assert starting == {"sweep", "test", "test-django", "stacks", "workloads", "chaos", "soak"}
    assert starting == {
        name for name, recipe in recipes.items() if re.search(r"\$\(ALL_ENDED\).*\$\(AFTERWARDS\)", recipe)
    }


def test_it_stops_the_embedded_postgresql_whatever_comes_meanwhile(tmp_path: Path) -> None:
    (tmp_path / ".local").mkdir()
    python = tmp_path / "python"
    signals = "kill -INT 0; kill -TERM 0; kill -HUP 0"
    commands = f'*"postgres stop"*) {signals}; touch stopped;; sweep) trap : INT TERM HUP; {signals};;'
    python.write_text(f'#!/bin/sh\ncase "$*" in {commands} esac\n')
    python.chmod(0o755)
    once = ("--eval", "once: ; @$(ALL_ENDED) $(PY) sweep; $(AFTERWARDS)", f"PY=./{python.name}", "once")
    env = {"PATH": os.environ["PATH"]}
    # Its output ends when all of its processes have.
    subprocess.run(
        ["make", "-f", ROOT / "Makefile", *once], cwd=tmp_path, env=env, start_new_session=True, capture_output=True
    )
    assert (tmp_path / "stopped").exists()
