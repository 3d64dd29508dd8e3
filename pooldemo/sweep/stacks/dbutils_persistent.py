"""DBUtils' PersistentDB."""

from pooldemo.sweep.stacks.peer import peer

STACK = peer(
    "dbutils-persistent",
    "Flask over DBUtils' PersistentDB: a connection for each thread, which is each greenlet here, so as many as "
    "clients that stay connected. MAX_CONNS means nothing to it.",
    module="dbutils",
    capped=False,
)
