"""What a machine may lack: which tests are left out then, and how to have it. `REQUIRE_ALL` set, as .ci/run does, it is
an error."""

import functools
import os
import resource
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from pooldemo.sweep import stacks

ROOT = Path(__file__).resolve().parents[1]
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
VENVS = (".venv-peers", ".venv-psycopg3")


def chromium() -> str | None:
    """Where Chromium is."""
    return next(filter(None, map(shutil.which, CHROMIUMS)), None)


def browser() -> str:
    if chromium():
        return ""
    return "the browser tests: no Chromium on the PATH; to have one on Debian or Ubuntu: apt-get install chromium"


def environments() -> str:
    lacking = [venv for venv in VENVS if not (ROOT / venv / "bin" / "python").exists()]
    return f"the tests of the other stacks: no {' and no '.join(lacking)}; to have them: make peers" if lacking else ""


@functools.cache
def missing() -> dict[str, str]:
    """What each stack lacks here, as a sentence; empty: nothing."""
    return {name: stacks.get(name).missing() for name in stacks.names()}


def postgis_of(major: int) -> bool:
    """Whether the PostgreSQL of that version, of Debian's place for it, has PostGIS."""
    return Path(f"/usr/share/postgresql/{major}/extension/postgis.control").exists()


def postgis() -> str:
    if any(map(postgis_of, range(14, 30))):
        return ""
    return "the test of PostGIS: there is none; to have one on Debian 12: apt-get install postgresql-15-postgis-3"


FLEET = {"haproxy": "haproxy", "pgbouncer": "pgbouncer", "prometheus": "prometheus", "promtool": "prometheus"}
FLEET["prometheus-postgres-exporter"] = "prometheus-postgres-exporter"
OPEN_FILES = (
    8192  # of HAProxy, for the `maxconn` of deploy/haproxy.cfg, each of which has two; it ends where it may not
)


def around() -> str:
    """What stands around the site in a fleet."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    lacks = dict.fromkeys(package for program, package in FLEET.items() if not shutil.which(program, path=path))
    packages = " ".join(lacks)
    return f"the tests of a fleet: to have {packages} on Debian or Ubuntu: apt-get install {packages}" if lacks else ""


def files() -> str:
    """How many files a process may open."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most == resource.RLIM_INFINITY or most >= OPEN_FILES:
        return ""
    return f"the tests of a fleet: HAProxy may open {most} files; to let it open enough: ulimit -Hn {OPEN_FILES}"


LACKS = {
    "browser": browser,
    "fleet": environments,
    "postgis": postgis,
    "fleet_of_hosts": lambda: around() or files(),
    "promtool": around,
}  # by the fixture that needs it


def leave_out(items: Iterable[pytest.Item]) -> None:
    """Mark those that need what is not there."""
    for fixture, lacks in LACKS.items():
        needing = [item for item in items if fixture in getattr(item, "fixturenames", ())]
        if needing and (sentence := lacks()):
            for item in needing:
                item.add_marker(pytest.mark.skip(reason=sentence))


def refuse() -> None:
    """Raise UsageError for all that is lacking, where all is required."""
    if os.environ.get("REQUIRE_ALL"):
        lacks = [browser(), around(), files(), environments() or "; ".join(filter(None, missing().values()))]
        if any(lacks):
            raise pytest.UsageError(
                "REQUIRE_ALL is set, and there is something missing: " + "; ".join(filter(None, lacks))
            )


def sentences(skipped: Iterable[pytest.TestReport]) -> list[str]:
    """What was left out, a line for each reason."""
    reasons = [report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple)]
    return [f"Left out: {reason.removeprefix('Skipped: ')}" for reason in dict.fromkeys(reasons)]
