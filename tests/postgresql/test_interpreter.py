"""On which Python the backend is not to be had."""

import subprocess
import sys

from served import ROOT


def test_it_refuses_a_python_that_runs_without_its_gil() -> None:
    code = "import sys; sys._is_gil_enabled = lambda: False; import pooldemo.postgresql.base"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ImproperlyConfigured: ENGINE 'pooldemo.postgresql' needs Python's global lock (GIL)" in done.stderr
    assert "PYTHON_GIL=1" in done.stderr
