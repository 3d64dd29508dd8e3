"""What an application can see of transaction mode, and that async views can see nothing more."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import gevent
import gevent.event
import pytest
from asgiref.sync import sync_to_async
from django.db import Error, connections, transaction
from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.test import AsyncClient, override_settings
from django.urls import path

from pooldemo.postgresql import PoolFull, PoolTimeout

from .elsewhere import patched, threaded
from .site import Database, Site
from .test_transaction_mode import elsewhere, is_free, one_slot, uses


@patched
def test_two_statements_may_run_in_two_sessions(site: Site) -> None:
    """`pg_backend_pid()` is not the same all through a request."""
    db = one_slot(site, MAX_CONNS=2)
    db.fill(2)
    seen = set()
    with db.connection.cursor() as cursor:
        for _ in range(4):
            cursor.execute("SELECT pg_backend_pid()")
            seen.add(cursor.fetchone())
            other = connections.create_connection(db.alias)  # takes the one that went back, and gives the other
            site.finally_do(other.close)
            other.ensure_connection()
            cursor.execute("SELECT pg_backend_pid()")
            seen.add(cursor.fetchone())
            other.close()
    assert len(seen) == 2


@patched
def test_lastval_is_for_the_statement_that_drew_it(site: Site) -> None:
    """RETURNING, which Django uses, is the way; in a transaction lastval() is as ever."""
    db, table = one_slot(site), site.name("drawn")
    site.finally_do(lambda: site.database(pool=False).ask(f"DROP TABLE {table}"))
    uses(db, f"CREATE TABLE {table} (id serial)")
    with db.connection.cursor() as cursor:
        with transaction.atomic(using=db.alias):
            cursor.execute(f"INSERT INTO {table} DEFAULT VALUES")
            cursor.execute("SELECT lastval()")
            assert cursor.fetchone() == (1,)
        cursor.execute(f"INSERT INTO {table} DEFAULT VALUES RETURNING id")
        assert (cursor.fetchone(), is_free(db)) == ((2,), True)


@contextlib.contextmanager
def busy(db: Database, waiting: int) -> Iterator[None]:
    """Another request has the one slot, and so many more wait for it."""
    begun, ended = gevent.event.Event(), gevent.event.Event()

    def hold() -> None:
        with transaction.atomic(using=db.alias):
            uses(db)
            begun.set()
            ended.wait()

    others = [gevent.spawn(hold)]
    begun.wait()
    others += [gevent.spawn(db.ask) for _ in range(waiting)]
    db.site.wait_until(lambda: db.pool.get_stats()["requests_waiting"] == waiting)
    try:
        yield
    finally:
        ended.set()
        gevent.joinall(others, raise_error=True)


@patched
def test_each_statement_may_find_no_slot(site: Site) -> None:
    """Not only the first one of a request: an answer that is streamed is cut off by it."""
    refusals: tuple[tuple[dict[str, Any], int, type[Error]], ...] = (
        ({"POOL_TIMEOUT": 0.05}, 0, PoolTimeout),
        ({"MAX_WAITING": 1}, 1, PoolFull),
    )
    for options, waiting, error in refusals:
        db = one_slot(site, **options).reach()

        def numbers(db: Database = db) -> Iterator[str]:
            for number in range(3):
                with db.connection.cursor() as cursor:
                    cursor.execute("SELECT %s", [number])
                    yield str(cursor.fetchone()[0])

        parts = iter(StreamingHttpResponse(numbers()))
        assert [next(parts), next(parts)] == [b"0", b"1"]
        with busy(db, waiting), pytest.raises(error):
            next(parts)
        uses(db)


@patched
def test_the_statements_of_a_transaction_have_theirs(site: Site) -> None:
    db = one_slot(site, POOL_TIMEOUT=0.05).reach()
    with transaction.atomic(using=db.alias):
        uses(db)
        with pytest.raises(PoolTimeout):
            elsewhere(db)
        uses(db)


@threaded
def test_an_async_view_holds_no_slot_while_it_awaits(site: Site) -> None:
    """A thread runs its queries, as under any asgi server. Another request gets the slot in between."""
    db = one_slot(site)

    def of_another() -> bool:
        uses(db, "SELECT 2")
        return is_free(db)

    def transfer() -> bool:
        with transaction.atomic(using=db.alias):
            uses(db)
            return is_free(db)

    async def view(request: HttpRequest) -> JsonResponse:
        seen = []
        for _ in range(2):
            await sync_to_async(uses)(db)
            seen.append(await asyncio.to_thread(of_another))
        return JsonResponse({"between": seen, "inside": await sync_to_async(transfer)()})

    with override_settings(ROOT_URLCONF=(path("", view),)):
        answer: Any = asyncio.run(AsyncClient().get("/"))
    assert answer.json() == {"between": [True, True], "inside": False}
    assert is_free(db)
