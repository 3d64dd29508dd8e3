"""`python -m benchmarks.overload`: what is served when there is too much, and what is done for nobody.

Goodput at 0.5 to 3 times the capacity, first come first served beside shedding, of the pool alone and of the site; the
high lane beside a flood of low priority; queries whose clients have gone or whose deadline has passed. Writes
docs/overload.md and docs/deadlines.md; five minutes, which want a quiet machine. `--only PART` prints one of them.
"""

from gevent import monkey

monkey.patch_all()

from psycogreen.gevent import patch_psycopg  # noqa: E402  the patch comes first

patch_psycopg()

import argparse  # noqa: E402
import os  # noqa: E402
from pathlib import Path  # noqa: E402

import gevent  # noqa: E402

from benchmarks.markdown import table, with_tables  # noqa: E402
from benchmarks.overload.lanes import PATIENCE_S, SLOTS, Lane, pool, together  # noqa: E402

DOCS = Path(__file__).resolve().parents[2] / "docs"
MADE_BY = "python -m benchmarks.overload"
LOADS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
MODES = ("queue", "shed")
HOLD_S = 0.1


def alone() -> str:
    """Of the pool alone."""
    rows = []
    for load in LOADS:
        lanes = [Lane(pool(mode), load, HOLD_S, 7.0) for mode in MODES]
        together(*lanes)
        rows.append([f"{load:g}", *(f"{100 * lane.carried:.0f}%" for lane in lanes)])
    return table(("offered, of the capacity", *(f'`"{mode}"`' for mode in MODES)), rows)


def lanes() -> str:
    """Requests at a tenth of the capacity, alone and beside twice the capacity of low priority."""
    hold_s, window_s = 0.02, 50.0
    high, shared = Lane(pool(), 0.1, hold_s, window_s), pool(max_waiting=100)  # or thousands would wait
    beside, flood = Lane(shared, 0.1, hold_s, window_s), Lane(shared, 2, hold_s, window_s, low=True)
    together(high, beside, flood)
    return (
        f"The p99 of {len(beside.seconds)} requests at a tenth of the capacity: alone {high.p99_ms:.1f} ms, beside low "
        f"priority at twice the capacity {beside.p99_ms:.1f} ms, {beside.p99_ms / high.p99_ms:.2f} of it. Low priority "
        f"had {100 * flood.answered:.0f}% of what the slots can carry."
    )


def served() -> str:
    """Of the whole site, whose clients hang up after a second, or stay."""
    from benchmarks.overload.site import goodput, serving

    def cell(load: float, mode: str, stays: bool) -> str:
        with serving(SLOTS, OVERLOAD=mode, POOL_TIMEOUT=30) as server:
            good = goodput(server.port, f"/slow/?ms={1000 * HOLD_S:g}", load * SLOTS / HOLD_S, PATIENCE_S, stays)
        return f"{100 * good * HOLD_S / SLOTS:.0f}%"

    ways = [(mode, stays) for stays in (False, True) for mode in MODES]
    rows = []
    for load in LOADS:
        cells = [gevent.spawn(cell, load, *way) for way in ways]  # at once: they mostly sleep
        gevent.joinall(cells, raise_error=True)
        rows.append([f"{load:g}", *(each.value for each in cells)])
    head = [f'`"{mode}"`, clients {"stay" if stays else "hang up"}' for mode, stays in ways]
    return table(("offered, of the capacity", *head), rows)


def gone() -> str:
    from benchmarks.overload import limits

    head = (
        "stack",
        "others/s alone",
        "beside those who hang up",
        "of that",
        "queries seen",
        "ran on, ms: p50 / p99 / most",
    )
    return table(head, [limits.gone(stack, 8.0) for stack in ("pooldemo", "geventpool")])


def late() -> str:
    from benchmarks.overload import limits

    return table(("", "requests", "ms: p50 / p99 / most"), limits.late(10.0))


PARTS = {"goodput": alone, "lanes": lanes, "site": served, "gone": gone, "late": late}
PAGES = {"overload.md": ("goodput", "lanes", "site"), "deadlines.md": ("gone", "late")}


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=list(PARTS))
    only = parser.parse_args().only
    made = {}
    for name in only or PARTS:
        made[name] = PARTS[name]()
        print(made[name], end="\n\n", flush=True)
    for page, parts in PAGES.items():
        if not only:
            path = DOCS / page
            path.write_text(with_tables(path.read_text(), {part: made[part] for part in parts}, MADE_BY))


if __name__ == "__main__":
    main()
