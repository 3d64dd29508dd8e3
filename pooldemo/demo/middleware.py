"""What stands around every request: a short way for the workloads, the security policy, and 503 for "not now"."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.shortcuts import render

from pooldemo.admin import live
from pooldemo.demo import people
from pooldemo.demo.views import DIRECT, WORKLOAD_PATHS
from pooldemo.monitor.views import readiness, unavailable_answer
from pooldemo.postgresql.limits import current
from pooldemo.postgresql.unavailable import Unavailable, unavailable
from pooldemo.postgresql.usage import note_view, set_view

LIVE = ("pooldemo_live", "pooldemo_live_state")  # answer without the database whoever has a pass
POLICY = (
    "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'"
)


class PooldemoMiddleware:
    """The outermost middleware.

    The addresses of `views.DIRECT` are answered here: session, user, messages, CSRF and the URL resolver are for
    people, and their cost would hide the pool's. Everything else gets the security policy, and a 503 instead of an
    error page when no slot came in time.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        view = DIRECT.get(request.path_info)
        if view is not None:
            set_view(request.path_info)
            response = view(request)
            limit = current()
            if limit is not None and response.status_code == 200 and limit.is_over():  # nobody waits for it any more
                error = limit.refusal("the workload was working")
                response = unavailable_answer(Unavailable(type(error).__name__, str(error), 1))
            if request.path_info in WORKLOAD_PATHS and people.wants_page(request):
                response = people.page(request, response)
                response.headers.setdefault("Content-Security-Policy", POLICY)
            response.headers["Content-Length"] = str(len(response.content))  # else gunicorn sends it in chunks
            return response
        if any("\0" in value for value in request.COOKIES.values()):
            # No text of PostgreSQL's has one, a session's key neither.
            return HttpResponse("A cookie has a NUL, as no browser sends it.\n", "text/plain", 400)
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        return response

    def process_view(self, request: HttpRequest, *_: Any) -> HttpResponse | None:
        """A page of the admin is about to ask PostgreSQL who is asking: say at once that it is not there.

        Its own pool would wait for it as long as POOL_TIMEOUT. Askers share a plain connection's answer for a second.
        """
        note_view(request)
        match = request.resolver_match
        if match is None or "admin" not in match.app_names or (match.url_name in LIVE and live.has_pass(request)):
            return None
        trouble = readiness.trouble()
        if not trouble:
            return None
        sent: list[tuple[str, str]] = []
        with contextlib.suppress(UnreadablePostError):  # the visitor has gone in the midst of the form
            sent = [(name, value) for name, values in request.POST.lists() for value in values]
        about = {
            "trouble": people.told(trouble),
            "sent": [] if any("password" in name for name, _ in sent) else sent,  # so that nothing typed is lost
        }
        response = render(request, "pooldemo/no_database.html", about, status=503)
        response.headers["Retry-After"] = "5"
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """A view behind this middleware failed: answer 503 if it only came at a bad time."""
        reason = unavailable(exception)
        if reason is None:
            return None
        answer = unavailable_answer(replace(reason, message=people.told(reason.message)))
        return people.page(request, answer) if people.wants_page(request) else answer
