"""`ENGINE = "pooldemo.postgresql"`: Django's own PostgreSQL wrapper over our pool.

Django knows how to live with a pool: it asks `self.pool` for connections, has them configured once, and returns them
instead of closing them. This gives it one, and leaves the rest to Django.
"""

import contextlib
import os
import time
from _thread import get_ident
from asyncio import _get_running_loop
from typing import Any, Self

from django.core.exceptions import ImproperlyConfigured
from django.db import ProgrammingError, connections
from django.db.backends.base import base as any_database
from django.db.backends.postgresql import base, client
from django.db.backends.signals import connection_created

from pooldemo.pool import NAMES, OptionError, Options

from . import checks as checks  # importing registers them: no app need be installed for that
from . import driver
from .interpreter import refuse_without_gil
from .registry import ConnectionPool, close_pools, pool_for
from .transaction_mode import in_mode

refuse_without_gil()


def _with_password(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the password that a callable gives. May block."""
    password = settings["PASSWORD"]
    return {**settings, "PASSWORD": password()} if callable(password) else settings


class DatabaseClient(client.DatabaseClient):
    """What `manage.py dbshell` starts."""

    @classmethod
    def settings_to_cmd_args_env(cls, settings_dict: Any, parameters: Any) -> Any:
        return super().settings_to_cmd_args_env(_with_password(settings_dict), parameters)


class DatabaseWrapper(base.DatabaseWrapper):
    """One greenlet's or thread's view of a database; its connection comes from the pool that all of them share."""

    client_class = DatabaseClient
    _thread_ident: int  # of Django's: who made it ...
    _thread_sharing_count: int  # ... and how often it was lent to others
    _checks_out = False  # in connect(), from the pool
    _is_pooled = False  # the connection that it has, or had last, is its pool's
    _pool: ConnectionPool | None = None
    _checkout: tuple[ConnectionPool, object] | None = None  # its pool and ticket, or those of the last one
    _lifeline: object = None
    _is_plain = True  # nobody has put something of his own into what `_begin` leaves out
    _pool_settings: tuple[dict[str, Any], dict[str, Any]] | None = None  # those for which `_pool` was the right one ...
    _pool_made_for: object = None  # ... and what it was made for then

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        left_out = ("get_connection_params", "init_connection_state")
        cls._is_plain = all(getattr(cls, name) is getattr(DatabaseWrapper, name) for name in left_out)

    @property
    def pool(self) -> ConnectionPool | None:
        """The pool of this alias and its parameters, or None where there is to be none: `pool: False`, and no database.

        Raises ImproperlyConfigured when an option is unknown or out of range.
        """
        pool, settings = self._pool, self.settings_dict
        if self._checks_out:
            return pool
        options = settings["OPTIONS"]
        # Django asks thrice while it has a connection: that is of this pool. Without one the settings are compared, for
        # tests and rotations change those of a living wrapper; that costs less than making the key.
        if (
            pool is not None
            and not pool.slots.closed
            and (
                (self._is_pooled and self.connection is not None)
                or (self._pool_made_for is pool.made_for and self._pool_settings == (settings, options))
            )
        ):
            return pool
        if self.alias == any_database.NO_DB_ALIAS or settings["NAME"] is None or options.get("pool") is False:
            return None
        is_first, self._pool = pool is None, (pool := pool_for(self))
        self._pool_settings, self._pool_made_for = ({**settings}, {**options}), pool.made_for
        # Not in the midst of a request of transaction mode, whose cursors rely on it: that one changes at its end.
        if is_first or (pool.options.pool_mode == "transaction" and not self.in_atomic_block):
            self.__class__ = in_mode(type(self), pool.options.pool_mode)
        return pool

    @property
    def pool_options(self) -> Options:
        """The pool's options among OPTIONS: the names in capitals. Raises ImproperlyConfigured."""
        options = self.settings_dict["OPTIONS"]
        if not isinstance(options, dict) or not all(isinstance(each, str) for each in options):
            where = f"DATABASES[{self.alias!r}]['OPTIONS']"
            raise ImproperlyConfigured(f"{where}={options!r} is not accepted: give a dictionary of names and values.")
        if options.get("pool") not in (None, True, False):
            raise ImproperlyConfigured(
                f"'pool': {options['pool']!r} is not accepted with ENGINE {__package__!r}: leave it out, and give the "
                f"pool's options in OPTIONS itself ({', '.join(sorted(NAMES))}), or 'pool': False for no pool."
            )
        try:
            return Options.read({each: options[each] for each in options if each.isupper() or each.upper() in NAMES})
        except OptionError as error:
            raise ImproperlyConfigured(f"DATABASES[{self.alias!r}]['OPTIONS']: {error}") from None

    def without_pool(self) -> Self:
        """A wrapper of the same database that connects by itself."""
        options = {**self.settings_dict["OPTIONS"], "pool": False}
        return in_mode(type(self), "request")({**self.settings_dict, "OPTIONS": options}, alias=self.alias)

    def configure(self, connection: Any) -> None:
        """Set what Django sets once on each new connection: the time zone and the role. Blocks.

        Only for a wrapper without a pool, a connection or another greenlet.
        """
        self.connection = connection  # Django quotes the role with the wrapper's connection, and would open one
        try:
            super()._configure_connection(connection)  # type: ignore[misc]  # Django's private name, its only one here
        finally:
            self.connection = None

    def close_pool(self) -> None:
        """Close the pools of this database. The next query opens a new one."""
        close_pools(self.settings_dict)
        self._pool = None

    def inc_thread_sharing(self) -> None:
        """Let other threads and greenlets use this wrapper, and the connection that it has."""
        super().inc_thread_sharing()
        if self.connection is not None and self.pool is not None:
            self._share(self.connection)

    def _share(self, connection: Any) -> None:
        """Bind a checkout to the life of this wrapper rather than to that of who made it: any of them may end it.

        If nobody does, its slot comes back when the wrapper is collected.
        """
        self._lifeline = connection._pool.share()

    def connect(self) -> None:
        """Take a connection from the pool, or make one. Blocks. Raises what `get_new_connection` does."""
        pool = self.pool
        self._checkout = None if pool is None else (pool, object())
        self._checks_out = self._is_pooled = pool is not None
        try:
            if (
                pool is None
                or not self._is_plain
                or self.alias not in any_database.RAN_DB_VERSION_CHECK
                or _get_running_loop() is not None  # where Django refuses, or was told not to
            ):
                super().connect()
            else:
                self._begin()
        except BaseException:
            if self.connection is None:  # a signal's handler may have raised after the checkout and before Django knew
                self._take_back()
            raise
        finally:
            self._checks_out = False

    def _begin(self) -> None:
        """Django's connect() over a connection that is configured already, which leaves the attributes below to set.

        A third of what it costs to take a connection and give it back is saved; a test compares both.
        """
        self.check_settings()
        self.in_atomic_block = self.needs_rollback = self.closed_in_transaction = self.errors_occurred = False
        self.savepoint_ids, self.atomic_blocks, self.run_on_commit = [], [], []
        self.health_check_enabled, self.health_check_done = self.settings_dict["CONN_HEALTH_CHECKS"], True
        max_age = self.settings_dict["CONN_MAX_AGE"]  # 0 when the pool was made; it may have changed
        self.close_at = None if max_age is None else time.monotonic() + max_age
        self.connection = self.get_new_connection({})
        self.set_autocommit(self.settings_dict["AUTOCOMMIT"])
        connection_created.send(sender=self.__class__, connection=self)
        self.run_on_commit = []

    def close(self) -> None:
        """Give the connection back, also where a signal's handler raises meanwhile."""
        try:
            super().close()
        except BaseException:
            if self._checkout is not None:
                self.validate_thread_sharing()  # another's is not closed
                self._take_back()
                if not self.closed_in_transaction:
                    self.connection = None
            raise

    def _take_back(self) -> None:
        """End the checkout, whoever knows of it."""
        if self._checkout is not None:
            pool, ticket = self._checkout
            pool.take_back(ticket)

    def get_connection_params(self) -> dict[str, Any]:
        """The driver's parameters: Django's, less the pool's options; a PASSWORD that can be called is. May block."""
        if self._checks_out:  # Django asks at each checkout, and the pool has its own
            return {}
        settings = self.settings_dict
        options = {name: value for name, value in settings["OPTIONS"].items() if not name.isupper() and name != "pool"}
        password = settings["PASSWORD"]
        self.settings_dict = {
            **settings,
            "OPTIONS": options,
            "PASSWORD": password() if callable(password) else password,
        }
        try:
            params: dict[str, Any] = super().get_connection_params()
        finally:
            self.settings_dict = settings
        return params

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """A connection from the pool; without one, Django's own way.

        Raises what `getconn` does, and DatabaseError for a wrapper of another greenlet that is not shared.
        """
        pool = self.pool
        if pool is None:
            return super().get_new_connection(conn_params)
        self.validate_thread_sharing()  # or the slot would be bound to a greenlet that may not even use it
        connection = pool.getconn(self._checkout and self._checkout[1])
        if self._thread_sharing_count:  # Django's `allow_thread_sharing`, which takes a lock to read it
            self._share(connection)
        self.isolation_level = pool.isolation_level
        return connection

    def set_autocommit(self, autocommit: bool, *args: Any, **kwargs: Any) -> None:
        """Django's own; connect() asks it for what a connection from the pool has already."""
        has_it = self._checks_out and autocommit and self.connection.autocommit
        if has_it and not self.run_commit_hooks_on_set_autocommit_on:
            self.autocommit = autocommit
        else:
            super().set_autocommit(autocommit, *args, **kwargs)

    # What follows is done for each request, and Django's own way to do it is longer where the answer is known.

    def init_connection_state(self) -> None:
        """Django's own; a connection from the pool is configured, and its server's version is asked for once."""
        if not self._checks_out or self.alias not in any_database.RAN_DB_VERSION_CHECK:
            super().init_connection_state()

    def validate_thread_sharing(self) -> None:
        """Django's own, which asks a lock whether others may use it before it looks who calls."""
        if self._thread_ident != get_ident():
            super().validate_thread_sharing()

    def _close(self) -> None:
        raw = self.connection
        if raw is None or not self._is_pooled:
            super()._close()  # type: ignore[misc]
        else:
            raw._pool.putconn(raw)
            self.connection = None

    def create_cursor(self, name: str | None = None) -> Any:
        """A cursor of the driver's. Raises Django's DatabaseError where the connection is another greenlet's."""
        try:
            return super().create_cursor(name)
        except self.Database.InterfaceError:
            self.validate_thread_sharing()  # Django's own asks afterwards; its word comes first here too
            raise

    def _set_autocommit(self, autocommit: bool) -> None:
        # `atomic` ends with this. Who was stopped in its COMMIT shall see what stopped it, and not that the connection,
        # which nobody will use again, cannot be set any more. It does not begin without it: its block would not be one.
        if driver.is_lost(self.connection):
            if autocommit:
                return
            if not self.connection.closed:
                raise ProgrammingError("a statement of this connection has not ended, a stream perhaps: end it before")
        super()._set_autocommit(autocommit)  # type: ignore[misc]


def _close_parents() -> None:
    """In a forked child: let who forked take connections of his own, where no transaction of his is open."""
    for wrapper in connections.all(initialized_only=True):
        if isinstance(wrapper, DatabaseWrapper) and not wrapper.in_atomic_block:
            with contextlib.suppress(Exception):  # a driver's, or Django's in an event loop
                wrapper.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_parents)
