"""A container's CPU quota is read wherever its kernel tells it; and what connections do, as PostgreSQL says."""

from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from pooldemo.sweep.measure import database
from pooldemo.sweep.measure.database import io_of, libpq_url
from pooldemo.sweep.measure.machine import Quota, quota
from pooldemo.sweep.measure.observe import Connections, family_cpu_s

STAT = "usage_usec 9\nnr_periods 200\nnr_throttled 150\nthrottled_usec 7\n"


def _files(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("own", "files", "found"),
    [
        ("0::/", {"cpu.max": "150000 100000\n", "cpu.stat": STAT}, Quota(1.5, 200, 150)),
        ("0::/", {"cpu.max": "max 100000\n", "cpu.stat": STAT}, None),
        (
            "0::/a/b",
            {"a/cpu.max": "50000 100000", "a/cpu.stat": STAT, "a/b/cpu.max": "max 100000", "a/b/cpu.stat": STAT},
            Quota(0.5, 200, 150),
        ),
        (
            "4:memory:/x\n3:cpu,cpuacct:/x",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "200000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000",
             "cpu,cpuacct/x/cpu.stat": STAT},
            Quota(2.0, 200, 150),
        ),
        ("3:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000", "cpu/cpu.stat": STAT}, None),
        ("0::/", {"cpu.max": "garbage"}, None),
        ("0::/", {}, None),
    ],
)  # fmt: skip
def test_it_reads_the_tightest_quota_of_both_kinds_of_groups(tmp_path, own, files, found):
    _files(tmp_path / "groups", files)
    _files(tmp_path, {"own": own})
    assert quota(tmp_path / "groups", tmp_path / "own") == found


def test_it_knows_no_quota_where_there_are_no_groups(tmp_path):
    assert quota(tmp_path, tmp_path / "absent") is None


def test_it_counts_connections_by_what_they_do(database_url: str) -> None:
    name = "test-it-counts"
    seen = Connections(database_url, name)
    holder, idler = (psycopg2.connect(libpq_url(database_url), application_name=name) for _ in range(2))
    try:
        holder.cursor().execute("SELECT 1")
        with seen.window():
            for _ in range(4):
                seen.look()
    finally:
        for each in (holder, idler, seen):
            each.close()
    assert seen.peak == 2
    assert seen.waits == {"idle in transaction": 1.0, "idle": 1.0}


def test_it_counts_what_postgresql_reads_and_writes_meanwhile(database_url: str) -> None:
    seen = Connections(database_url, "test-io")
    other = psycopg2.connect(libpq_url(database_url))
    try:
        seen.look()
        with seen.window():
            other.cursor().execute("CREATE TEMPORARY TABLE filled AS SELECT generate_series(1, 20000) AS number")
            other.commit()
            other.cursor().execute("SELECT pg_stat_force_next_flush()")
            other.commit()
            seen.look()
    finally:
        other.close()
        seen.close()
    if seen.has_io:
        assert seen.io["extends"] >= 70, "pages of 8 KiB"
        assert seen.io.keys() >= {"reads", "writes", "evictions"}
        assert min(seen.io.values()) >= 0
    else:
        assert seen.io == {}


def test_it_says_that_postgresql_is_down_where_pgbouncer_has_let_it_in(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error was the driver's, which no trial takes for its own: the sweep ended with a traceback."""
    gone = psycopg2.connect(libpq_url(database_url))
    with closing(psycopg2.connect(libpq_url(database_url))) as other:
        other.cursor().execute("SELECT pg_terminate_backend(%s, 10000)", [gone.info.backend_pid])
    monkeypatch.setattr(database, "connect", lambda _url: gone)
    with pytest.raises(database.DatabaseDown, match="PostgreSQL does not answer"):
        Connections(database_url, "test-down")


def test_it_sums_what_every_version_tells_in_pages() -> None:
    """16 and 17 count pages, 18 operations of several pages, and the write-ahead log beside them."""
    old = {
        "object": "relation",
        "reads": 5,
        "writes": None,
        "extends": 2,
        "evictions": 1,
        "fsyncs": 9,
        "op_bytes": 8192,
    }
    new = {"object": "relation", "reads": 1, "read_bytes": 40960, "extends": 1, "extend_bytes": 16384, "evictions": 1}
    wal = {"object": "wal", "reads": 0, "writes": 4, "fsyncs": 3, "write_bytes": 32768}
    assert io_of([old], 8192) == {"reads": 5, "writes": 0, "extends": 2, "evictions": 1}
    assert io_of([new, wal], 8192) == {"reads": 5, "writes": 0, "extends": 2, "evictions": 1, "wal_fsyncs": 3}


def test_it_counts_no_connection_that_a_pooler_kept_from_a_larger_trial(database_url: str) -> None:
    name = "test-a-pooler-kept"
    kept, used = (psycopg2.connect(libpq_url(database_url), application_name=name) for _ in range(2))
    seen = Connections(database_url, name)
    try:
        seen.look()
        assert seen.peak == 0
        used.autocommit = True
        used.cursor().execute("SELECT 1")
        seen.look()
    finally:
        for each in (kept, used, seen):
            each.close()
    assert seen.peak == 1


class Family:
    """A process of which a child ends, and is buried, after so many looks at the parent."""

    def __init__(self, ends_after: int) -> None:
        self.looks, self.ends_after = 0, ends_after

    def cpu_times(self) -> tuple[float, ...]:
        buried = self.looks >= self.ends_after
        self.looks += 1
        return (1.0, 2.0, 3.0 if buried else 0.0, 4.0 if buried else 0.0, 9.0)

    def children(self) -> list[Any]:
        return [] if self.looks >= self.ends_after else [Child()]


class Child:
    def cpu_times(self) -> tuple[float, ...]:
        return (3.0, 4.0, 0.0, 0.0, 9.0)


@pytest.mark.parametrize("ends_after", range(4))
def test_a_process_that_ends_during_the_look_is_counted_once(ends_after: int) -> None:
    """It was missing: PostgreSQL used less CPU than before, and the sweep could not be read again."""
    family: Any = Family(ends_after)
    assert family_cpu_s(family) == 10.0
