"""How many connections PostgreSQL has for whoever logs in: asked here, and subtracted here, for all who say so."""

from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

NO_LIMIT = -1  # PostgreSQL's word for it
_SQL = """
SELECT current_setting('max_connections')::int,
       current_setting('superuser_reserved_connections')::int
       + coalesce(current_setting('reserved_connections', true), '0')::int,  -- since PostgreSQL 16
       CASE WHEN rolsuper THEN -1 ELSE rolconnlimit END,
       CASE WHEN rolsuper THEN -1 ELSE (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) END,
       session_user, current_database(), pg_backend_pid()
FROM pg_roles WHERE rolname = session_user  -- who logged in: what it is after SET ROLE is held to nothing
"""


class Taken(NamedTuple):
    """Connections that count already: of the server, of them those of our role, and those of our database."""

    server: int = 0
    role: int = 0
    database: int = 0


NOTHING = Taken()


class Room(NamedTuple):
    """What the narrowest limit leaves: of it so many are `taken`. `of_what` says it with its numbers, `raised` is what
    one raises to have more."""

    limit: int
    taken: int
    of_what: str
    raised: str

    @property
    def left(self) -> int:
        return max(0, self.limit - self.taken)


@dataclass(frozen=True)
class Limits:
    """A server with `max_connections`, of which some are `reserved` for its administrators, and which may hold the role
    or the database to less (NO_LIMIT: not).

    `between`: what we are connected to is not PostgreSQL itself but PgBouncer or another proxy: these limits are that
    one's to keep, and ours is how many clients it takes.
    """

    max_connections: int
    reserved: int
    role_limit: int = NO_LIMIT
    database_limit: int = NO_LIMIT
    between: bool = False
    role: str = ""
    database: str = ""

    def room(self, taken: Taken = NOTHING) -> Room:
        """By the limit that leaves the fewest."""
        of_server = f"max_connections - reserved = {self.max_connections} - {self.reserved}"
        rooms = [Room(self.max_connections - self.reserved, taken.server, of_server, "max_connections")]
        for limit, count, whose in (
            (self.role_limit, taken.role, "role"),
            (self.database_limit, taken.database, "database"),
        ):
            if limit != NO_LIMIT:
                its = f"the {whose}'s CONNECTION LIMIT"
                rooms.append(Room(limit, count, f"{its} = {limit}", f"{its} (ALTER {whose.upper()})"))
        return min(rooms, key=lambda each: each.limit - each.taken)


def read(connection: Any) -> Limits:
    """Asked of the server of that connection, which is the driver's own. Blocks; raises the driver's errors."""
    with closing(connection.cursor()) as cursor:
        cursor.execute(_SQL)
        max_connections, reserved, role_limit, database_limit, role, database, pid = cursor.fetchone()
    between = connection.info.backend_pid != pid  # a proxy that pools gives out numbers of its own
    return Limits(max_connections, reserved, role_limit, database_limit, between, role, database)
