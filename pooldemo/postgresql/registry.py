"""The pools of this process: one for each alias and what its database is, whatever the password."""

import _thread
import contextlib
import logging
import math
import os
import time
import weakref
from collections import Counter
from functools import partial
from typing import Any, Protocol

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from pooldemo.pool import Options, Pool, PoolError, PoolTimeout, Slot, Waiter

from . import errors, green
from .connector import PostgresConnector, Wrapper
from .lanes import is_low
from .limits import current, set_alarm
from .place import place
from .session import Session
from .usage import Usage, listeners

logger = logging.getLogger("pooldemo.postgresql")

_AFTER_S = 0.001  # from a deadline to the end of a wait for a slot, which so ends because it has passed


class Database(Wrapper, Protocol):
    """What is asked of the wrapper that wants a pool."""

    @property
    def pool_options(self) -> Options: ...


class ConnectionPool(Pool):
    """The pool behind `connection.pool`, with the four methods that Django asks of one."""

    def __init__(self, wrapper: Database, options: Options) -> None:
        green.refuse_late_patch()
        self._postgres = connector = PostgresConnector(wrapper, options)
        super().__init__(
            connector, options, name=wrapper.alias, task=green.current_task, start=green.starter(), gate=green.gates()
        )
        self.made_for: tuple[Any, ...] = ()  # the key and password that it was made or renewed for
        self.configured = False  # it is the pool of the project's own settings
        self._ended: Counter[type[Exception]] = Counter()
        self._told_at, self._untold = float("-inf"), 0  # the log line of a failed checkout, and those without one
        self.copies: weakref.WeakSet[Any] = weakref.WeakSet()  # wrappers with settings of their own that use it

    def start_afresh(self, *args: Any) -> None:
        """The pool's, and nothing used yet."""
        self.usage = Usage()
        super().start_afresh(*args)

    @property
    def isolation_level(self) -> Any:
        """The isolation level that its connections have, as Django's wrapper keeps it."""
        return self._postgres.isolation_level

    def open(self) -> None:
        """Nothing to do: the first checkout opens."""

    def getconn(self, ticket: object = None) -> Any:
        """A connection, as `checkout` gives a slot. Raises PoolTimeout, PoolFull, PoolClosed, or the driver's error.

        Who is stopped in here, by a signal's handler for instance, has none.
        """
        ticket = ticket or object()
        limit, asked_at = current(), self.clock()
        try:
            if limit is not None and limit.is_over():
                raise limit.refusal("about to ask for a connection")
            slot = self.checkout(ticket=ticket, low=is_low())
            session: Session = slot.connection
            session.begin_checkout(self, slot)
            for listener in listeners:
                listener("wait", self.name, self.clock() - asked_at)
            return session.shown
        except BaseException as error:
            self.take_back(ticket)
            if isinstance(error, errors.DeadlineExceeded | errors.ClientGone):
                self.note_end(error)
            elif isinstance(error, PoolError):
                self.usage.add_refusal(error.reason)
                self._tell(error)
                raise errors.as_django(error) from error.__cause__
            elif isinstance(error, self._postgres.errors):
                self._tell(error)
            raise

    def wait(self, waiter: Waiter) -> Slot:
        """A wait that ends when the present limit does. Raises DeadlineExceeded and ClientGone as well."""
        limit = current()
        if limit is None:
            return super().wait(waiter)
        left_s = limit.ends_at - waiter.asked_at
        if limit.ends_at != math.inf and (waiter.timeout is None or left_s < waiter.timeout):
            waiter.timeout = round(max(left_s, 0) + _AFTER_S, 3)

        def stop() -> None:
            self.slots.turn_away(waiter, limit.refusal(f"waiting: {self!r}"))

        alarm = None
        try:
            limit.add(stop)
            if waiter.timeout == 0 and limit.ends_at != math.inf:  # who waits for no slot waits for its connection
                with contextlib.suppress(RuntimeError):  # no thread can be started: it waits as long as without a limit
                    alarm = set_alarm(limit.ends_at, stop)
            return super().wait(waiter)
        except PoolTimeout as error:
            if limit.is_over():
                raise limit.refusal(f"waiting for a connection: {error}") from error.__cause__
            raise
        finally:
            limit.remove(stop)
            if alarm is not None:
                alarm.put_off()

    def note_end(self, error: errors.DeadlineExceeded | errors.ClientGone) -> None:
        """Count work on this pool that had to end."""
        self._ended[type(error)] += 1
        self.usage.add_refusal(error.reason)

    def get_stats(self) -> dict[str, float]:
        """The pool's, and how often work ended at its deadline, or because its client had gone. Does not block."""
        ended = {
            "deadlines_exceeded": self._ended[errors.DeadlineExceeded],
            "clients_gone": self._ended[errors.ClientGone],
        }
        return super().get_stats() | ended

    def _tell(self, error: Exception) -> None:
        """Log a checkout that failed: a line a second at most, with how many were not told."""
        self._untold += 1
        now = time.monotonic()
        if now - self._told_at >= 1:
            self._told_at, number, self._untold = now, self._untold, 0
            more = f" ({number - 1} more failed since the last such line)" if number > 1 else ""
            logger.warning("database %r: %s%s", self.name, str(error).strip(), more)

    def putconn(self, connection: Any) -> None:
        """Give a connection back, as `checkin` does a slot.

        Raises ValueError when it was given back already, or is another pool's, greenlet's or thread's; nothing changes
        then. One whose greenlet or thread has ended was taken back then, with a ResourceWarning: nothing is left to do.
        """
        session = getattr(connection, "_pool", None)
        if not isinstance(session, Session) or session.pool is not self or session.slot is None:
            owner = session.pool if isinstance(session, Session) and session.slot is not None else None
            why = f"give it back to {owner!r}" if owner is not None else "it was given back already, or never lent"
            raise ValueError(f"{connection!r} is not checked out of {self!r}: {why}")
        # psycopg2's object is the same for every checkout: who kept it would end another's.
        if not (session.is_holder() or session.is_parents) and session.slot.connection is session:
            raise ValueError(f"{connection!r} of {self!r} is checked out by another greenlet or thread")
        slot, session.slot = session.slot, None  # no call between this and `try`: see `slots.py`
        ticket, held_s, worked_s = slot.ticket, 0.0, session.worked_s
        if slot.connection is session:
            try:
                held_s = self.clock() - slot.taken_at
                self.checkin(slot)
            except BaseException:
                self.take_back(ticket)  # who is stopped before it began cannot ask for it again
                raise
            self.usage.add_hold(held_s, worked_s)
            for listener in listeners:
                listener("hold", self.name, held_s)

    def renew(self, wrapper: Database, options: Options) -> None:
        """From now on connect as `wrapper` would, with these options: connections of before end."""
        connector = PostgresConnector(wrapper, options)
        connector.isolation_level = self.isolation_level
        self._postgres = connector
        self.change(connector, options)


