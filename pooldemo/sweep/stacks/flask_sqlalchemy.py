"""Async Flask over SQLAlchemy's QueuePool."""

from pooldemo.sweep.stacks.peer import peer

STACK = peer(
    "flask-sqlalchemy",
    "Flask over SQLAlchemy's QueuePool with psycogreen. Half of MAX_CONNS is pool_size, the other half max_overflow: "
    "the overflow is opened and closed as the load comes and goes. It keeps its cap. Its queue is "
    "not fair: a waiter that was woken may find the connection taken, and goes to the end of the queue.",
)
