"""On a machine without a Chromium: one line, and an error where it is required."""

import os
import subprocess
import sys

from served import ROOT


def run(**environment: str) -> "subprocess.CompletedProcess[str]":
    given = {name: value for name, value in os.environ.items() if name != "REQUIRE_BROWSER"}
    given |= {"PATH": "/nowhere", **environment}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/browser/test_pages.py"]
    return subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, timeout=120, check=False)


def test_it_leaves_them_out_and_says_in_one_line_how_to_have_them() -> None:
    done = run()
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("apt-get install chromium") == 1
    assert " skipped" in done.stdout


def test_it_is_an_error_where_a_browser_is_required() -> None:
    done = run(REQUIRE_BROWSER="1")
    assert done.returncode != 0
    assert "REQUIRE_BROWSER is set, and there is no Chromium" in done.stderr
