"""`ENGINE = "pooldemo.postgresql"`: Django's own PostgreSQL wrapper over our pool.

Django knows how to live with a pool: it asks `self.pool` for connections, has them configured once, and returns them
instead of closing them. This gives it one, and leaves the rest to Django.
"""

from typing import Any, Self

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import base
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from pooldemo.pool import NAMES, OptionError, Options

from . import driver
from .interpreter import refuse_without_gil
from .registry import ConnectionPool, close_pools, pool_for

refuse_without_gil()


class DatabaseWrapper(base.DatabaseWrapper):
    """One greenlet's or thread's view of a database; its connection comes from the pool that all of them share."""

    _pool: ConnectionPool | None = None
    _pool_settings: tuple[dict[str, Any], dict[str, Any]] | None = None  # what `_pool` was made for

    @property
    def pool(self) -> ConnectionPool | None:
        """The pool of this alias and its parameters, or None where there is to be none: `pool: False`, and no database.

        Raises ImproperlyConfigured when an option is unknown or out of range.
        """
        settings = self.settings_dict
        options = settings["OPTIONS"]
        # Tests change the settings of a living wrapper; comparing them costs less than making the pool's key.
        if self._pool is not None and self._pool_settings == (settings, options) and not self._pool.closed:
            return self._pool
        if self.alias == NO_DB_ALIAS or settings["NAME"] is None or options.get("pool") is False:
            return None
        self._pool = pool_for(self)
        self._pool_settings = ({**settings}, {**options})
        return self._pool

    @property
    def pool_options(self) -> Options:
        """The pool's options among OPTIONS: the names in capitals. Raises ImproperlyConfigured."""
        options = self.settings_dict["OPTIONS"]
        if options.get("pool") not in (None, True, False):
            raise ImproperlyConfigured(
                f"'pool': {options['pool']!r} is not accepted with ENGINE {__package__!r}: leave it out, and give the "
                f"pool's options in OPTIONS itself ({', '.join(sorted(NAMES))}), or 'pool': False for no pool."
            )
        try:
            return Options.read({name: value for name, value in options.items() if name.isupper() or name in NAMES})
        except OptionError as error:
            raise ImproperlyConfigured(f"DATABASES[{self.alias!r}]['OPTIONS']: {error}") from None

    def without_pool(self) -> Self:
        """A wrapper of the same database that connects by itself."""
        options = {**self.settings_dict["OPTIONS"], "pool": False}
        return type(self)({**self.settings_dict, "OPTIONS": options}, alias=self.alias)

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

    def get_connection_params(self) -> dict[str, Any]:
        """The driver's parameters: Django's, less the pool's options."""
        params: dict[str, Any] = super().get_connection_params()
        return {name: value for name, value in params.items() if not name.isupper()}

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """A connection from the pool; without one, Django's own way.

        Raises what `getconn` does, and DatabaseError for a wrapper of another greenlet that is not shared.
        """
        pool = self.pool
        if pool is None:
            return super().get_new_connection(conn_params)
        self.validate_thread_sharing()  # or the slot would be bound to a greenlet that may not even use it
        connection = pool.getconn()
        if self.allow_thread_sharing:
            pool.share(connection, self)
        self.isolation_level = pool.isolation_level
        return connection

    def _set_autocommit(self, autocommit: bool) -> None:
        # `atomic` ends with this. Who was stopped in its COMMIT shall see what stopped it, and not that the connection,
        # which nobody will use again, cannot be set any more.
        if driver.idle_and_whole(self.connection) is not None:
            super()._set_autocommit(autocommit)  # type: ignore[misc]

    def create_cursor(self, name: str | None = None) -> Any:
        cursor = super().create_cursor(name)
        if name and is_psycopg3 and self.pool:
            self.connection._named.append(cursor)
            driver.note(self.connection, f"cursor {name}")
        return cursor
