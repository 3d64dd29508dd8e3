"""`python -m benchmarks.workloads` (`make workloads`): sweep every workload twice, write docs/workloads.md.

About half an hour, which wants a quiet machine. What is done is kept in .local/workloads, so that it can be cut off
and typed again; `--minutes N` cuts it off by itself, `--fresh` forgets what is done, `--page` writes the page from
docs/data alone.
"""

import argparse
import os
import subprocess
import sys
import time

from benchmarks import sweeps
from pooldemo.stacks.stack import ROOT

DONE = ROOT / ".local" / "workloads"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=600)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--page", action="store_true")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    from benchmarks.workloads import page

    if not options.page:
        ends_s = time.monotonic() + options.minutes * 60
        if not measure(options.fresh, ends_s):
            print("cut off; what is done is kept: the same once more goes on", file=sys.stderr)
            return 130
        page.store(DONE)
    page.write()
    return 0


def measure(fresh: bool, ends_s: float) -> bool:
    """Sweep what was not swept yet; whether all is."""
    from benchmarks.workloads.page import LOADS

    DONE.mkdir(parents=True, exist_ok=True)
    if fresh:
        for document in DONE.glob("*.json"):
            document.unlink()
    subprocess.run([sys.executable, "manage.py", "migrate", "-v", "0"], cwd=ROOT, check=True)
    return all(
        sweeps.run(
            load,
            os.environ.get("DATABASE_URL", ""),
            DONE / f"{load.workload}-{load.seed}.json",
            lambda: max(1.0, ends_s - time.monotonic()),
        )
        for load in LOADS
    )


if __name__ == "__main__":
    sys.exit(main())
