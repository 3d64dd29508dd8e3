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
