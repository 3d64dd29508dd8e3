"""A rival: Starlette over asyncpg's own pool."""

from dataclasses import replace

from pooldemo.stacks.peer import peer

STACK = replace(
    peer(
        "starlette-asyncpg",
        "Starlette over asyncpg's own pool, under uvicorn with uvloop: no Django, no ORM, no greenlets. The least work"
        " per request of all stacks; what it would take to move a Django site there is everything.",
        module="asyncpg",
        asgi=True,
    ),
    name="asyncpg",
)
