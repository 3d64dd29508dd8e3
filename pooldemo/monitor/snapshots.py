"""What the pools of all workers look like now. Each worker writes its own to a file once a second; all can read them.

A request pays nothing for it, no pooled connection is taken, and PostgreSQL is not asked: the answer is there when
the pool is exhausted and when the database is down. Files, because they need no server, outlive a stuck worker (its
`age_s` then grows) and are gone with their folder, which `gunicorn.conf.py` makes and removes.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections

from pooldemo.monitor import meeting
from pooldemo.monitor.history import SUFFIX, Diary, Moment, read
from pooldemo.monitor.last_minute import Counts, Recent
from pooldemo.monitor.meeting import FOLDER_VARIABLE, lives
from pooldemo.pool import OptionError, Options, Pool
from pooldemo.postgresql import pools
from pooldemo.postgresql.place import place

SIZE = "max_conns"  # the file in it that says how many slots the pools are to have, where somebody resized them
INTERVAL_S = 1.0
HOLDERS = 20  # the longest ones of a pool; a list of all would grow with MAX_CONNS

Snapshot = dict[str, Any]

_diary = Diary()
_recent: dict[str, Recent] = {}  # of this process, by alias; publish() tells it the time
_sharer = 0  # the process that has begun to publish


def take() -> Snapshot:
    """This process: `{"pid", "host", "at_s" (epoch), "clock_s", "application_name", "stack", "size", "unopened",
    "unopened_pools": {alias: {"stats", "reuse_conns"}}, "pools": {alias: {"stats", "is_counted", "holding_s",
    "reuse_conns", "holders", "views", "histograms", "last_minute"}}}`.

    `clock_s` is of the clock that nobody sets, and that is the same for all processes of a machine.
    `stack` is the one on which it is (empty: it has no pool that could have a size). `size` is MAX_CONNS of the default
    database, also where its pool is not open yet (None: it has no pool of ours). `unopened` are the slots of the pools
    that no query has opened yet, and `unopened_pools` is what these pools would tell.
    `stats` has psycopg_pool's keys; `is_counted` says that it leads to the default database, of which PostgreSQL is
    asked; `holding_s` are the seconds that slots have been held which are held still;
    `holders` are `{"name", "held_s", "statement"}`, longest first; `views` are by name `{"holds", "held_s", "idle_s",
    "refusals": {reason: number}}`, of slots given back; `histograms` are `{"wait" | "hold" | "connect":
    {"bounds_s", "counts" (one more, not cumulative), "total_s"}}`, `last_minute` is `{"wait" | "hold": counts}`.
    `application_name` is what PostgreSQL knows its connections by. Never blocks.
    """
    unopened = _unopened()
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),  # in containers the workers of several have the same numbers
        "at_s": time.time(),
        "clock_s": time.monotonic(),
        "application_name": application_name(),
        "stack": stack(),
        "size": _size(DEFAULT_DB_ALIAS),
        "unopened": sum(each["stats"]["pool_max"] for each in unopened.values()),
        "unopened_pools": unopened,
        "pools": {
            pool.name: {
                "stats": pool.get_stats(),
                "holding_s": sum(each.held_s for each in pool.holders()),
                "is_counted": _place(pool.name) == _place(DEFAULT_DB_ALIAS),
                "reuse_conns": pool.options.max_conns if pool.options.reuse_conns is None else pool.options.reuse_conns,
                "holders": [
                    {"name": each.name, "held_s": round(each.held_s, 3), "statement": each.statement}
                    for each in pool.holders()[:HOLDERS]
                ],
                "views": pool.usage.views(),
                "histograms": {
                    name: {
                        "bounds_s": list(histogram.bounds_s),
                        "counts": list(histogram.counts),
                        "total_s": histogram.total_s,
                    }
                    for name, histogram in pool.histograms().items()
                },
                "last_minute": _recent.setdefault(pool.name, Recent()).since(_counts(pool)),
            }
            for pool in pools()
        },
    }


def publish(folder: Path) -> None:
    """Write this process's snapshot, whole or not at all, and add it to its past."""
    part, snapshot = folder / f"{os.getpid()}.part", take()
    part.write_text(json.dumps(snapshot))
    part.replace(folder / f"{os.getpid()}.json")
    _diary.note(folder / f"{os.getpid()}.{SUFFIX}", snapshot)
    for pool in pools():
        _recent.setdefault(pool.name, Recent()).note(time.monotonic(), _counts(pool))


