"""What the systems in this folder share: the environment, the workloads' statements, the URLs, the shape of an answer.

How a connection is reached, kept and given back is what they differ in, so it is not here: each file brings a
`checkout`, a context manager that yields `execute(sql, *numbers)`; leaving it commits and gives the connection back.
"""

import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pooldemo.sweep.workloads import WORKLOADS, BadParameter, Workload

if TYPE_CHECKING:
    from flask import Flask
    from starlette.applications import Starlette

Execute = Callable[..., object]
AsyncExecute = Callable[..., Awaitable[object]]
Step = tuple[str, tuple[float, ...]] | float  # a statement and its numbers, or seconds to think

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


def on_cursor(cursor: Any) -> Execute:
    """`execute` on a DB-API cursor: runs the statement and reads all of its result."""

    def execute(sql: str, *numbers: float) -> None:
        cursor.execute(sql, numbers)
        if cursor.description:
            cursor.fetchall()

    return execute


def on_session(session: Any) -> Execute:
    """`execute` on a SQLAlchemy session; its connection is taken here, so that the wait for it ends here."""
    connection = session.connection()

    def execute(sql: str, *numbers: float) -> None:
        result = connection.exec_driver_sql(sql, numbers)
        if result.returns_rows:
            result.all()

    return execute


class _Recorder:
    """A workload's session that notes the steps instead of taking them: no workload looks at what comes back."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def execute(self, sql: str, parameters: Sequence[float] = ()) -> None:
        self.steps.append((sql, tuple(parameters)))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.steps.append(("BEGIN", ()))
        yield
        self.steps.append(("COMMIT", ()))

    def think(self, seconds: float) -> None:
        self.steps.append(seconds)


def planned(workload: Workload, query: Iterable[tuple[str, str]], autocommit: bool) -> list[Step]:
    """The steps of one request. `autocommit`: transactions are spelled out, since the checkout is none by itself.

    Raises BadParameter.
    """
    session = _Recorder()
    workload.perform(session, **workload.parse(query))
    return [step for step in session.steps if autocommit or step not in (("BEGIN", ()), ("COMMIT", ()))]


def answer(workload: Workload, wait_s: float, query_s: float) -> tuple[dict[str, Any], dict[str, str]]:
    """The JSON and the headers that every stack answers with."""
    wait_ms, query_ms = round(wait_s * 1000, 3), round(query_s * 1000, 3)
    content = {"workload": workload.name, "wait_ms": wait_ms, "query_ms": query_ms, "pid": os.getpid()}
    return content, {"Server-Timing": f"wait;dur={wait_ms}, query;dur={query_ms}"}


def failure(error: Exception) -> dict[str, str]:
    """The JSON of an error: its kind, which is the same each time, and its text."""
    return {"error": type(error).__name__, "message": str(error)}


def flask_app(checkout: Callable[[], AbstractContextManager[Execute]]) -> "Flask":
    """A Flask application with the workloads' URLs over `checkout`, its driver green where gevent patched the process.

    An error that `checkout` raises is a 500 that says it, so that a trial can count failures by their reason.
    """
    from flask import Flask, request
    from gevent.monkey import is_module_patched
    from psycogreen.gevent import patch_psycopg
    from werkzeug.exceptions import HTTPException

    if is_module_patched("socket"):
        patch_psycopg()
    app = Flask("peers")

    def work(workload: Workload) -> Any:
        steps = planned(workload, request.args.items(multi=True), autocommit=False)
        if not steps:
            return answer(workload, 0, 0)
        asked = time.perf_counter()
        with checkout() as execute:
            got = time.perf_counter()
            for step in steps:
                time.sleep(step) if isinstance(step, float) else execute(step[0], *step[1])
            done = time.perf_counter()
        return answer(workload, got - asked, done - got)

    for workload in WORKLOADS.values():
        app.add_url_rule(f"/{workload.name}/", workload.name, partial(work, workload))

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Any:
        if isinstance(error, HTTPException):
            return error
        return failure(error), 400 if isinstance(error, BadParameter) else 500

    return app


def dollars(sql: str) -> str:
    """A statement with `%s` as asyncpg wants it: `$1`, `$2`, ..."""
    first, *rest = sql.split("%s")
    return first + "".join(f"${number}{part}" for number, part in enumerate(rest, 1))


def starlette_app(
    checkout: Callable[[], AbstractAsyncContextManager[AsyncExecute]],
    lifespan: "Callable[[Starlette], AbstractAsyncContextManager[None]] | None" = None,
    autocommit: bool = False,
) -> "Starlette":
    """The same in Starlette, for the systems on asyncio."""
    import asyncio

    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def work(workload: Workload, request: Request) -> JSONResponse:
        steps = planned(workload, request.query_params.multi_items(), autocommit)
        if not steps:
            return reply(workload, 0, 0)
        asked = time.perf_counter()
        try:
            async with checkout() as execute:
                got = time.perf_counter()
                for step in steps:
                    await (asyncio.sleep(step) if isinstance(step, float) else execute(step[0], *step[1]))
                done = time.perf_counter()
        except Exception as error:  # here, since Starlette hands an Exception on to uvicorn, which hangs up
            return JSONResponse(failure(error), 500)
        return reply(workload, got - asked, done - got)

    def reply(workload: Workload, wait_s: float, query_s: float) -> JSONResponse:
        content, headers = answer(workload, wait_s, query_s)
        return JSONResponse(content, headers=headers)

    async def bad(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse(failure(error), 400)

    routes = [Route(f"/{workload.name}/", partial(work, workload)) for workload in WORKLOADS.values()]
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers={BadParameter: bad})
