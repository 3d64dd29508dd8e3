"""The last ten minutes of the pools, second by second, kept by the workers themselves: there for whoever looks late.

Each worker adds a line a second to a file beside its snapshot; readers add up the workers' lines. A request pays
nothing for it, and the database is not asked.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pooldemo.monitor.last_minute import percentile_ms
from pooldemo.monitor.overview import pool_of

SPAN_S = 600
SUFFIX = "past"


@dataclass(frozen=True)
class Moment:
    """What was seen at one time (seconds since the epoch): `wait_ms` is the p95 of those who got a slot just before it,
    of the worker where it was longest (None: nobody waited)."""

    at_s: int
    active: int
    pending: int
    max: int
    wait_ms: float | None


class Diary:
    """One process's part: told once a second, it adds a line to its file, and forgets what is older than SPAN_S."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._waits: list[int] = []

    def note(self, path: Path, snapshot: Mapping[str, Any]) -> None:
        """Add `snapshot`, this process's, to the file `path`."""
        pool = pool_of({**snapshot, "age_s": 0.0})
        wait_ms = self._wait_ms(snapshot)
        wait = "" if wait_ms is None else f"{wait_ms:.4g}"
        line = f"{int(snapshot['at_s'])} {pool.active} {pool.pending} {pool.max} {wait}\n"
        self._lines.append(line)
        if len(self._lines) > 2 * SPAN_S:
            del self._lines[:-SPAN_S]
            part = path.with_suffix(".part")
            part.write_text("".join(self._lines))
            part.replace(path)
            return
        with path.open("a") as file:
            file.write(line)

    def _wait_ms(self, snapshot: Mapping[str, Any]) -> float | None:
        """The p95 wait since the last note, over all pools."""
        histograms = [pool["histograms"]["wait"] for pool in snapshot["pools"].values()]
        if not histograms:
            return None
        counts = [sum(each) for each in zip(*(each["counts"] for each in histograms), strict=True)]
        before = self._waits or [0] * len(counts)
        self._waits = counts
        change = [max(0, now - then) for now, then in zip(counts, before, strict=True)]
        return percentile_ms(histograms[0]["bounds_s"], change, 0.95)


def read(folder: Path, now_s: float, every_s: int = 5) -> list[Moment]:
    """The last SPAN_S, oldest first, in steps of `every_s`: the most of each of them, all workers together."""
    seconds: dict[int, list[Moment]] = {}
    for path in folder.glob(f"*.{SUFFIX}"):
        try:
            lines = path.read_text().splitlines()
        except FileNotFoundError:  # its worker ended meanwhile
            continue
        own = {moment.at_s: moment for moment in map(_moment, lines) if moment is not None}  # a clock that is set back
        for at_s, moment in own.items():  # tells a second twice
            if now_s - SPAN_S <= at_s <= now_s:
                seconds.setdefault(at_s, []).append(moment)
    steps: dict[int, list[Moment]] = {}
    for at_s, moments in seconds.items():
        steps.setdefault(at_s // every_s * every_s, []).append(_together(at_s, moments))
    return [_most(at_s, steps[at_s]) for at_s in sorted(steps)]


def _moment(line: str) -> Moment | None:
    """None: the line was cut off, as it is being written."""
    parts = line.split(" ")
    if len(parts) != 5:
        return None
    try:
        at_s, active, pending, most = map(int, parts[:4])
        return Moment(at_s, active, pending, most, float(parts[4]) if parts[4] else None)
    except ValueError:
        return None


def _together(at_s: int, moments: Iterable[Moment]) -> Moment:
    rows = list(moments)
    active, pending, slots = (sum(getattr(each, name) for each in rows) for name in ("active", "pending", "max"))
    return Moment(at_s, active, pending, slots, _longest(rows))


def _most(at_s: int, moments: Iterable[Moment]) -> Moment:
    rows = list(moments)
    active, pending, slots = (max(getattr(each, name) for each in rows) for name in ("active", "pending", "max"))
    return Moment(at_s, active, pending, slots, _longest(rows))


def _longest(moments: Iterable[Moment]) -> float | None:
    return max((each.wait_ms for each in moments if each.wait_ms is not None), default=None)
