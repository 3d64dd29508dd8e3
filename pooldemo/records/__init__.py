"""The sweeps that are kept: rows of facts and facts of rows, whose turn it is to sweep, and what was not saved yet."""

from pooldemo.records.rows import (
    NoSuchSweep,
    Unreadable,
    alone,
    begin,
    begun_at,
    change_plan,
    curve,
    end,
    get,
    latest,
    listing,
    of_load,
    plan_of,
    previous,
    read,
    result,
    save_trial,
    start,
    steps,
    store,
)
from pooldemo.records.turn import SWEEP_LOCK, Busy, Turn, settle

__all__ = [
    "SWEEP_LOCK", "Busy", "NoSuchSweep", "Turn", "Unreadable", "alone", "begin", "begun_at", "change_plan", "curve",
    "end", "get", "latest", "listing", "of_load", "plan_of", "previous", "read", "result", "save_trial", "settle",
    "start", "steps", "store",
]  # fmt: skip
