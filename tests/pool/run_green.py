"""Runs the contract with greenlets: `python -m tests.pool.run_green ARGUMENTS-OF-PYTEST`, in a process of its own."""

from gevent import monkey

monkey.patch_all()

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# With neither Django nor the configuration of the other tests, but as strict as they are.
ARGUMENTS = ["-c", "/dev/null", f"--rootdir={HERE}", f"--confcutdir={HERE}", "-p", "no:django", "-p", "no:cacheprovider"]
ARGUMENTS += ["-W", "error", "--tb=short", "-q"]

if __name__ == "__main__":
    sys.exit(pytest.main([*ARGUMENTS, *sys.argv[1:]]))
