"""`python -m benchmarks.stacks` (`make stacks`): measure every stack, watch how it behaves, and write docs/stacks.md.

About a quarter of an hour. What is done is kept in .local/stacks, so that it can be cut off and typed again;
`--minutes N` cuts it off by itself, `--fresh` forgets what is done, `--page` writes the page from docs/data alone.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import sweeps
from pooldemo.sweep.stacks.stack import ROOT


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    from benchmarks.stacks import load, page

    piece = sweeps.Piece.read(__doc__)
    if not piece.page:
        folder = piece.folder("stacks")
        if not measure(folder, piece.seconds_left):
            print("cut off; what is done is kept: the same once more goes on", file=sys.stderr)
            return 130
        found = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
        page.store({each.workload: found[each.workload] for each in load.LOADS}, found["behaviour"], found["burst"])
    page.write()
    return 0


def measure(done: Path, seconds_left: Callable[[], float]) -> bool:
    """Do what is not `done` yet; whether all of it is."""
    from benchmarks.stacks import behaviour, bursts, load
    from benchmarks.stacks.database import own_postgresql
    from pooldemo.sweep import stacks

    with own_postgresql(done) as postgresql:
        environment = os.environ | {"DATABASE_URL": postgresql.url}
        subprocess.run([sys.executable, "manage.py", "migrate", "-v", "0"], cwd=ROOT, env=environment, check=True)
        for each in load.LOADS:
            if not sweeps.run(each, postgresql.url, done / f"{each.workload}.json", seconds_left):
                return False
        able = [name for name in load.NAMES if not stacks.get(name).missing()]
        experiments: dict[str, tuple[float, Callable[[Path], Any]]] = {
            "behaviour": (behaviour.TAKES_S, lambda folder: behaviour.observe(able, postgresql, folder)),
            "burst": (bursts.TAKES_S, lambda folder: bursts.run(postgresql.url, folder)),
        }
        for name, (takes_s, run) in experiments.items():
            document = done / f"{name}.json"
            if not document.exists():
                if seconds_left() < takes_s:
                    return False
                with tempfile.TemporaryDirectory() as folder:
                    document.write_text(json.dumps(run(Path(folder)), indent=1) + "\n")
    return True


if __name__ == "__main__":
    sys.exit(main())
