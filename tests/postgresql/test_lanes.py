"""`with priority("low")`: who never takes the last slots, and until when it is said."""

import asyncio
import threading
from collections.abc import Generator
from contextvars import copy_context
from typing import Any

import gevent
import pytest

from pooldemo.postgresql import ClientGone, deadline, priority
from pooldemo.postgresql.lanes import is_low
from pooldemo.postgresql.limits import Limit, current, limited, set_current, unlimited
from pooldemo.postgresql.scope import apart, go_on, said_here

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
def test_a_generator_and_an_async_def_need_it_inside(says: Any) -> None:
    """As the docs say: as decorators both are over when the function returns, which begins its work after that."""
    what = 9 if says is deadline else "low"

    def is_said() -> bool:
        return current() is not None or is_low()

    @says(what)
    def generator() -> Generator[bool, None, None]:
        yield is_said()

    @says(what)
    async def coroutine() -> bool:
        return is_said()

    def inside() -> Generator[bool, None, None]:
        with says(what):
            yield is_said()

    async def inside_too() -> bool:
        with says(what):
            return is_said()

    assert [*generator(), asyncio.run(coroutine())] == [False, False]
    assert [*inside(), asyncio.run(inside_too())] == [True, True]


@pytest.mark.parametrize("says", [deadline, priority])
def test_what_two_generators_said_in_turn_is_over_with_the_last_of_them(says: Any) -> None:
    def said(what: Any) -> Generator[None, None, None]:
        with says(what):
            yield

    before = current(), is_low()
    for order in (0, 1), (1, 0):
        first = [said(9 if says is deadline else "low"), said(8 if says is deadline else "normal")]
        for each in first:
            next(each)
        for index in order:
            first[index].close()
        assert (current(), is_low()) == before


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_whose_client_has_gone_is_told_whatever_generator_has_ended_around_it(order: tuple[int, int]) -> None:
    def said(seconds: float) -> Generator[Limit | None, None, None]:
        with deadline(seconds):
            yield current()

    request, told = Limit(), []
    with limited(request):
        generators = [said(900), said(800)]
        limits = [next(each) for each in generators]
        ends, stays = order
        generators[ends].close()
        limit = limits[stays]
        assert limit is not None
        limit.add(lambda: told.append(True))
        request.give_up()
        assert limit.is_over()
        assert told == [True]
        assert isinstance(limit.refusal("it works"), ClientGone)


@pytest.mark.parametrize("says", [deadline, priority])
def test_what_a_generator_said_is_over_though_another_thread_ends_it(says: Any) -> None:
    """As the garbage collector does. Else all later requests of the thread would have its priority."""

    def said() -> Generator[None, None, None]:
        with says(9 if says is deadline else "low"):
            yield

    generator = said()
    next(generator)
    thread = threading.Thread(target=generator.close)
    thread.start()
    thread.join()
    assert (current(), is_low()) == (None, False)


def test_the_end_of_a_generator_sets_no_context_variable() -> None:
    """Python 3.11 may collect it in the midst of setting another one, and then reads what is no more."""

    def said() -> Generator[None, None, None]:
        with deadline(9), priority("low"), unlimited():
            yield

    generator = said()
    next(generator)
    before = dict(copy_context())
    generator.close()
    assert dict(copy_context()) == before
    assert (current(), is_low()) == (None, False)


def test_a_limit_that_holds_already_holds_on() -> None:
    limit = Limit(600)
    with limited(limit):
        with limited(limit):
            assert current() is limit
        with deadline(5) as inner:
            with limited(limit):
                assert current() is limit
            assert current() is inner
        assert current() is limit
    assert current() is None


def test_a_limit_that_two_share_holds_until_each_of_them_has_left_it() -> None:
    limit = Limit(600)

    def does_its_part() -> None:
        with limited(limit):
            pass

    with limited(limit):
        thread = threading.Thread(target=does_its_part)
        thread.start()
        thread.join()
        with deadline(5):
            pass
        assert current() is limit


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_what_a_generator_said_is_over_whatever_ends_around_it_first(order: tuple[int, int]) -> None:
    """The request whose view has begun a stream, or what the pool does when the collector closes one."""

    def said(says: Any) -> Generator[None, None, None]:
        with says:
            yield

    def request() -> Generator[None, None, None]:
        before = said_here()
        set_current(Limit(600))  # as the middleware does
        try:
            yield
        finally:
            go_on(before)

    for first, second in (
        (request(), said(deadline(5))),
        (said(deadline(5)), said(unlimited())),
        (said(unlimited()), said(deadline(5))),
    ):
        both = first, second
        for each in both:
            next(each)
        for index in order:
            both[index].close()
        assert current() is None


@pytest.mark.parametrize("ends_after", [1, 2, 3])
def test_between_the_parts_of_a_stream_nothing_of_its_generator_holds(ends_after: int) -> None:
    """Nor, in its later parts, what has ended around it."""

    def holds() -> Any:
        limit = current()
        return is_low(), None if limit is None else limit.seconds

    def parts() -> Generator[Any, None, None]:
        yield holds()
        yield holds()
        with deadline(9), priority("normal"):
            yield holds()
            yield holds()
        yield holds()

    around = [(True, 5), (True, 5), (False, 5)]
    alone = [(False, None), (False, None), (False, 9), (False, 9), (False, None)]
    with deadline(5), priority("low"):
        made = apart(parts())
        for part in around[:ends_after]:
            assert next(made) == part
            assert holds() == (True, 5)
    for rest in alone[ends_after:]:
        assert next(made) == rest
        assert holds() == (False, None)
