"""The site under fault: `benchmarks.chaos.site:application` is this Django site with one address more, `/chaos/`.

A POST of `/chaos/?id=N&ms=M` writes N into the ledger, in a statement or a transaction that takes M ms, and is answered
with 200 only when that is done. A failure's answer names the process of PostgreSQL's that the request had, if it had
one, and since when. With `&limit_s=S` a gevent.Timeout ends the request after S seconds, wherever it is: 504.
"""

import json
import os
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import gevent
from django.core.servers.basehttp import get_internal_wsgi_application
from django.db import connection, connections, transaction
from django.http import HttpRequest, HttpResponse

# A name for each worker: one that was killed shall not be counted together with the one that came after it.
os.environ["PGAPPNAME"] = f"{os.environ['PGAPPNAME']}/{os.getpid()}"
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
application = get_internal_wsgi_application()

from pooldemo.demo import views  # noqa: E402  Django is set up only now
from pooldemo.postgresql.unavailable import unavailable  # noqa: E402

if path := os.environ.get("CHAOS_PASSWORD_FILE"):
    database, read = connections.settings["default"], Path(path).read_text
    # Ours asks for each connection; the stock library knows the one that stood there when the worker began.
    database["PASSWORD"] = read if database["ENGINE"] == "pooldemo.postgresql" else read()

# The parts of one request are there together or not at all. PostgreSQL's log shows the number in the first statement.
WRITE_SQL = "INSERT INTO chaos_ledger (id, part) SELECT %s, part FROM generate_series(%s, %s) AS part, pg_sleep(%s)"


def write(number: int, seconds: float, held: dict[str, float]) -> None:
    """Write both parts of `number`: the even ones in one statement, the odd ones in a transaction of two.

    `held` is told which of PostgreSQL's processes serves the request and since when, as soon as there is one.
    """

    def note(execute: Any, *statement: Any) -> Any:
        if not held:  # not `connection.connection`: who asks for that has it, and its slot, until the request ends
            held.update(backend=vars(connections["default"])["connection"].info.backend_pid, held_at_s=time.time())
        return execute(*statement)

    with connection.execute_wrapper(note), connection.cursor() as cursor:
        if number % 2 == 0:
            cursor.execute(WRITE_SQL, (number, 1, 2, seconds))
            return
        with transaction.atomic():
            cursor.execute(WRITE_SQL, (number, 1, 1, seconds / 2))
            cursor.execute(WRITE_SQL, (number, 2, 2, seconds / 2))


def answer(status: int, **content: Any) -> HttpResponse:
    return HttpResponse(json.dumps(content), status=status, content_type="application/json")


def chaos(request: HttpRequest) -> HttpResponse:
    """The page. Every way to fail is an answer with a stable `error`; no failure is tried again here."""
    number, limit_s = int(request.GET["id"]), request.GET.get("limit_s")
    held: dict[str, float] = {}
    try:
        with gevent.Timeout(float(limit_s)) if limit_s else nullcontext():
            write(number, float(request.GET["ms"]) / 1000, held)
    except gevent.Timeout:
        return answer(504, error="RequestTimeout", message=f"not done within {limit_s} s", **held)
    except Exception as error:
        reason = unavailable(error)
        if reason is None:
            return answer(500, error=type(error).__name__, message=str(error), **held)
        return answer(503, error=reason.kind, message=reason.message, **held)
    return answer(200, id=number)


views.DIRECT["/chaos/"] = chaos