def share() -> None:
    """Begin to publish in a worker of gunicorn's, whatever its gunicorn.conf.py says; elsewhere do nothing."""
    meeting.in_each_worker(_share)


def _share() -> None:
    global _sharer
    if _sharer == os.getpid():  # the app, and then its addresses
        return
    _sharer = os.getpid()
    if (folder := meeting.folder()) is not None:
        _forget_the_dead(folder)
        start_publishing(folder)


def _forget_the_dead(folder: Path) -> None:
    """Remove what workers that have ended left behind: else it grows, and their numbers are given out again."""
    with contextlib.suppress(OSError):  # the master ends, and removes the folder
        for path in folder.iterdir():
            if path.stem.isdecimal() and not lives(int(path.stem)):
                path.unlink(missing_ok=True)


def want_size(size: int) -> None:
    """Let the default database's pool have `size` slots: here at once, in the other workers when they next publish.

    Raises OptionError when it cannot have so few, OSError when the others cannot be told.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        _resize(size)
        return
    part = Path(folder) / f"{os.getpid()}.size"
    part.write_text(str(size))  # first: where the disk is full no worker has another size than the others
    _resize(size)
    part.replace(Path(folder) / SIZE)


def _resize(size: int) -> None:
    """Also where there is no pool yet: the first request would find that of the settings."""
    wrapper = connections[DEFAULT_DB_ALIAS]
    if hasattr(type(wrapper), "pool_options"):
        wrapper.pool  # type: ignore[attr-defined]  # noqa: B018  it is made, and opens nothing
    for pool in pools():
        if pool.name == DEFAULT_DB_ALIAS and pool.get_stats()["pool_max"] != size:
            pool.resize(size)


def start_publishing(folder: Path) -> threading.Thread:
    """Write a snapshot every second until the process or the folder ends, in a thread (a greenlet under gevent)."""

    def loop() -> None:
        while folder.is_dir():
            try:
                if (wanted := _wanted(folder)) is not None:
                    with contextlib.suppress(OptionError, ImproperlyConfigured):  # one of us has told who asked
                        _resize(wanted)
                publish(folder)
            except PermissionError:  # the worker is somebody else now
                return
            except OSError:  # no room on the disk, say: our numbers get old until there is some
                pass
            time.sleep(INTERVAL_S)

    thread = threading.Thread(target=loop, name="snapshots", daemon=True)
    thread.start()
    return thread


def collect() -> list[Snapshot]:
    """Every worker's snapshot by pid, with `age_s`: this process's is taken now, the others' are a second old or so."""
    now_s = time.monotonic()
    found = {each["pid"]: each for each in (*_published(), take())}
    for snapshot in found.values():
        snapshot["age_s"] = round(max(0.0, now_s - snapshot.get("clock_s", now_s)), 3)  # an older commit's has none
    return [found[pid] for pid in sorted(found)]