# A thread's also under the monkey patch: nobody switches while he has it, and gevent's may wait for the loop of a
# native thread that no longer runs it.
_lock = _thread.RLock()
_pools: dict[tuple[Any, ...], ConnectionPool] = {}


def _renew_lock() -> None:
    """Another thread of the parent may have had it, and does not exist in a forked child."""
    global _lock
    _lock = _thread.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def key_of(alias: str, settings: dict[str, Any]) -> tuple[Any, ...]:
    """What makes a pool the right one: its alias, where it connects to and as whom, and every option."""
    others = (settings.get(name) for name in ("USER", "TIME_ZONE"))
    return (alias, place(settings), *others, repr(sorted(settings["OPTIONS"].items())))


def pool_for(wrapper: Database) -> ConnectionPool:
    """The pool of a wrapper's alias and parameters, made on first use. Raises ImproperlyConfigured.

    Asked when a wrapper is new or its settings have changed. What changes in the project's own settings is changed in
    the alias's one pool, be it the password or an option: two would have more connections than either may. With
    another database comes another pool. The alias's pools that nobody's settings want close.
    """
    alias, settings = wrapper.alias, wrapper.settings_dict
    key = key_of(alias, settings)
    configured = settings is connections.settings.get(alias)
    made_for = (key, settings.get("PASSWORD"))
    with _lock:
        pool = _pools.get(key) or (_configured_pool(alias, settings) if configured else None)
        if pool is None or pool.closed:
            if settings.get("CONN_MAX_AGE", 0) != 0:
                raise ImproperlyConfigured(
                    f"CONN_MAX_AGE={settings['CONN_MAX_AGE']!r} of database {alias!r} would keep connections from "
                    "going back to the pool after each request: set CONN_MAX_AGE to 0. How long the pool keeps a "
                    "connection is said by MAX_LIFETIME and MAX_IDLE in OPTIONS."
                )
            pool = _pools[key] = ConnectionPool(wrapper.without_pool(), wrapper.pool_options)
            pool.made_for = made_for
        elif configured and pool.made_for != made_for:
            pool.renew(wrapper.without_pool(), wrapper.pool_options)
            if pool is _pools.get(pool.made_for[0]):
                del _pools[pool.made_for[0]]
            _pools[key] = pool
            pool.made_for = made_for
        pool.configured |= configured
        if not configured:
            pool.copies.add(wrapper)
            weakref.finalize(wrapper, pool.upkeep.start, partial(_close_unused, alias)).atexit = False
    _close_unused(alias, wrapper)
    return pool


def _configured_pool(alias: str, settings: dict[str, Any]) -> ConnectionPool | None:
    """The pool that the project's settings of this alias led to before they changed, if it is for the same database."""
    of_it = (pool for key, pool in _pools.items() if key[0] == alias and key[1] == place(settings))
    return next((pool for pool in of_it if pool.configured and not pool.closed), None)


def _close_unused(alias: str, leaving: Any = None) -> None:
    """Close the pools of an alias to which neither its settings lead nor those of a copy; `leaving` has another now."""
    configured = connections.settings.get(alias)
    wanted = key_of(alias, configured) if configured else None
    unused = []
    with _lock:
        for key, pool in list(_pools.items()):
            if key[0] == alias and key != wanted:
                if leaving is not None and key != key_of(alias, leaving.settings_dict):
                    pool.copies.discard(leaving)
                if not pool.copies:
                    unused.append(_pools.pop(key))
    for pool in unused:
        pool.close()


def close_pools(settings: dict[str, Any]) -> None:
    """Close and forget every pool that leads to the database of `settings`; the next checkout makes a new one.

    Of whatever alias and options: PostgreSQL drops and copies no database that has a connection, be it an idle one.
    """
    with _lock:
        doomed = {key: pool for key, pool in _pools.items() if key[1] == place(settings)}
        for key in doomed:
            del _pools[key]
    for pool in doomed.values():
        pool.close()


def pools() -> list[ConnectionPool]:
    """Every open pool of this process. Does not block."""
    return [pool for pool in list(_pools.values()) if not pool.closed]
