"""A view that recurses without end, and asks the database at each step, costs itself and no slot."""

import contextlib

from stack_end import deeper, most_calls

from .elsewhere import patched, threaded
from .site import Site


def recurses(site: Site, mode: str) -> None:
    db = site.database(MAX_CONNS=2, POOL_MODE=mode, MAX_IDLE=0, MAX_LIFETIME=0)

    def view() -> None:
        with db.connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        view()

    most, ended = most_calls(), 0
    for left in range(20, 120):
        with contextlib.suppress(RecursionError):
            deeper(most - left, view)
            ended += 1
        db.end_request()
        assert len(db.fill(2)) == 2, f"with {left} calls left"
        assert len(db.pids()) <= 2
    assert not ended


@patched
def test_no_slot_is_lost_of_a_view_that_recurses_without_end(site: Site) -> None:
    recurses(site, "request")
    recurses(site, "transaction")


@threaded
def test_no_slot_is_lost_of_a_view_that_recurses_without_end_under_threads(site: Site) -> None:
    recurses(site, "request")
    recurses(site, "transaction")


def closes_or_says_so(site: Site) -> None:
    """It said nothing: its slot was free, and the connection went on for as long as somebody had it."""
    connector = site.database(MAX_CONNS=1).pool.connector
    most, ended = most_calls(), 0
    for left in range(3, 60):
        session = connector.new()
        connector.open(session, 30)
        try:
            deeper(most - left, session.close)
        except RecursionError:
            ended += 1
            assert not session.is_closed()
            session.close()
        assert session.is_closed(), f"with {left} calls left"
        assert session.leaving is not None, f"with {left} calls left"
        site.wait_until(session.is_gone)
    assert ended


@patched
def test_a_connection_is_closed_wherever_the_stack_ends(site: Site) -> None:
    closes_or_says_so(site)


@threaded
def test_a_connection_is_closed_wherever_the_stack_ends_under_threads(site: Site) -> None:
    closes_or_says_so(site)
