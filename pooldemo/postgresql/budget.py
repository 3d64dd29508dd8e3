"""Do all the workers' pools together fit into what PostgreSQL accepts?"""

from contextlib import closing
from dataclasses import dataclass

from django.db import DEFAULT_DB_ALIAS, Error, connections

from .unpooled import plain_connection

_SQL = """
SELECT current_setting('max_connections')::int,
       current_setting('superuser_reserved_connections')::int
       + coalesce(current_setting('reserved_connections', true), '0')::int  -- since PostgreSQL 16
"""


class Unknown(Exception):
    """The budget cannot be told; the text says why."""


@dataclass(frozen=True)
class Budget:
    """`workers` processes with `max_conns` slots each, against a server with `max_connections`, of which some are
    `reserved` for its administrators."""

    workers: int
    max_conns: int
    max_connections: int
    reserved: int

    @property
    def wanted(self) -> int:
        return self.workers * self.max_conns

    @property
    def fits(self) -> bool:
        return self.wanted <= self.max_connections - self.reserved

    def __str__(self) -> str:
        sum_ = f"workers x MAX_CONNS = {self.workers} x {self.max_conns} = {self.wanted}"
        line = f"{sum_} of max_connections - reserved = {self.max_connections} - {self.reserved}"
        if self.fits:
            return line
        most = (self.max_connections - self.reserved) // self.workers
        return (
            f"{line}: too many. Under load PostgreSQL will refuse connections; set MAX_CONNS to {most} or less, "
            f"run fewer workers, or raise max_connections"
        )


def read_budget(workers: int, alias: str = DEFAULT_DB_ALIAS) -> Budget:
    """The budget of this site with so many workers, asked on a plain connection. Blocks.

    Raises Unknown, and ImproperlyConfigured when an option is not accepted.
    """
    wrapper = connections[alias]
    if not hasattr(type(wrapper), "pool_options"):
        raise Unknown(f"ENGINE {wrapper.settings_dict['ENGINE']!r} keeps its own count of connections")
    max_conns: int = wrapper.pool_options.max_conns  # type: ignore[attr-defined]
    try:
        with closing(plain_connection(alias)) as connection, connection.cursor() as cursor:
            cursor.execute(_SQL)
            max_connections, reserved = cursor.fetchone()
    except Error as error:
        raise Unknown(str(error).strip()) from error
    return Budget(workers, max_conns, max_connections, reserved)
