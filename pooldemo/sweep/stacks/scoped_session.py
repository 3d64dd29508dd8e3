"""The cure: a SQLAlchemy session for each greenlet."""

from pooldemo.sweep.stacks.peer import peer

STACK = peer(
    "scoped-session",
    "Flask with SQLAlchemy's scoped_session over a QueuePool of MAX_CONNS without overflow: the cure of the shared "
    "session. It keeps its cap; QueuePool's queue is not fair.",
)
