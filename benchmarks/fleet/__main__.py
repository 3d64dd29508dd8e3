"""`python -m benchmarks.fleet` (`make fleet`): let a fleet fail under load, and write docs/fleet.md.

Two hosts behind HAProxy, straight on PostgreSQL and then by PgBouncer. Ten minutes; `--only NAME`, which may be given
several times, lets happen what is named and leaves the page as it is. Exit code 1: a promise was broken.
"""

import argparse
import os
import signal
import sys

from rich.console import Console
from rich.markup import escape


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    from benchmarks.chaos import page as rows
    from benchmarks.fleet import page, scene
    from benchmarks.fleet.faults import FAULTS
    from pooldemo.sweep.facts import Conditions
    from pooldemo.sweep.measure import database
    from pooldemo.sweep.measure.process import Ledger, clean_up
    from pooldemo.sweep.stacks.stack import ROOT

    names = [each.name for each in FAULTS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}")
    parser.add_argument("--way", action="append", choices=scene.WAYS, help="one way to PostgreSQL instead of both")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or PostgreSQL, which is not our child, would go on
    progress, processes = Console(stderr=True), ROOT / ".local" / "run"
    clean_up(processes)
    load = os.getloadavg()[0]
    ledger, found, conditions = Ledger(processes), {}, Conditions()
    for way in options.way or scene.WAYS:
        chosen = [each for each in FAULTS if each.way in ("", way) and (not options.only or each.name in options.only)]
        with scene.scene(way) as fleet:
            conditions = database.conditions(fleet.fleet.url, ROOT, "")
            for number, fault in enumerate(chosen, 1):
                progress.print(f"[{number}/{len(chosen)}] {fault.name}, {way}: {escape(fault.about)}")
                found[fault.name, way] = outcome = scene.run(fault, fleet, ledger)
                progress.print(f"    {rows.told(outcome)}", highlight=False)
    ledger.close()
    outcomes = [found[name, way] for name in names for way in scene.WAYS if (name, way) in found]
    print(page.markdown(outcomes))
    if not options.only and not options.way:
        page.write(outcomes, FAULTS, conditions, (load + os.getloadavg()[0]) / 2)
    return 0 if all(each.kept for each in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
