"""`python -m benchmarks.verdicts [--sweeps 20]`: hold verdicts against known truths, write docs/verdicts.md.

Minutes of one core; nothing is measured, so any machine will do, and the same seeds give the same page.
"""

import argparse
import sys
from collections.abc import Iterator
from typing import TypeVar

from benchmarks.markdown import with_tables
from benchmarks.verdicts import page, score

MADE_BY = "python -m benchmarks.verdicts"
Found = TypeVar("Found")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=20, help="of each curve, grid and noise")
    parser.add_argument("--odd", type=int, default=400, help="with something odd, and of an SLO, under each noise")
    parser.add_argument("--runs", type=int, default=400, help="of A beside B, under each noise")
    options = parser.parse_args()
    said = list(tell(score.verdicts(options.sweeps), "verdicts"))
    odd = list(tell(score.odd(options.odd), "odd"))
    held = list(tell(score.objectives(options.odd), "objectives"))
    beside = list(tell(score.beside(options.runs), "beside"))
    tables = page.tables(said, odd, held, beside)
    page.PAGE.write_text(with_tables(page.PAGE.read_text(), tables, MADE_BY))
    print("\n\n".join(tables.values()))
    return 0


def tell(found: Iterator[Found], what: str) -> Iterator[Found]:
    """The same, with a line for every two thousand."""
    for number, each in enumerate(found, start=1):
        if not number % 2000:
            print(f"{what}: {number}", file=sys.stderr, flush=True)
        yield each


if __name__ == "__main__":
    sys.exit(main())
