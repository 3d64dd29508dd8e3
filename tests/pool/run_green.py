"""Runs the contract with greenlets: `python -m tests.pool.run_green ARGUMENTS-OF-PYTEST`, in a process of its own."""

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402 - nothing may be imported before the patch
from pathlib import Path  # noqa: E402

import pytest  # noqa: E402

HERE = Path(__file__).parent
# With neither Django nor the configuration of the other tests, but as strict as they are.
ARGUMENTS = ["-c", "/dev/null", f"--rootdir={HERE}", f"--confcutdir={HERE}", "-W", "error", "--tb=short", "-q"]
ARGUMENTS += ["-p", "no:django", "-p", "no:cacheprovider"]

if __name__ == "__main__":
    sys.exit(pytest.main([*ARGUMENTS, *sys.argv[1:]]))
