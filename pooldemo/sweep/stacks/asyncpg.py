"""A rival: Starlette over asyncpg's own pool."""

from dataclasses import replace

from pooldemo.sweep.stacks.peer import peer

STACK = replace(
    peer(
        "starlette-asyncpg",
        "Starlette over asyncpg's own pool, under uvicorn with uvloop: no Django, no ORM, no greenlets, so the least "
        "work per request of all stacks. It keeps its cap. Its queue is asyncio's: a waiter that was woken may find "
        "that a newer request has taken the connection, and goes to the end of the queue.",
        module="asyncpg",
        asgi=True,
    ),
    name="asyncpg",
)
