"""uPool, which does not queue."""

from pooldemo.sweep.stacks.peer import peer

STACK = peer(
    "upool",
    "Flask over a queue of connections that is asked without waiting: three retries 0.1 s apart, then an error. It "
    "fails fast instead of queueing, so under more users than connections its latencies look good and many requests "
    "fail.",
    module="psycopg2",
)
