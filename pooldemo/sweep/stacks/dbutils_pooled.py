"""DBUtils' PooledDB."""

from pooldemo.sweep.stacks.peer import peer

STACK = peer(
    "dbutils-pooled",
    "Flask over DBUtils' PooledDB with maxconnections = MAX_CONNS and blocking. It keeps its cap, waits without a "
    "limit, holds its lock while it connects, and a few wait twice as long as the rest.",
    module="dbutils",
)
