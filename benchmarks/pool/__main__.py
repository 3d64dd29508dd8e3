"""`python -m benchmarks.pool` (`make bench`): the tables, printed and written to docs/benchmarks.md with conditions."""

import argparse
import datetime as dt
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.markdown import with_tables

from . import instructions, requests
from .rounds import ENVIRONMENTS, OURS, ROOT, Medians, available, run

PAGE = ROOT / "docs" / "benchmarks.md"
VERSIONS = "import importlib.metadata as m; print(*(f'{n} {m.version(n)}' for n in %r), sep=', ')"
PACKAGES = {
    OURS: ["Django", "psycopg2-binary", "gevent", "django-db-geventpool"],
    ".venv-psycopg3": ["psycopg", "psycopg-pool"],
    ".venv-peers": ["DBUtils", "SQLAlchemy", "django-db-connection-pool"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21, help="of each table; 21 take about ten minutes")
    parser.add_argument("--beside", metavar="COMMIT", default="", help="ask the pool of this commit as well")
    given = parser.parse_args()
    names = [name for name in ENVIRONMENTS if available(name)]
    for name in sorted(set(ENVIRONMENTS) - set(names)):
        print(f"{name}: no {ENVIRONMENTS[name]}; `make peers` makes it", file=sys.stderr)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    commit = _said(["git", "describe", "--always", "--dirty"])  # before the page is written
    with database() as url, requests.ready(given.beside) as subjects:
        makes = {
            "requests": lambda: requests.table(requests.run(url, given.rounds, subjects)),
            "cost": lambda: table(run(names, given.rounds)),
        }
        if instructions.can_count():
            makes["instructions"] = lambda: of_instructions(url, subjects)
        else:
            print("instructions: no valgrind, which counts them", file=sys.stderr)
        for name, make in makes.items():
            others = Others()
            text = f"{make()}\n\n{conditions(commit, others, given.rounds if name != 'instructions' else 0)}"
            print(text, end="\n\n", flush=True)
            PAGE.write_text(with_tables(PAGE.read_text(), {name: text}, "make bench"))
    return 0


@contextmanager
def database() -> Iterator[str]:
    """That of DATABASE_URL, or one of this benchmark's own."""
    if url := os.environ.get("DATABASE_URL"):
        yield url
        return
    from benchmarks.stacks.database import own_postgresql

    with tempfile.TemporaryDirectory() as folder, own_postgresql(Path(folder)) as postgresql:
        yield postgresql.url


def of_instructions(url: str, subjects: Iterable[requests.Subject]) -> str:
    """The table of what a request costs in instructions."""
    counted: dict[str, dict[str, float]] = {}
    for each in subjects:
        number = instructions.count(each.stack, each.module, requests.SLOTS, requests.CLIENTS, url)
        counted.setdefault(each.driver, {})[each.name] = number
    return instructions.table(counted, requests.REFERENCE)


class Others:
    """What else this machine did, just before a table was measured and just after. Blocks for a second each time."""

    def __init__(self) -> None:
        self.load = os.getloadavg()[0]
        self.before = self._busy_cores()

    @staticmethod
    def _busy_cores() -> float:
        return psutil.cpu_percent(1.0) / 100 * (os.cpu_count() or 1)

    def __str__(self) -> str:
        after = self._busy_cores()
        return f"load {self.load:.1f} before, others on {self.before:.1f} cores before and {after:.1f} after"


def table(medians: Medians) -> str:
    """The page's table, in Markdown. Ratios are to psycopg_pool, and of many waiters to few."""
    pairs = {name: found["pair"] for name, found in medians.items() if "pair" in found}
    reference = pairs.get("psycopg_pool")
    lines = ["| checkout and checkin, nobody else there | us | of psycopg_pool's |", "| --- | --: | --: |"]
    for name, us in sorted(pairs.items(), key=lambda pair: pair[1]):
        lines.append(f"| {name} | {us:.2f} | {us / reference:.2f} |" if reference else f"| {name} | {us:.2f} | |")
    found = medians["waiters"]
    handed, cancelled = "a slot handed to the next one", "one cancelled in the middle of the queue"
    lines += _rows(found, "10 greenlets wait", "10,000 wait", {
        handed: ("handoff few", "handoff one"),
        "the same with bare gevent locks": ("gevent few", "gevent many"),
    })  # fmt: skip
    lines += _rows(found, "10,000 wait, in queues of 10", "in one queue", {
        handed: ("handoff lines", "handoff one"),
        cancelled: ("cancel lines", "cancel one"),
    })  # fmt: skip
    return "\n".join(lines)


def _rows(found: dict[str, float], few: str, many: str, rows: dict[str, tuple[str, str]]) -> list[str]:
    lines = ["", f"| | {few}, us | {many}, us | ratio |", "| --- | --: | --: | --: |"]
    for title, (one, other) in rows.items():
        lines.append(f"| {title} | {found[one]:.2f} | {found[other]:.2f} | {found[other] / found[one]:.2f} |")
    return lines


def conditions(commit: str, others: Others, rounds: int) -> str:
    """Under what the numbers were found. `rounds`: 0 where they were counted once."""
    versions = [
        _said([str(ROOT / name / "bin" / "python"), "-c", VERSIONS % packages])
        for name, packages in PACKAGES.items()
        if (ROOT / name).exists()
    ]
    day = dt.datetime.now(tz=dt.UTC).date()
    how = f"Medians of {rounds} interleaved rounds" if rounds else "Counted once"
    return (
        f"{how}, {day}, commit {commit}; Python {platform.python_version()}, "
        f"{', '.join(versions)}; {os.cpu_count()} CPUs ({platform.machine()}), {others}."
    )


def _said(command: list[str]) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
