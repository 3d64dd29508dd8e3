"""The answers that programs get as JSON, for whoever sees them in a browser: in words, with the way back."""

import json
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from pooldemo.sweep.analyse.statistics import digits

TITLES = {400: "That is no parameter of it", 404: "It is switched off here", 405: "Not in this way", 503: "Not now"}
HIDDEN = "The details are not shown where others reach this site: they may name a host or a statement."
TIMES = (("waited for a slot", "wait_ms"), ("was inside PostgreSQL", "query_ms"))


def told(trouble: str) -> str:
    """What a stranger may read of it: on a site that others reach no host, no role and no statement."""
    return HIDDEN if trouble and getattr(settings, "EXPOSED", False) else trouble


def wants_page(request: HttpRequest) -> bool:
    """Whether a person asks: browsers say first that they want HTML, programs that they take anything."""
    return bool(request.META.get("HTTP_ACCEPT", "").startswith("text/html"))


def page(request: HttpRequest, answer: HttpResponse) -> HttpResponse:
    """The same answer as a page: its status and its headers stay."""
    found = json.loads(answer.content)
    workload = found.get("workload", "")
    context: dict[str, Any] = {
        "title": TITLES.get(answer.status_code, f"/{workload}/ has answered"),
        "message": found.get("message", ""),
        "times": [(words, digits(found[name])) for words, name in TIMES if name in found],
        "pid": found.get("pid"),
        "json": answer.content.decode(),
        "address": request.get_full_path(),
        "is_worth_it": answer.status_code in (200, 503),  # the same again gets the same
    }
    response = render(request, "pooldemo/answer.html", context, status=answer.status_code)
    for name, value in answer.headers.items():
        if name not in ("Content-Type", "Content-Length"):
            response.headers[name] = value
    response.headers["Vary"] = "Accept"
    return response
