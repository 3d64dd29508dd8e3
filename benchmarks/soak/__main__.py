"""`python -m benchmarks.soak` (`make soak`): an hour of mixed load and trouble in both pool modes, and docs/soak.md.

A modest rate, about a fifth of a core: it can run beside other work. `--minutes 2` for a look, which writes no page.
Exit code 1: something grew, a row is wrong, or a slot did not come home.
"""

import argparse
import json
import os
import signal
import sys
import time
from dataclasses import asdict

HOUR_MINUTES = 60.0
LEAST_S = 100.0  # of samples, for a slope


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    from benchmarks.soak import page
    from benchmarks.soak.hour import Result, soak
    from pooldemo.sweep.stacks.stack import ROOT, make_folder

    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=HOUR_MINUTES)
    parser.add_argument("--rate", type=float, default=4.0, help="requests a second to each site (default 4)")
    parser.add_argument("--page", action="store_true", help="only write the page anew, from the last hour's samples")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or PostgreSQL, which is not our child, would go on
    folder = ROOT / ".local" / "soak"
    make_folder(folder)
    kept = folder / "samples.json"
    whole = False
    if options.page:
        results = [Result(**each) for each in json.loads(kept.read_text())]
    else:

        def say(text: str) -> None:
            print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

        results = soak(options.minutes * 60, options.rate, folder, say)
        whole = results[0].seconds >= 60 * HOUR_MINUTES
        (kept if whole else folder / "look.json").write_text(json.dumps([asdict(each) for each in results]))
    if results[0].seconds < LEAST_S:
        return 130
    print(page.table(results))
    if options.page or whole:
        page.write(results)
    complaints = page.complaints(results)
    for each in complaints:
        print(each, file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