def past() -> list[Moment]:
    """The last ten minutes of all workers together, oldest first; empty where nobody publishes."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return read(Path(folder), time.time()) if folder else []


def total(snapshots: Iterable[Snapshot]) -> dict[str, Any]:
    """All pools of all workers as one: each of the stats, `views`, `histograms` and `last_minute` added up, and the
    longest `holders` (with the `pid` and the `pool` that they are in)."""
    stats: Counter[str] = Counter()
    histograms: dict[str, dict[str, Any]] = {}
    last_minute: Counts = {}
    holders: list[dict[str, Any]] = []
    views: dict[str, dict[str, Any]] = {}
    for snapshot in snapshots:
        for alias, pool in snapshot["pools"].items():
            stats.update(pool["stats"])
            holders += ({**each, "pid": snapshot["pid"], "pool": alias} for each in pool["holders"])
            for name, view in pool.get("views", {}).items():
                views[name] = _added_view(views[name], view) if name in views else view
            for name, histogram in pool["histograms"].items():
                so_far = histograms.setdefault(
                    name, {**histogram, "counts": [0] * len(histogram["counts"]), "total_s": 0}
                )
                so_far["counts"] = _added(so_far["counts"], histogram["counts"])
                so_far["total_s"] += histogram["total_s"]
            for name, counts in pool.get("last_minute", {}).items():
                last_minute[name] = _added(last_minute.get(name, [0] * len(counts)), counts)
    holders.sort(key=lambda each: -each["held_s"])
    lists = {"holders": holders[:HOLDERS], "views": views}
    return {**stats, "histograms": histograms, "last_minute": last_minute, **lists}


def _added_view(this: dict[str, Any], that: dict[str, Any]) -> dict[str, Any]:
    refusals = Counter(this["refusals"]) + Counter(that["refusals"])
    return {name: refusals if name == "refusals" else this[name] + that[name] for name in this}


def _added(these: list[int], those: list[int]) -> list[int]:
    return [a + b for a, b in zip(these, those, strict=True)]


def application_name() -> str:
    """By which PostgreSQL knows the connections of this process; empty: by nothing."""
    options = connections.settings[DEFAULT_DB_ALIAS].get("OPTIONS", {})
    return str(options.get("application_name") or os.environ.get("PGAPPNAME", ""))


def stack() -> str:
    """The stack on which this project is, by a sweep's name for it; empty when its ENGINE keeps no pool that a sweep
    can size. A project that chooses its stack by itself has POOL_STACK among its settings."""
    config = connections.settings[DEFAULT_DB_ALIAS]
    ours = "pooldemo-transaction" if config["OPTIONS"].get("POOL_MODE") == "transaction" else "pooldemo"
    if its := getattr(settings, "POOL_STACK", ""):
        return ours if its == "pooldemo" else str(its)
    if hasattr(type(connections[DEFAULT_DB_ALIAS]), "pool_options"):
        return "" if config["OPTIONS"].get("pool") is False else ours
    if config["ENGINE"].startswith("django_db_geventpool."):
        return "geventpool"
    return "psycopg-pool" if config["OPTIONS"].get("pool") else ""


def _place(alias: str) -> tuple[Any, ...]:
    return place(connections.settings.get(alias, {}))


def _size(alias: str) -> int | None:
    for pool in pools():
        if pool.name == alias:
            return int(pool.get_stats()["pool_max"])
    options = _options(alias)
    return None if options is None else options.max_conns


def _options(alias: str) -> Options | None:
    """Of the pool that the first query will open; None: it opens none."""
    try:
        options: Options | None = getattr(connections[alias], "pool_options", None)
    except ImproperlyConfigured:  # the first query says so
        return None
    return None if connections.settings[alias]["OPTIONS"].get("pool") is False else options


def _unopened() -> dict[str, Any]:
    """The pools that no query has opened yet, as `take` tells the others."""
    still = dict.fromkeys(("pool_size", "pool_available", "requests_waiting", "requests_timeouts"), 0)
    found = {alias: _options(alias) for alias in set(connections) - {pool.name for pool in pools()}}
    return {
        alias: {
            "stats": {**still, "pool_max": options.max_conns, "pool_min": options.min_conns},
            "reuse_conns": options.max_conns if options.reuse_conns is None else options.reuse_conns,
        }
        for alias, options in found.items()
        if options is not None
    }


def _wanted(folder: Path) -> int | None:
    """How many slots somebody asked for, if anybody did."""
    try:
        return int((folder / SIZE).read_text())
    except FileNotFoundError:
        return None


def _counts(pool: Pool) -> Counts:
    return {name: list(pool.histograms()[name].counts) for name in ("wait", "hold")}


def _published() -> Iterable[Snapshot]:
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return
    for path in Path(folder).glob("*.json"):
        try:
            snapshot: Snapshot = json.loads(path.read_text())
        except FileNotFoundError:  # its worker ended meanwhile
            continue
        if lives(snapshot["pid"]):
            yield snapshot
