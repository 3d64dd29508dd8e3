"""What the systems in this folder share: the environment, the workloads' statements, the URLs, the shape of an answer.

How a connection is reached, kept and given back is what they differ in, so it is not here: each file brings a
`checkout`, a context manager that yields `execute(sql, *numbers)`; leaving it commits and gives the connection back.
"""

import os
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

if TYPE_CHECKING:
    from flask import Flask
    from starlette.applications import Starlette

Execute = Callable[..., object]
AsyncExecute = Callable[..., Awaitable[object]]
Step = tuple[str, tuple[float, ...]] | float  # a statement with its numbers, or seconds to think

MAX_CONNS = int(os.environ.get("MAX_CONNS", "20"))
APPLICATION_NAME = os.environ.get("PGAPPNAME", "peers")  # libpq reads it by itself; the drivers without libpq are told


def parameters(url: str) -> dict[str, str]:
    """The parts of a DATABASE_URL as libpq names them, without the pool options (in capitals) of its query string."""
    parts = urlsplit(url)
    user, _, address = parts.netloc.rpartition("@")
    host, _, port = address.partition(":") if not address.startswith("[") else address[1:].partition("]:")
    name, _, password = user.partition(":")
    found = {"host": host, "port": port, "user": name, "password": password, "dbname": parts.path.lstrip("/")}
    found |= {key: value for key, value in parse_qsl(parts.query) if not key.isupper()}
    return {key: unquote(value) for key, value in found.items() if value}


DATABASE = parameters(os.environ.get("DATABASE_URL", ""))


def knob(name: str, default: int) -> int:
    """One of the system's own knobs, under its own name, from the environment."""
    return int(os.environ.get(name, default))


def sqlalchemy_url(driver: str) -> Any:
    """DATABASE_URL for SQLAlchemy, over `driver`."""
    from sqlalchemy import URL

    known = {"host", "port", "user", "password", "dbname"}
    return URL.create(
        f"postgresql+{driver}",
        DATABASE.get("user"),
        DATABASE.get("password"),
        DATABASE.get("host"),
        int(DATABASE.get("port", "5432")),
        DATABASE.get("dbname"),
        {key: value for key, value in DATABASE.items() if key not in known},
    )


def statements(workload: str, given: Mapping[str, str]) -> list[Step] | None:
    """What a request for `workload` does in one transaction, as this site's own does it; None: no such workload."""
    ms = float(given.get("ms", "100"))
    known: dict[str, list[Step]] = {
        "nodb": [],
        "fast": [("SELECT 1", ())],
        "slow": [("SELECT pg_sleep(%s)", (ms / 1000,))],
    }
    return known.get(workload)


def answer(workload: str, wait_s: float, query_s: float) -> tuple[dict[str, Any], dict[str, str]]:
    """The JSON and the headers that every stack answers with."""
    wait_ms, query_ms = round(wait_s * 1000, 3), round(query_s * 1000, 3)
    timing = f"wait;dur={wait_ms}, query;dur={query_ms}"
    return {"workload": workload, "wait_ms": wait_ms, "query_ms": query_ms, "pid": os.getpid()}, {
        "Server-Timing": timing
    }


def flask_app(checkout: Callable[[], AbstractContextManager[Execute]]) -> "Flask":
    """A Flask application with the workloads' URLs over `checkout`, its driver green where gevent patched the process.

    An error that `checkout` raises is a 500 that says it, so that a trial can count failures by their reason.
    """
    from flask import Flask, abort, request
    from gevent.monkey import is_module_patched
    from psycogreen.gevent import patch_psycopg
    from werkzeug.exceptions import HTTPException

    if is_module_patched("socket"):
        patch_psycopg()
    app = Flask("peers")

    @app.get("/<workload>/")
    def work(workload: str) -> Any:
        steps = statements(workload, request.args)
        if steps is None:
            abort(404)
        if not steps:
            return answer(workload, 0, 0)
        asked = time.perf_counter()
        with checkout() as execute:
            got = time.perf_counter()
            for step in steps:
                time.sleep(step) if isinstance(step, float) else execute(step[0], *step[1])
            done = time.perf_counter()
        return answer(workload, got - asked, done - got)

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Any:
        return {"error": f"{type(error).__name__}: {error}"}, error.code if isinstance(error, HTTPException) else 500

    return app


def dollars(sql: str) -> str:
    """A statement with `%s` as asyncpg wants it: `$1`, `$2`, ..."""
    first, *rest = sql.split("%s")
    return first + "".join(f"${number}{part}" for number, part in enumerate(rest, 1))


def starlette_app(
    checkout: Callable[[], AbstractAsyncContextManager[AsyncExecute]],
    lifespan: "Callable[[Starlette], AbstractAsyncContextManager[None]] | None" = None,
) -> "Starlette":
    """The same in Starlette, for the systems on asyncio."""
    import asyncio

    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def work(request: Request) -> JSONResponse:
        workload = request.path_params["workload"]
        steps = statements(workload, request.query_params)
        if steps is None:
            return JSONResponse({"error": f"unknown workload {workload!r}"}, 404)
        if not steps:
            return reply(workload, 0, 0)
        asked = time.perf_counter()
        async with checkout() as execute:
            got = time.perf_counter()
            for step in steps:
                await (asyncio.sleep(step) if isinstance(step, float) else execute(step[0], *step[1]))
            done = time.perf_counter()
        return reply(workload, got - asked, done - got)

    def reply(workload: str, wait_s: float, query_s: float) -> JSONResponse:
        content, headers = answer(workload, wait_s, query_s)
        return JSONResponse(content, headers=headers)

    async def failed(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": f"{type(error).__name__}: {error}"}, 500)

    routes = [Route("/{workload}/", work)]
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers={Exception: failed})
