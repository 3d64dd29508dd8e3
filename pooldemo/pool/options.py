"""The pool's options: one row each, read strictly. What they mean for PostgreSQL lives in `pooldemo.postgresql`."""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import OptionError


class _Rejected(Exception):
    """A reader's way to say no; becomes an OptionError that names the option."""


def _number(value: Any) -> float:
    """The finite number that `value` is or, as a string from an URL or the environment, spells."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise _Rejected from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _Rejected
    return value


def _count(minimum: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        number = _number(value)
        if number != int(number) or number < minimum:
            raise _Rejected
        return int(number)

    return read


def _seconds(value: Any) -> float:
    number = _number(value)
    if number < 0:
        raise _Rejected
    return number


def _seconds_or_none(value: Any) -> float | None:
    return None if value is None or str(value).lower() == "none" else _seconds(value)


def _count_or_none(value: Any) -> int | None:
    return None if value is None else _count(0)(value)


def _choice(*accepted: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in accepted:
            raise _Rejected
        return value

    return read


def _statements(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, Sequence) or not all(isinstance(item, str) and item.strip() for item in value):
        raise _Rejected
    return tuple(value)


@dataclass(frozen=True, slots=True)
class Row:
    """One option: its name, default, unit, what is accepted, what it means, and the function that reads it."""

    name: str
    default: Any
    unit: str
    accepted: str
    help: str
    read: Callable[[Any], Any]


ROWS = (
    Row("MAX_CONNS", 4, "connections", "a whole number from 1",
        "slots per process; never exceeded, not even for a moment", _count(1)),
    Row("REUSE_CONNS", None, "connections", "a whole number from 0 to MAX_CONNS, or None for MAX_CONNS",
        "idle connections kept", _count_or_none),
    Row("MIN_CONNS", 0, "connections", "a whole number from 0 to REUSE_CONNS",
        "connections opened ahead and kept open", _count(0)),
    Row("POOL_TIMEOUT", 30, "s", "seconds from 0 (do not wait), or None (no limit)",
        "how long a checkout may take, waiting and connecting together", _seconds_or_none),
    Row("MAX_WAITING", 0, "waiters", "a whole number from 0 (no limit)",
        "waiters allowed before refusing at once", _count(0)),
    Row("MAX_LIFETIME", 3600, "s", "seconds from 0 (no limit)",
        "how long a connection may live, spread so that they do not all end together", _seconds),
    Row("MAX_IDLE", 600, "s", "seconds from 0 (no limit)",
        "how long an idle connection is kept above MIN_CONNS", _seconds),
    Row("MAX_USES", 0, "checkouts", "a whole number from 0 (no limit)",
        "checkouts that a connection may serve", _count(0)),
    Row("HEALTH_CHECK", "auto", "", '"auto", "always" or "never"',
        '"auto": look at the socket, ping on doubt; "always": ping at each checkout; "never"',
        _choice("auto", "always", "never")),
    Row("RESET", "dirty", "", '"dirty", "always" or "never"',
        'session state at checkin: "dirty": discard when it was changed; "always"; "never"',
        _choice("dirty", "always", "never")),
    Row("SETUP_SQL", (), "", "a list of SQL statements",
        "statements run once on each new connection", _statements),
    Row("LEAK_THRESHOLD", 0, "s", "seconds from 0 (off)",
        "how long a connection may be held before a warning with the holder's stack", _seconds),
)  # fmt: skip

NAMES = frozenset(row.name for row in ROWS)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one pool; the fields are the rows' names in lower case. Make one with `read`."""

    max_conns: int
    reuse_conns: int | None
    min_conns: int
    pool_timeout: float | None
    max_waiting: int
    max_lifetime: float
    max_idle: float
    max_uses: int
    health_check: str
    reset: str
    setup_sql: tuple[str, ...]
    leak_threshold: float

    @classmethod
    def read(cls, given: Mapping[str, Any] | None = None, /, **more: Any) -> "Options":
        """Options from a mapping with the rows' names; what is absent has its default.

        Raises OptionError when a name is unknown or a value is not accepted.
        """
        given = {**(given or {}), **more}
        for name in given:
            if name not in NAMES:
                near = difflib.get_close_matches(name.upper(), NAMES, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise OptionError(f"unknown pool option {name!r}{hint} Accepted: {', '.join(sorted(NAMES))}.")
        values = {}
        for row in ROWS:
            value = given.get(row.name, row.default)
            try:
                values[row.name.lower()] = row.read(value)
            except _Rejected:
                raise OptionError(f"{row.name}={value!r} is not accepted: give {row.accepted}.") from None
        options = cls(**values)
        options._check_order()
        return options

    @property
    def keep_idle(self) -> int:
        """How many idle connections are kept: REUSE_CONNS, or MAX_CONNS when that is None."""
        return self.max_conns if self.reuse_conns is None else self.reuse_conns

    def _check_order(self) -> None:
        if self.keep_idle > self.max_conns:
            raise OptionError(
                f"REUSE_CONNS={self.reuse_conns} is not accepted: give at most MAX_CONNS, which is {self.max_conns}."
            )
        if self.min_conns > self.keep_idle:
            raise OptionError(
                f"MIN_CONNS={self.min_conns} is not accepted: give at most REUSE_CONNS, which is {self.keep_idle}."
            )
