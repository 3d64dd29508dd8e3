"""`python -m benchmarks.pool` (`make bench`): the tables, printed and written to docs/benchmarks.md with conditions."""

import argparse
import datetime as dt
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.markdown import with_tables

from .rounds import ENVIRONMENTS, ROOT, Medians, available, run

PAGE = ROOT / "docs" / "benchmarks.md"
VERSIONS = "import importlib.metadata as m; print(*(f'{n} {m.version(n)}' for n in %r), sep=', ')"
PACKAGES = {
    ".venv": ["gevent", "django-db-geventpool"],
    ".venv-psycopg3": ["psycopg-pool"],
    ".venv-peers": ["DBUtils", "SQLAlchemy"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    names = [name for name in ENVIRONMENTS if available(name)]
    for name in sorted(set(ENVIRONMENTS) - set(names)):
        print(f"{name}: no {ENVIRONMENTS[name]}; `make peers` makes it", file=sys.stderr)
    tables = {"requests": of_requests(rounds), "cost": table(run(names, rounds))}
    tables = {name: f"{text}\n\n{conditions(rounds)}" for name, text in tables.items()}
    print(*tables.values(), sep="\n\n")
    PAGE.write_text(with_tables(PAGE.read_text(), tables, "make bench"))
    return 0


def of_requests(rounds: int) -> str:
    """The table of whole requests, on the database of DATABASE_URL or one of this benchmark's own."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    from benchmarks.pool import requests

    if url := os.environ.get("DATABASE_URL"):
        return requests.table(requests.run(url, rounds))
    from benchmarks.stacks.database import own_postgresql

    with tempfile.TemporaryDirectory() as folder, own_postgresql(Path(folder)) as postgresql:
        return requests.table(requests.run(postgresql.url, rounds))


def table(medians: Medians) -> str:
    """The page's table, in Markdown. Ratios are to psycopg_pool, and of many waiters to few."""
    pairs = {name: found["pair"] for name, found in medians.items() if "pair" in found}
    reference = pairs.get("psycopg_pool")
    lines = ["| checkout and checkin, nobody else there | us | of psycopg_pool's |", "| --- | --: | --: |"]
    for name, us in sorted(pairs.items(), key=lambda pair: pair[1]):
        lines.append(f"| {name} | {us:.2f} | {us / reference:.2f} |" if reference else f"| {name} | {us:.2f} | |")
    found = medians["waiters"]
    handed, cancelled = "a slot handed to the next one", "one cancelled in mid-line"
    lines += _rows(found, "10 greenlets wait", "10,000 wait", {
        handed: ("handoff few", "handoff one"),
        "the same with bare gevent locks": ("gevent few", "gevent many"),
    })  # fmt: skip
    lines += _rows(found, "10,000 wait, in lines of 10", "in one line", {
        handed: ("handoff lines", "handoff one"),
        cancelled: ("cancel lines", "cancel one"),
    })  # fmt: skip
    return "\n".join(lines)


def _rows(found: dict[str, float], few: str, many: str, rows: dict[str, tuple[str, str]]) -> list[str]:
    lines = ["", f"| | {few}, us | {many}, us | ratio |", "| --- | --: | --: | --: |"]
    for title, (one, other) in rows.items():
        lines.append(f"| {title} | {found[one]:.2f} | {found[other]:.2f} | {found[other] / found[one]:.2f} |")
    return lines


def conditions(rounds: int) -> str:
    """Under what the numbers were found."""
    commit = _said(["git", "describe", "--always", "--dirty"])
    versions = [
        _said([str(ROOT / name / "bin" / "python"), "-c", VERSIONS % packages])
        for name, packages in PACKAGES.items()
        if (ROOT / name).exists()
    ]
    day = dt.datetime.now(tz=dt.UTC).date()
    return (
        f"Medians of {rounds} interleaved rounds, {day}, commit {commit}; Python {platform.python_version()}, "
        f"{', '.join(versions)}; {os.cpu_count()} CPUs ({platform.machine()}), load {os.getloadavg()[0]:.1f}."
    )


def _said(command: list[str]) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
