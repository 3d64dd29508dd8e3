"""Seed 0: async Flask over SQLAlchemy's QueuePool."""

from pooldemo.stacks.peer import peer

STACK = peer(
    "flask-sqlalchemy",
    "Flask over SQLAlchemy's QueuePool with psycogreen. Half of MAX_CONNS is pool_size, the other half max_overflow, "
    "as in its write-up: the overflow is opened and closed as the load comes and goes. It keeps its cap; its queue is "
    "not fair, a request that comes later may be served first, so a few wait for seconds while most do not.",
)
