"""On a machine that lacks something: one line for what is left out, and an error where all is required."""

import os
import resource
import subprocess
import sys

import lacking
import pytest
from served import ROOT


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The browser's tests on a machine with nothing on its PATH."""
    given = {name: value for name, value in os.environ.items() if not name.startswith(("REQUIRE_", "PYTEST_"))}
    given |= {"PATH": "/nowhere", **environment}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/browser/test_pages.py",
        *arguments,
    ]
    return subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, timeout=600, check=False)


def test_it_leaves_them_out_and_says_in_one_line_how_to_have_them() -> None:
    done = run("-n", "1")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("apt-get install chromium") == 1
    assert " skipped" in done.stdout


def test_it_is_an_error_where_all_is_required() -> None:
    done = run("-n", "1", REQUIRE_ALL="1")  # said by the one process that deals out the tests
    assert done.returncode != 0
    assert "REQUIRE_ALL is set" in done.stderr
    assert "no Chromium on the PATH" in done.stderr


def test_it_names_the_environments_that_nobody_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lacking, "VENVS", (".venv-nobody-made",))
    assert lacking.environments() == ("the tests of the other stacks: no .venv-nobody-made; to have them: make peers")


@pytest.mark.parametrize(("most", "enough"), [(4096, False), (8192, True), (resource.RLIM_INFINITY, True)])
def test_it_names_the_files_that_haproxy_may_not_open(monkeypatch: pytest.MonkeyPatch, most: int, enough: bool) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, most))
    assert lacking.files() == (
        "" if enough else f"the tests of a fleet: HAProxy may open {most} files; to let it open enough: ulimit -Hn 8192"
    )
