"""What this machine does not get of its own cores: a container's CPU quota. On Linux; elsewhere nothing is known.

Both versions of control groups are read: a group's limit holds for all that it is inside of, so the tightest counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class Quota:
    """A limit of so many `cores`; it was looked at after each of `periods`, and had run out in `throttled` of them."""

    cores: float
    periods: int
    throttled: int


def quota(groups: Path = GROUPS, own: Path = OWN) -> Quota | None:
    """The tightest limit that this process and its children are under; None without one."""
    found = filter(None, map(_read, _folders(groups, own)))
    return min(found, key=lambda each: each.cores, default=None)


def _folders(groups: Path, own: Path) -> Iterator[Path]:
    """Where limits of this process may stand: its groups and all that they lie in."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = groups / controllers if controllers else groups
        folder = root / path.lstrip("/")
        yield from (each for each in (folder, *folder.parents) if each == root or root in each.parents)


def _read(folder: Path) -> Quota | None:
    try:
        if (limit := folder / "cpu.max").exists():
            allowed, period = limit.read_text().split()
        else:
            allowed = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        if allowed in ("max", "-1"):
            return None
        stat = dict(line.split() for line in (folder / "cpu.stat").read_text().splitlines())
        return Quota(int(allowed) / int(period), int(stat["nr_periods"]), int(stat["nr_throttled"]))
    except (OSError, ValueError, KeyError):
        return None
