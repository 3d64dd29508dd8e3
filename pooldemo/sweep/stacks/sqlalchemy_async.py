"""SQLAlchemy's asyncio sessions."""

from pooldemo.sweep.stacks.peer import peer

STACK = peer(
    "sqlalchemy-async",
    "Starlette over SQLAlchemy's create_async_engine and asyncpg, under uvicorn: pool_size is MAX_CONNS, no overflow. "
    "Its connections stay open when idle, which is the pool at work and not a leak. It keeps its cap; its queue is "
    "asyncio's and not fair.",
    asgi=True,
)
