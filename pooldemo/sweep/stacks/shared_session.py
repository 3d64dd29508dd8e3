"""The misuse: one SQLAlchemy session for all."""

from pooldemo.sweep.stacks.peer import peer

STACK = peer(
    "shared-session",
    "Flask with one global SQLAlchemy session, a misuse: the pool behind it is configured and never used, requests "
    "meet on one connection, and nearly all fail. Its failures are the point.",
)
