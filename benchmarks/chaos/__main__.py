"""`python -m benchmarks.chaos` (`make chaos`): let everything go wrong under load, and write docs/chaos.md.

Each fault happens to each stack, under a real gunicorn and Locust, over a PostgreSQL of its own. A quarter of an hour;
`--only NAME`, which may be given several times, lets happen what is named and leaves the page as it is.
Exit code 1: `pooldemo` broke a promise, in whichever mode.
"""

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.markup import escape

STACKS = ("pooldemo", "pooldemo-transaction", "geventpool")


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    from benchmarks.chaos import page, scene
    from benchmarks.chaos.faults import FAULTS
    from benchmarks.stacks.database import own_postgresql
    from pooldemo.sweep.measure import database
    from pooldemo.sweep.measure.process import Ledger, clean_up
    from pooldemo.sweep.stacks.stack import ROOT

    names = [each.name for each in FAULTS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}")
    parser.add_argument("--stack", action="append", choices=STACKS, help="one stack instead of all")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or PostgreSQL, which is not our child, would go on
    stacks = options.stack or list(STACKS)
    chosen = [each for each in FAULTS if not options.only or each.name in options.only]
    console, progress = Console(), Console(stderr=True)
    outcomes = []
    processes = ROOT / ".local" / "run"
    for what in clean_up(processes):
        progress.print(f"stopped what an earlier run left: {what}")
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # root's stand-in must come in
        ledger = Ledger(processes)
        with own_postgresql(Path(folder) / "local") as postgresql:
            scene.prepare(postgresql)
            conditions = database.conditions(postgresql.url, ROOT, "")
            for number, fault in enumerate(chosen, 1):
                for stack in stacks:
                    progress.print(f"[{number}/{len(chosen)}] {fault.name}, {stack}: {escape(fault.about)}")
                    outcomes.append(scene.run(fault, stack, postgresql, ledger))
                    progress.print(f"    {page.told(outcomes[-1])}", highlight=False)
        ledger.close()
    page.show(outcomes, console)
    if not options.only and not options.stack:
        page.write(outcomes, chosen, conditions)
    return 0 if all(each.kept for each in outcomes if each.stack.startswith("pooldemo")) else 1


if __name__ == "__main__":
    sys.exit(main())
