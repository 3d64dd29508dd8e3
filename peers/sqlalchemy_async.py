"""SQLAlchemy on asyncio: `create_async_engine` over asyncpg, `async with async_session()`, under Starlette.

POOL_SIZE (SQLAlchemy's default is 5) connections stay open when idle: that is the pool at work, not a leak. Leaving the
block gives the connection back; an explicit close is superfluous. MAX_CONNS is POOL_SIZE + MAX_OVERFLOW.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from peers.common import APPLICATION_NAME, MAX_CONNS, AsyncExecute, dollars, knob, sqlalchemy_url, starlette_app

MAX_OVERFLOW = knob("MAX_OVERFLOW", 0)
POOL_SIZE = knob("POOL_SIZE", MAX_CONNS - MAX_OVERFLOW)
POOL_TIMEOUT = knob("POOL_TIMEOUT", 30)

engine = create_async_engine(
    sqlalchemy_url("asyncpg"),
    pool_size=POOL_SIZE,
    max_overflow=MAX_OVERFLOW,
    pool_timeout=POOL_TIMEOUT,
    connect_args={"server_settings": {"application_name": APPLICATION_NAME}},
)
async_session = async_sessionmaker(engine, expire_on_commit=False)


@asynccontextmanager
async def checkout() -> AsyncIterator[AsyncExecute]:
    async with async_session() as session:
        connection = await session.connection()  # it reads all of a result by itself
        yield lambda sql, *numbers: connection.exec_driver_sql(dollars(sql), numbers)
        await session.commit()


app = starlette_app(checkout)
