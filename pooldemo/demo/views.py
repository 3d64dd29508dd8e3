"""The site's own answers: the workloads, and a first page. What is about its pools is in `monitor/views.py`."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.safestring import mark_safe

from pooldemo.demo import front, people
from pooldemo.monitor import views
from pooldemo.monitor.views import json_answer, unavailable_answer
from pooldemo.postgresql.unavailable import unavailable
from pooldemo.sweep.workloads import WORKLOADS, BadParameter, Workload

OFF = (
    "the workloads are off on a site that others reach: WORKLOADS=on switches them on, for whoever wants to load its "
    "database"
)
ONLY_GET = "it is asked for with GET alone"

View = Callable[[HttpRequest], HttpResponse]


class TimedSession:
    """Where this site performs a workload: Django's default connection, and three clocks.

    `wait_s`: until `ensure_connection()` returned, which is the wait for a slot and, if that was empty, for a
    connection; the same question for every stack. `query_s`: inside PostgreSQL and on the way there and back.
    `hold_s()`: with a connection, until now: what is more than the query is a slot that works for nobody.
    """

    def __init__(self) -> None:
        self.connection = connections[DEFAULT_DB_ALIAS]
        self.wait_s = self.query_s = self._held_s = 0.0
        self._held_since_s: float | None = None

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        self._take_slot()
        started_s = time.perf_counter()
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            if cursor.description is not None:
                cursor.fetchall()
        self.query_s += time.perf_counter() - started_s
        self._note_slot()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._take_slot()
        with transaction.atomic():
            yield
            started_s = time.perf_counter()
        self.query_s += time.perf_counter() - started_s  # the commit
        self._note_slot()

    def think(self, seconds: float) -> None:
        time.sleep(seconds)

    def _take_slot(self) -> None:
        started_s = time.perf_counter()
        self.connection.ensure_connection()
        now_s = time.perf_counter()
        self.wait_s += now_s - started_s
        if self._held_since_s is None:
            self._held_since_s = now_s

    def _note_slot(self) -> None:
        """The slot may have gone back with a statement; to ask `connection.connection` would take another."""
        if vars(self.connection)["connection"] is None:
            self._held_s, self._held_since_s = self.hold_s(), None

    def hold_s(self) -> float:
        since_s = self._held_since_s
        return self._held_s + (0.0 if since_s is None else time.perf_counter() - since_s)


def workload_view(workload: Workload) -> View:
    """The view that performs `workload`: 200 with what it took, 400 for a bad parameter, 503 when it cannot be now.

    GET, although `write` and `lock` write: load tools and people with a browser should need nothing else, and what is
    written are counters of a table that exists for it. So there is no CSRF token to ask for, robots are told to stay
    away (`X-Robots-Tag`, /robots.txt), and where the site has a name they are off: 404, unless settings.WORKLOADS.
    """

    def view(request: HttpRequest) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            refusal = {"error": "NotAllowed", "message": ONLY_GET, "workload": workload.name}
            return json_answer(refusal, status=405, headers={"Allow": "GET, HEAD"})
        if not getattr(settings, "WORKLOADS", True):
            return json_answer({"error": "WorkloadsOff", "message": OFF, "workload": workload.name}, status=404)
        query = request.META.get("QUERY_STRING", "")
        try:
            parameters = workload.parse(parse_qsl(query, keep_blank_values=True)) if query else workload.parameters
        except BadParameter as error:
            return json_answer({"error": "BadParameter", "message": str(error), "workload": workload.name}, status=400)
        session = TimedSession()
        try:
            workload.perform(session, **parameters)
        except Exception as error:
            reason = unavailable(error)
            if reason is None:
                raise
            return unavailable_answer(replace(reason, message=people.told(reason.message)), workload=workload.name)
        wait_ms, query_ms, hold_ms = session.wait_s * 1000, session.query_s * 1000, session.hold_s() * 1000
        # Written by hand: json.dumps takes longer than everything else that `nodb` does.
        return HttpResponse(
            f'{{"workload": "{workload.name}", "wait_ms": {wait_ms:.3f}, "query_ms": {query_ms:.3f}, '
            f'"pid": {os.getpid()}}}',
            content_type="application/json",
            headers={
                "Server-Timing": f"wait;dur={wait_ms:.3f}, hold;dur={hold_ms:.3f}, query;dur={query_ms:.3f}",
                "X-Robots-Tag": "noindex, nofollow",
            },
        )

    return view


def pool(request: HttpRequest) -> HttpResponse:
    """The counters, with statements of those who hold longest: for this project's commands where others reach it."""
    return (views.guarded_pool if getattr(settings, "EXPOSED", False) else views.pool)(request)


def robots(_request: HttpRequest) -> HttpResponse:
    """No robot has anything to do here."""
    return HttpResponse("User-agent: *\nDisallow: /\n", content_type="text/plain")


def index(request: HttpRequest) -> HttpResponse:
    """The first page: what this is, what the last sweep said, and where everything stands. Takes no slot.

    Where others reach the site it tells nothing of a sweep, for to know who asks takes a slot.
    """
    is_exposed = getattr(settings, "EXPOSED", False)
    last = front.LastSweep() if is_exposed else front.last_sweep()
    curve = mark_safe(last.curve)  # noqa: S308  ours, escaped
    context = {"workloads": WORKLOADS.values(), "is_exposed": is_exposed, "last": last, "curve": curve}
    return render(request, "pooldemo/index.html", context)


WORKLOAD_PATHS = {f"/{workload.name}/": workload for workload in WORKLOADS.values()}
# Answered before the site's middleware (middleware.py): none of them has a user, a session or a message.
DIRECT: dict[str, View] = {
    **{path: workload_view(workload) for path, workload in WORKLOAD_PATHS.items()},
    "/pool/": pool,
    "/metrics": views.metrics,
    "/healthz": views.healthz,
    "/readyz": views.readyz,
    "/robots.txt": robots,
}
