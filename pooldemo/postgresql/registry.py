"""The pools of this process: one for each alias and its parameters."""

import threading
from typing import Any, Protocol

from django.core.exceptions import ImproperlyConfigured

from pooldemo.pool import Options, Pool, PoolError

from . import errors, green
from .connector import PostgresConnector, Wrapper


class Database(Wrapper, Protocol):
    """What is asked of the wrapper that wants a pool."""

    alias: str
    settings_dict: dict[str, Any]
    isolation_level: Any

    @property
    def pool_options(self) -> Options: ...


class ConnectionPool(Pool):
    """The pool behind `connection.pool`, with the four methods that Django asks of one."""

    def __init__(self, wrapper: Database, options: Options) -> None:
        green.refuse_late_patch()
        connector = PostgresConnector(wrapper, options)
        super().__init__(connector, options, name=wrapper.alias, task=green.current_task, start=green.starter())
        self._wrapper = wrapper

    @property
    def isolation_level(self) -> Any:
        """The isolation level that its connections have, as Django's wrapper keeps it."""
        return self._wrapper.isolation_level

    def open(self) -> None:
        """Nothing to do: the first checkout opens."""

    def getconn(self) -> Any:
        """A connection, as `checkout` gives a slot. Raises PoolTimeout, PoolFull, PoolClosed, or the driver's error."""
        try:
            slot = self.checkout()
        except PoolError as error:
            raise errors.as_django(error) from error.__cause__
        connection = slot.connection.connection
        connection._slot, connection._pool = slot, self
        return connection

    def putconn(self, connection: Any) -> None:
        """Give a connection back, as `checkin` does a slot. Raises ValueError when it was given back already.

        One whose greenlet or thread has ended was taken back then, with a ResourceWarning: nothing is left to do.
        """
        slot = connection._slot
        if slot is None:
            raise ValueError(f"{connection!r} is not checked out of {self!r}: it was given back already")
        if slot.connection is None or slot.connection.connection is not connection:
            connection._slot = None
            return
        if not self.owns(slot):
            self.checkin(slot)  # says so, or knows that it is of this process's parent
            return
        connection._slot = None
        self.checkin(slot)

    def share(self, connection: Any, wrapper: Database) -> None:
        """Bind a checkout to the life of a wrapper that threads share, rather than to that of who made it.

        Django lets any of them use and close it. If nobody does, its slot comes back when the wrapper is collected.
        """
        lifelines = wrapper.__dict__.setdefault("_pool_lifelines", {})
        if self not in lifelines:
            lifelines[self] = self.lifeline()
        self.rebind(connection._slot, lifelines[self])


_lock = threading.Lock()
_pools: dict[tuple[Any, ...], ConnectionPool] = {}


def key_of(alias: str, settings: dict[str, Any]) -> tuple[Any, ...]:
    """What makes a pool the right one: its alias, where it connects to, and every option."""
    others = (settings.get(name) for name in ("USER", "PASSWORD", "TIME_ZONE"))
    return (alias, _place(settings), *others, repr(sorted(settings["OPTIONS"].items())))


def _place(settings: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(settings.get(name) for name in ("NAME", "HOST", "PORT"))


def pool_for(wrapper: Database) -> ConnectionPool:
    """The pool of a wrapper's alias and parameters, made on first use. Raises ImproperlyConfigured."""
    key = key_of(wrapper.alias, wrapper.settings_dict)
    with _lock:
        pool = _pools.get(key)
        if pool is None or pool.closed:
            if wrapper.settings_dict.get("CONN_MAX_AGE", 0) != 0:
                raise ImproperlyConfigured(
                    f"CONN_MAX_AGE={wrapper.settings_dict['CONN_MAX_AGE']!r} of database {wrapper.alias!r} would keep "
                    "connections from going back to the pool after each request: set CONN_MAX_AGE to 0. How long the "
                    "pool keeps a connection is said by MAX_LIFETIME and MAX_IDLE in OPTIONS."
                )
            pool = _pools[key] = ConnectionPool(wrapper.without_pool(), wrapper.pool_options)
        return pool


def close_pools(settings: dict[str, Any]) -> None:
    """Close and forget every pool that leads to the database of `settings`; the next checkout makes a new one.

    Of whatever alias and options: PostgreSQL drops and copies no database that has a connection, be it an idle one.
    """
    with _lock:
        doomed = {key: pool for key, pool in _pools.items() if key[1] == _place(settings)}
        for key in doomed:
            del _pools[key]
    for pool in doomed.values():
        pool.close()


def pools() -> list[ConnectionPool]:
    """Every open pool of this process. Does not block."""
    return [pool for pool in list(_pools.values()) if not pool.closed]
