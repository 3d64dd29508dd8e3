"""Why a command cannot do its work here, in one sentence with the line to type: a database that refuses, a folder that
cannot be written, a disk that is full. Pure but for `ask`, and a look at the environment. Errors of other kinds are
bugs and keep their traceback.
"""

import errno
import os
from collections.abc import Iterator
from typing import Any

from django.db import Error

from pooldemo.postgresql.unpooled import plain_connection

from .environment import without_password

PATIENCE_S = 5
FULL_SERVER = "all its connections are taken: end some, set a smaller MAX_CONNS, or raise its max_connections"
# What PostgreSQL or libpq says -> what it means and what to do about it, filled with the connection's settings.
REFUSALS = (
    ("could not translate host name", "no machine named {host} is known: mend the host"),
    ("timeout expired", "{host} port {port} does not answer: mend host and port, or look at its firewall"),
    ("Connection refused", "no PostgreSQL listens on {host} port {port}: start it there, or mend host and port"),
    ("No such file or directory", "no PostgreSQL has its socket in {host}: start it, or mend the host"),
    ("no password supplied", "it asks for the password of {user}: give it, as in postgres://{user}:password@..."),
    (
        "password authentication failed",
        "it does not take this password of {user}: mend it, or ALTER ROLE {user} PASSWORD '...'",
    ),
    (
        "Peer authentication failed",
        "it takes {user} only from the account of that name: name your own, or a host",
    ),
    ("no pg_hba.conf entry", "its pg_hba.conf lets {user} not in from here: add a line there, or try sslmode=require"),
    ("invalid response to SSL", "what listens on {host} port {port} is no PostgreSQL: mend host and port"),
    (
        "certificate verify failed",
        "its certificate has expired, or sslrootcert does not trust it: renew it there, or name its authority here",
    ),
    ("does not match host name", "its certificate is for another name: mend the host, or say sslmode=verify-ca"),
    ("does not support SSL", "it speaks no TLS: leave out sslmode, or say sslmode=disable"),
    ("is not permitted to log in", "it does not let {user} log in: ALTER ROLE {user} LOGIN"),
    (
        "too many connections for role",
        "all connections of {user} are taken: end some, set a smaller MAX_CONNS, or "
        "raise the limit (ALTER ROLE {user} CONNECTION LIMIT)",
    ),
    (
        "too many connections for database",
        "all connections of {name} are taken: end some, set a smaller MAX_CONNS, or "
        'raise the limit (ALTER DATABASE "{name}" CONNECTION LIMIT)',
    ),
    (
        "no more connections allowed",
        "PgBouncer takes no more clients: end some, set a smaller MAX_CONNS, or raise its max_client_conn",
    ),
    ("too many c", FULL_SERVER),
    ("connection slots are reserved", FULL_SERVER),
    ("is starting up", "it is still starting: the same command again, in some seconds"),
    ("in recovery mode", "it recovers from a crash: the same command again, in some seconds"),
    ("is shutting down", "it is shutting down: start it again"),
    ("server closed the connection", "it has ended this connection: the same command again"),
    ("terminating connection", "it has ended this connection: the same command again"),
    ("permission denied for schema", "{user} may make no tables there: ALTER DATABASE {name} OWNER TO {user}"),
    ("read-only transaction", "it takes no writes, as a standby does: name the primary"),
)
MISSING = {  # the kind of thing that "does not exist"
    "database": 'it has no database {name}: createdb -h {host} -p {port} -U {user} "{name}", or mend the name',
    "role": "it knows no role {user}: createuser -h {host} -p {port} --createdb {user}, or mend the user",
    "relation": "its tables are missing: python manage.py migrate",
}
NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS)
FULL = (errno.ENOSPC, errno.EDQUOT)


def sentence(error: BaseException, settings: dict[str, Any], url: str) -> str | None:
    """The refusal that `error` or one of its causes is, or None. `url` is empty for the embedded server."""
    for each in _causes(error):
        if isinstance(each, OSError) and each.errno in NOT_OURS + FULL:
            return _file(each)
        if isinstance(each, Error) and (means := _meaning(str(each), settings)):
            if not url:
                return f"PostgreSQL refuses: {means}."
            # A deployed site is given its secret, and in its container an embedded server would have no data.
            other = "" if os.environ.get("SECRET_KEY") else " Unset it to use the embedded PostgreSQL."
            return f"DATABASE_URL={without_password(url)}: {means}.{other}"
    return None


def ask(url: str) -> str | None:
    """Why the database of the settings cannot be used now; None when it can be. Blocks for PATIENCE_S at most."""
    connection = plain_connection(timeout_s=PATIENCE_S)
    try:
        connection.ensure_connection()
    except Error as error:
        said = " ".join(str(error).split())
        return sentence(error, connection.settings_dict, url) or f"DATABASE_URL={without_password(url)}: {said}"
    finally:
        connection.close()
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, then what it came from: a pool's timeout is about the connect that failed last."""
    while error is not None:
        yield error
        error = error.__cause__


def _meaning(said: str, settings: dict[str, Any]) -> str | None:
    fields = {
        "host": settings.get("HOST") or "this machine's socket",
        "port": settings.get("PORT") or 5432,
        "user": settings.get("USER") or "your account's name",
        "name": settings.get("NAME"),
    }
    for words, meaning in REFUSALS:
        if words in said:
            return meaning.format(**fields)
    if "does not exist" in said:
        for kind, meaning in MISSING.items():
            if f'{kind} "' in said:
                return meaning.format(**fields)
    return None


def _file(error: OSError) -> str:
    where = error.filename or "a file of this command"
    cure = "make it yours (chown), or work in a copy of this folder that is"
    if error.errno in FULL:
        cure = "make room (df -h shows where), then the same command again"
    return f"{where} cannot be written ({error.strerror}): {cure}."
