"""A connection that is closed on our side counts until PostgreSQL has let go of it."""

import contextlib

import gevent

from .elsewhere import patched
from .site import Site


@patched
def test_it_keeps_the_cap_when_queries_are_abandoned(site: Site) -> None:
    """As PostgreSQL counts: a process whose client has gone in mid-query is there until it notices."""
    size = 3
    db = site.database(MAX_CONNS=size)

    def abandon() -> None:
        for _ in range(3):
            with contextlib.suppress(gevent.Timeout), gevent.Timeout(0.2):
                db.ask("SELECT pg_sleep(5)")

    greenlets = [gevent.spawn(abandon) for _ in range(2 * size)]
    most = 0
    while any(not greenlet.ready() for greenlet in greenlets):
        most = max(most, len(db.pids()))
        gevent.sleep(0.002)
    gevent.joinall(greenlets, raise_error=True)
    assert 0 < most <= size
    assert db.ask("SELECT 1") == 1
    assert db.pool.get_stats()["pool_size"] <= size
