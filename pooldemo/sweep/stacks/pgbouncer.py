"""PgBouncer in front of PostgreSQL, transaction pooling, and Django with a connection for each request to it."""

import os
import secrets

from pooldemo.sweep.stacks.green import without_pool
from pooldemo.sweep.stacks.stack import DatabaseConfig, Helper, Stack

# It refuses to run as root. It reads its files before it becomes another, so they stay readable by their owner alone.
_USER = ("-u", "{account}") if os.geteuid() == 0 else ()
# Its clients have a user of their own: PostgreSQL's may have no password, and then anybody here could come in.
_CLIENT, _PASSWORD = "sweep", secrets.token_hex()

_CONFIG = """\
[databases]
* = host='{host}' port={dbport} user='{user}'

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {helper_port}
unix_socket_dir =
auth_type = plain
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 10000
ignore_startup_parameters = extra_float_digits,options
log_connections = 0
log_disconnections = 0
"""


def _database(config: DatabaseConfig) -> DatabaseConfig:
    # A server-side cursor outlives its transaction, and so its connection.
    return without_pool(config, "django.db.backends.postgresql", 0) | {"DISABLE_SERVER_SIDE_CURSORS": True}


PGBOUNCER = Helper(
    command=("pgbouncer", "-q", *_USER, "{folder}/pgbouncer.ini"),
    files={"pgbouncer.ini": _CONFIG, "users": f'"{_CLIENT}" "{_PASSWORD}"\n"{{user}}" "{{password}}"\n'},
    database_url=f"postgres://{_CLIENT}:{_PASSWORD}@127.0.0.1:{{helper_port}}/{{dbname}}",
)

STACK = Stack(
    name="pgbouncer",
    about=(
        "This Django site with a connection for each request, CONN_MAX_AGE 0, to a PgBouncer on loopback that shares "
        "MAX_CONNS connections among all workers, a transaction at a time. The connect is cheap but paid each time, "
        "and every query makes one hop more; session state (SET, advisory locks, LISTEN) is not the request's own."
    ),
    database=_database,
    programs=("pgbouncer",),
    remedy="apt install pgbouncer, or brew install pgbouncer",
    helpers=(PGBOUNCER,),
    pool_path=None,
)
