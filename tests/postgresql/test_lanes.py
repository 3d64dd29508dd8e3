"""`with priority("low")`: who never takes the last slots, and until when it is said."""

from collections.abc import Generator
from typing import Any

import gevent
import pytest

from pooldemo.postgresql import ClientGone, deadline, priority
from pooldemo.postgresql.lanes import current_level
from pooldemo.postgresql.limits import Limit, current, limited

from .elsewhere import patched
from .site import Site
from .test_limits import patiently


@patched
def test_low_priority_leaves_the_last_slot_to_others(site: Site) -> None:
    patiently(site)
    db = site.database(MAX_CONNS=2, POOL_TIMEOUT=600)

    limit = Limit()

    @priority("low")
    def exports() -> None:
        with limited(limit):
            db.ask("SELECT pg_sleep(600)")

    exporting = [gevent.spawn(exports) for _ in range(5)]
    site.wait_until(lambda: db.pool.get_stats()["requests_waiting"] == 4)
    assert db.ask("SELECT 1") == 1
    limit.give_up()
    gevent.joinall(exporting)
    assert {type(each.exception) for each in exporting} == {ClientGone}
    assert db.pool.get_stats()["requests_waiting"] == 0


def test_a_priority_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="give 'low' or 'normal'"), priority("high"):
        pass


@pytest.mark.parametrize("says", [deadline, priority])
def test_what_two_generators_said_in_turn_is_over_with_the_last_of_them(says: Any) -> None:
    def said(what: Any) -> Generator[None, None, None]:
        with says(what):
            yield

    before = current(), current_level()
    for order in (0, 1), (1, 0):
        first = [said(9 if says is deadline else "low"), said(8 if says is deadline else "normal")]
        for each in first:
            next(each)
        for index in order:
            first[index].close()
        assert (current(), current_level()) == before


def test_a_limit_that_holds_already_holds_on() -> None:
    limit = Limit()
    with limited(limit):
        with limited(limit):
            assert current() is limit
        assert current() is limit
    assert current() is None
