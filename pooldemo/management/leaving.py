"""The end of a command that the embedded PostgreSQL must not outlive."""

from django.conf import settings
from django.db import connections

from pooldemo.postgresql import pools


def leave_nothing_running() -> None:
    """Stop it, unless a user asked for it or another process uses it; this one's connections end before."""
    connections.close_all()
    for pool in pools():
        pool.close()
    if embedded := getattr(settings, "EMBEDDED", None):
        embedded.stop(unless_asked=True)
