"""A connection for each request, in Flask."""

from pooldemo.sweep.stacks.peer import peer

STACK = peer(
    "connect-each",
    "Flask with a connection opened and closed by each request: it pays a connect of a millisecond or two each time, "
    "and nothing limits their number. It ignores MAX_CONNS.",
    module="psycopg2",
    capped=False,
)
