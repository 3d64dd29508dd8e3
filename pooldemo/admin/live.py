"""The live pool: a page of the admin that shows what the pools of all workers do now, while they are exhausted and
while PostgreSQL is down.

So neither it nor a project's LoginRequiredMiddleware may ask the database who is asking (that of Django 5.2 does all
the same). Whoever has seen a page of the sweeps with the admin's permission carries a signed pass for as long as that
session's cookie stays the same, twelve hours at most: long enough for an outage, and what it opens is no more than
`/pool/` shows on this machine.
"""

import hashlib
from collections.abc import Callable
from copy import copy
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib.admin import ModelAdmin
from django.contrib.auth.context_processors import auth
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import AnonymousUser
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.crypto import constant_time_compare

from pooldemo.admin.drawing import drawn
from pooldemo.admin.live_figures import figures_of
from pooldemo.admin.measured import address, is_demo
from pooldemo.monitor import server_connections, snapshots
from pooldemo.monitor.overview import overview
from pooldemo.monitor.situation import situation
from pooldemo.monitor.views import pool_address
from pooldemo.sweep.report import words

COOKIE = SALT = "pooldemo_live"
PASS_S = 12 * 3600

View = Callable[..., HttpResponse]

_comparer = server_connections.Comparer()  # as this worker's visitors see it: a page that is open looks every second


def page(admin: ModelAdmin) -> View:
    """The page; without a script it loads itself again every two seconds."""

    def admitted(request: HttpRequest) -> HttpResponse:
        if not admin.has_view_permission(request):
            raise PermissionDenied
        return shown(request)

    def shown(request: HttpRequest) -> HttpResponse:
        # Rendered without the session: its user and its messages are in the database.
        about = {"title": "Live pool", "site_title": "pooldemo", "is_nav_sidebar_enabled": False, "media": admin.media}
        about |= _as_nobody(request)
        about["places"] = {
            "home": address(request, "index"),
            "app": address(request, "app_list", "pooldemo"),
            "state": address(request, "pooldemo_live_state"),
        }
        about |= {"address": pool_address(), "is_demo": is_demo(), "words": words.LIVE.items()}
        return _uncached(HttpResponse(render_to_string("admin/pooldemo/sweep/live.html", about | look())))

    ask = admin.admin_site.admin_view(passing(admin, admitted))

    @login_not_required
    def view(request: HttpRequest) -> HttpResponse:
        return shown(request) if has_pass(request) else ask(request)

    return view


def passing(admin: ModelAdmin, view: View) -> View:
    """The view; whoever may see the live pool leaves it with a pass."""

    @wraps(view)
    def passed(request: HttpRequest, *args: Any, **named: Any) -> HttpResponse:
        response = view(request, *args, **named)
        if response.status_code == 200 and not has_pass(request) and admin.has_view_permission(request):
            response.set_cookie(
                COOKIE, _pass(request.session.session_key or ""), max_age=PASS_S, httponly=True, samesite="Strict",
                secure=settings.SESSION_COOKIE_SECURE,
            )  # fmt: skip
        return response

    return passed


def _as_nobody(request: HttpRequest) -> dict[str, Any]:
    """What themes of the admin ask for besides: the request, by somebody who has not logged in."""
    same = copy(request)
    same.user, same.resolver_match = AnonymousUser(), request.resolver_match
    return {"request": same, **auth(same)}


def state(_admin: ModelAdmin) -> View:
    """The part of the page that changes, for its script; 403 without a pass, which the page gives."""

    @login_not_required
    def view(request: HttpRequest) -> HttpResponse:
        if not has_pass(request):
            return HttpResponse("Log in to the admin and open the live pool again.", "text/plain", 403)
        return _uncached(HttpResponse(render_to_string("admin/pooldemo/sweep/live_state.html", look())))

    return view


def _uncached(response: HttpResponse) -> HttpResponse:
    """Statements of others are in no cache, nor in a browser whose user has logged out."""
    response.headers["Cache-Control"] = "no-store"
    return response


def look() -> dict[str, Any]:
    """The pools, and PostgreSQL's own count beside them. Takes no slot; blocks for two seconds at most, when PostgreSQL
    accepts and does not answer."""
    workers = snapshots.collect()
    pools = overview({"workers": workers, "sum": snapshots.total(workers)})
    seen = _comparer.compare(server_connections.take(pools.application_name), pools)
    return {
        "pools": pools,
        "census": seen.counted,
        "compared": seen,
        "situation": situation(pools, seen.counted),
        "figures": drawn(dict(figures_of(snapshots.past())), wide=False),
    }


def has_pass(request: HttpRequest) -> bool:
    """Whether the request carries a pass that was given to its session."""
    session = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    try:
        known = signing.TimestampSigner(salt=SALT).unsign(request.COOKIES.get(COOKIE, ""), max_age=PASS_S)
    except signing.BadSignature:
        return False
    return session is not None and constant_time_compare(known, _digest(session))


def _pass(session: str) -> str:
    return signing.TimestampSigner(salt=SALT).sign(_digest(session))


def _digest(session: str) -> str:
    return hashlib.sha256(session.encode()).hexdigest()
