"""A rival: Starlette and asyncpg's own pool, without Django and without an ORM.

asyncpg opens MIN_SIZE connections ahead (its default is 10, at most MAX_SIZE, here MAX_CONNS) and resets a session at
each release with a round trip of its own. It waits on asyncio's queue: who was woken may find the connection taken by
one who came just then, and goes to the end of the line.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from starlette.applications import Starlette

from peers.common import APPLICATION_NAME, DATABASE, MAX_CONNS, AsyncExecute, dollars, knob, starlette_app

MIN_SIZE = knob("MIN_SIZE", min(10, MAX_CONNS))
POOL_TIMEOUT = knob("POOL_TIMEOUT", 30)
pool: asyncpg.Pool


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    global pool
    known = {"database" if name == "dbname" else name: value for name, value in DATABASE.items()}
    names = {"application_name": APPLICATION_NAME}
    async with asyncpg.create_pool(**known, min_size=MIN_SIZE, max_size=MAX_CONNS, server_settings=names) as pool:
        yield


@asynccontextmanager
async def checkout() -> AsyncIterator[AsyncExecute]:
    async with pool.acquire(timeout=POOL_TIMEOUT) as connection:
        yield lambda sql, *numbers: connection.fetch(dollars(sql), *numbers)


app = starlette_app(checkout, lifespan, autocommit=True)
