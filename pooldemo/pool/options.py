"""The pool's options: one row each, read strictly. What they mean for PostgreSQL lives in `pooldemo.postgresql`."""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

_LARGEST = 10**6  # of connections, waiters or checkouts; more is a slip of the pen
CONNECT_LIMIT_S = 5.0  # for who waits for no slot, has a free one, and must wait until it has a connection
_LONGEST_S = 1e9  # thirty years; what a lock can wait for is not much more


class OptionError(ValueError):
    """An option is unknown or out of range; the text says what was given and what is accepted."""


class _Rejected(Exception):
    """A reader's way to say no; becomes an OptionError that names the option."""


def _number(value: Any) -> float:
    """The finite number that `value` is or, as a string from an URL or the environment, spells."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise _Rejected from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < math.inf:
        raise _Rejected
    return value


def _count(minimum: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        number = _number(value)
        if number != int(number) or not minimum <= number <= _LARGEST:
            raise _Rejected
        return int(number)

    return read


def _seconds(value: Any) -> float:
    number = _number(value)
    if not 0 <= number <= _LONGEST_S:
        raise _Rejected
    return number


def _is_none(value: Any) -> bool:
    """None, or what it looks like in an URL."""
    return value is None or (isinstance(value, str) and value.lower() == "none")


def _seconds_or_none(value: Any) -> float | None:
    return None if _is_none(value) else _seconds(value)


def _count_or_none(value: Any) -> int | None:
    return None if _is_none(value) else _count(0)(value)


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


def _option(default: Any, unit: str, accepted: str, help_: str, read: Callable[[Any], Any]) -> Any:
    """A field of Options, and its row."""
    return field(metadata={"row": (default, unit, accepted, help_, read)})


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one pool, each declared here alone. Make one with `read`."""

    max_conns: int = _option(
        4, "connections", "a whole number from 1 to 1e6",
        "slots per process; never exceeded, not even for a moment (but see \"Where MAX_CONNS cannot be kept\")",
        _count(1),
    )  # fmt: skip
    reuse_conns: int | None = _option(
        None, "connections", "a whole number from 0 to MAX_CONNS, or None for MAX_CONNS",
        "idle connections kept", _count_or_none,
    )  # fmt: skip
    min_conns: int = _option(
        0, "connections", "a whole number from 0 to REUSE_CONNS", "connections opened ahead and kept open", _count(0)
    )
    pool_timeout: float | None = _option(
        30, "s", "seconds from 0 (do not wait) to 1e9, or None (no limit)",
        "how long a checkout may take, waiting and connecting together; with 0, connecting may take 5 s",
        _seconds_or_none,
    )  # fmt: skip
    max_waiting: int = _option(
        0, "waiters", "a whole number from 0 (no limit) to 1e6", "waiters allowed before refusing at once", _count(0)
    )
    max_lifetime: float = _option(
        3600, "s", "seconds from 0 (no limit) to 1e9",
        "how long a connection may live, spread so that they do not all end together", _seconds,
    )  # fmt: skip
    max_idle: float = _option(
        600, "s", "seconds from 0 (no limit) to 1e9",
        "how long an idle connection is kept above MIN_CONNS", _seconds,
    )  # fmt: skip
    max_uses: int = _option(
        0, "checkouts", "a whole number from 0 (no limit) to 1e6", "checkouts that a connection may serve", _count(0)
    )
    health_check: str = _option(
        "auto", "", '"auto", "always" or "never"',
        '"auto": look at the socket, ping on doubt; "always": ping at each checkout; "never"',
        _choice("auto", "always", "never"),
    )  # fmt: skip
    reset: str = _option(
        "dirty", "", '"dirty", "always" or "never"',
        'session state at checkin: "dirty": discard when it was changed; "always"; "never"',
        _choice("dirty", "always", "never"),
    )  # fmt: skip
    setup_sql: tuple[str, ...] = _option(
        (), "", "a list of SQL statements", "statements run once on each new connection", _statements
    )
    leak_threshold: float = _option(
        0, "s", "seconds from 0 (off) to 1e9",
        "how long a connection may be held before a warning with the holder's stack", _seconds,
    )  # fmt: skip
    pool_mode: str = _option(
        "request", "", '"request" or "transaction"',
        'when a slot goes back: "request": when its request ends; "transaction": as soon as no transaction is open and '
        "the session carries no state",
        _choice("request", "transaction"),
    )  # fmt: skip
    overload: str = _option(
        "queue", "", '"queue" or "shed"',
        'whom a slot goes to: "queue": first come, first served, until POOL_TIMEOUT; "shed": while the queue does not '
        "get shorter, newest first, and requests that waited too long are refused",
        _choice("queue", "shed"),
    )  # fmt: skip

    @classmethod
    def read(cls, given: Mapping[str, Any] | None = None, /, **more: Any) -> "Options":
        """The options of a mapping such as {"MAX_CONNS": 8}. An absent option has its default.

        Raises OptionError, which names every option that is unknown and every value that is not accepted.
        """
        given = {**(given or {}), **more}
        wrong = []
        for name in given:
            if name not in NAMES:
                near = difflib.get_close_matches(name.upper(), NAMES, n=1)
                wrong.append(f"unknown pool option {name!r}" + (f"; did you mean {near[0]}?" if near else "."))
        if wrong:
            wrong.append(f"Accepted: {', '.join(sorted(NAMES))}.")
        values = {}
        for row in ROWS:
            value = given.get(row.name, row.default)
            try:
                values[row.name.lower()] = row.read(value)
            except _Rejected:
                wrong.append(f"{row.name}={value!r} is not accepted: give {row.accepted}.")
        if wrong:
            raise OptionError(" ".join(wrong))
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


ROWS = tuple(Row(each.name.upper(), *each.metadata["row"]) for each in fields(Options))
NAMES = frozenset(row.name for row in ROWS)
