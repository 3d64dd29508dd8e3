"""Who holds PostgreSQL's connections: of all sites and programs that use the server, as the server sees them."""

from contextlib import closing
from dataclasses import dataclass

from django.db import DEFAULT_DB_ALIAS

from pooldemo.postgresql.room import Limits, Room, Taken, read
from pooldemo.postgresql.unpooled import APPLICATION_NAME, plain_connection

# What a session is, as what it does, is told of others' to superusers and members of pg_read_all_stats alone. Of the
# server's own processes one has a role as well, but no database: that which launches logical replication.
CLIENT = "(backend_type = 'client backend' OR backend_type IS NULL AND usesysid IS NOT NULL AND datid IS NOT NULL)"
_WHO = f"""
    SELECT application_name, coalesce(host(client_addr), 'socket'), coalesce(usename, ''), coalesce(datname, ''),
           count(*) FILTER (WHERE state = 'active'), count(*) FILTER (WHERE state = 'idle'),
           count(*) FILTER (WHERE state LIKE 'idle in transaction%%'), count(*), count(*) FILTER (WHERE state IS NULL)
    FROM pg_stat_activity
    WHERE {CLIENT} AND application_name <> '{APPLICATION_NAME}'
    GROUP BY 1, 2, 3, 4 ORDER BY 8 DESC, 1, 2, 3, 4
"""  # noqa: S608  a constant of ours


@dataclass(frozen=True)
class Holder:
    """Connections of one application, host, role and database, by what they do. Of so many of the `total` PostgreSQL
    tells us neither that nor the host: they are `hidden`."""

    application: str
    host: str
    role: str
    database: str
    active: int
    idle: int
    in_transaction: int
    total: int
    hidden: int = 0


@dataclass(frozen=True)
class Server:
    """All holders, the most first, and how many connections the server takes from the role and database that ask."""

    holders: tuple[Holder, ...]
    limits: Limits

    @property
    def total(self) -> int:
        return sum(each.total for each in self.holders)

    @property
    def hidden(self) -> int:
        return sum(each.hidden for each in self.holders)

    @property
    def room(self) -> Room:
        limits, of = self.limits, self.holders
        role = sum(each.total for each in of if each.role == limits.role)
        return limits.room(Taken(self.total, role, sum(each.total for each in of if each.database == limits.database)))


def look(alias: str = DEFAULT_DB_ALIAS) -> Server:
    """Ask the server of that database, past every pool, whatever ENGINE it has. Blocks; raises django.db.Error."""
    with closing(plain_connection(alias)) as connection, connection.cursor() as cursor:
        cursor.execute(_WHO, ())
        return Server(tuple(Holder(*row) for row in cursor.fetchall()), read(connection.connection))
