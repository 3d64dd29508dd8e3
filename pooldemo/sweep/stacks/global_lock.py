"""One connection under a lock."""

from pooldemo.sweep.stacks.peer import peer

STACK = peer(
    "global-lock",
    "Flask over one global connection under one lock: serial, never two queries at once, however large MAX_CONNS is.",
    module="psycopg2",
)
