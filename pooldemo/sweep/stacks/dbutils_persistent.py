"""DBUtils' PersistentDB."""

from pooldemo.sweep.stacks.peer import peer

STACK = peer(
    "dbutils-persistent",
    "Flask over DBUtils' PersistentDB: a connection for each thread, which is each greenlet here, so as many as "
    "clients that stay connected. It ignores MAX_CONNS.",
    module="dbutils",
    capped=False,
)
