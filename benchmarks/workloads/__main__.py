"""`python -m benchmarks.workloads` (`make workloads`): sweep every workload twice, write docs/workloads.md.

About half an hour, which wants a quiet machine. What is done is kept in .local/workloads, so that it can be cut off
and typed again; `--minutes N` cuts it off by itself, `--fresh` forgets what is done, `--page` writes the page from
docs/data alone.
"""

import os
import subprocess
import sys

from benchmarks import sweeps
from pooldemo.sweep.stacks.stack import ROOT


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    from benchmarks.workloads import page

    piece = sweeps.Piece.read(__doc__)
    if not piece.page:
        folder = piece.folder("workloads")
        subprocess.run([sys.executable, "manage.py", "migrate", "-v", "0"], cwd=ROOT, check=True)
        for load in page.LOADS:
            document = folder / f"{load.workload}-{load.seed}.json"
            if not sweeps.run(load, os.environ.get("DATABASE_URL", ""), document, piece.seconds_left):
                print("cut off; what is done is kept: the same once more goes on", file=sys.stderr)
                return 130
        page.store(folder)
    page.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
