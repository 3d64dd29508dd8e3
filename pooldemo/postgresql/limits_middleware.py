"""`pooldemo.postgresql.DeadlineMiddleware`: how long a request may ask databases, and for whom."""

import logging
import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest

from . import clients
from .answers import begun, in_place_of
from .limits import Limit, current, is_seconds, set_current
from .scope import go_on, said_here
from .unavailable import ENDED, Unavailable, unavailable
from .usage import note_view

logger = logging.getLogger("pooldemo.postgresql")

HEADER = "X-Request-Timeout"
SETTINGS = {"POOLDEMO_DEADLINE": math.inf, "POOLDEMO_DEADLINE_MAX": 60}  # seconds where they are absent
_SAFE = ("GET", "HEAD", "OPTIONS")
# What was being done, by how `Limit.refusal` begins to say it, and how strangers are told.
_STEPS = {
    "waiting": "waiting for a connection",
    "about to": "about to ask the database",
    "executing": "executing a statement",
}
_View = TypeVar("_View", bound=Callable[..., Any])


def view_deadline(seconds: float | None) -> Callable[[_View], _View]:
    """Give a view, or a class of views, a deadline of its own, in place of POOLDEMO_DEADLINE. None means no deadline.

    A client may still ask for less, by the header. Raises ValueError if `seconds` is not a number above 0.
    """
    if seconds is not None and not is_seconds(seconds):
        raise ValueError(f"view_deadline({seconds!r}) is not accepted: give seconds, a number above 0, or None.")
    return _marking("deadline_s", seconds)


def ends_with_client(ends: bool) -> Callable[[_View], _View]:
    """Say whether a view's work ends when its client hangs up. By default it does for GET, HEAD and OPTIONS.

    Raises ValueError if `ends` is not True or False, as where the parentheses are missing.
    """
    if not isinstance(ends, bool):
        raise ValueError(f"ends_with_client({ends!r}) is not accepted: give True or False.")
    return _marking("ends_with_client", ends)


def _marking(name: str, value: Any) -> Callable[[_View], _View]:
    def mark(view: _View) -> _View:
        setattr(view, name, value)
        return view

    return mark


def said_of(view: Any, name: str, otherwise: Any) -> Any:
    """What stands above a view, or above its class or a parent: `as_view()` copies nothing of a class."""
    its_class = getattr(view, "view_class", None) or getattr(view, "cls", None)  # the latter is REST framework's
    return getattr(view, name, getattr(its_class, name, otherwise))


class DeadlineMiddleware:
    """Limits the time in which a view may use databases, and ends its work when the client has hung up.

    It belongs first in MIDDLEWARE. Settings: `POOLDEMO_DEADLINE`, seconds for a view without a deadline of its own
    (absent: no deadline); `POOLDEMO_DEADLINE_MAX` (60), the most that a client may ask for with the header
    `X-Request-Timeout: seconds`. After the deadline the answer is 503 and says what was being done, also if the view
    ended late. It shows the statement only under DEBUG; the log has it at INFO. A header that is not a
    number above 0 gets 400. Raises ImproperlyConfigured if a setting is not a number above 0.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.default_s, self.most_s = map(setting, SETTINGS)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if hasattr(request, "_pooldemo_limit"):  # it stands twice
            return self.get_response(request)
        asked = request.META.get("HTTP_X_REQUEST_TIMEOUT")
        try:
            asked_s = None if asked is None else min(_seconds(asked), self.most_s)
        except ValueError as error:
            return HttpResponseBadRequest(f"{error}\n", content_type="text/plain")
        before = said_here()
        limit = Limit(self.default_s if asked_s is None else asked_s, current())
        client = request.META.get("gunicorn.socket")  # other servers do not give it
        descriptor = -1 if client is None else client.fileno()
        request._pooldemo_limit = limit, asked_s, descriptor  # type: ignore[attr-defined]
        set_current(limit)
        if descriptor >= 0 and request.method in _SAFE:
            clients.watch.add(descriptor, limit)
        try:
            response = begun(request, self.get_response(request), partial(self._answer, request))
        except Exception as error:  # of a project's own page for errors, which asks the database as well
            if (answer := self.process_exception(request, error)) is None:
                raise
            response = answer
        finally:
            limit.holds = False
            go_on(before)  # a generator of the view's may be left in its midst
            clients.watch.remove(descriptor)
            del request._pooldemo_limit  # type: ignore[attr-defined]  # what others raise now is not answered here
        if limit.is_over() and response.status_code != 503:
            return in_place_of(response, refusal(str(limit.refusal("the view was working")), request))
        return response

    def process_view(self, request: HttpRequest, view: Any, *_: Any) -> None:
        """What Django asks when it knows the view."""
        note_view(request)
        limit, asked_s, descriptor = request._pooldemo_limit  # type: ignore[attr-defined]
        if (own_s := said_of(view, "deadline_s", ...)) is not ...:  # None is a word, too
            limit.set(min(math.inf if own_s is None else own_s, math.inf if asked_s is None else asked_s))
        if (ends := said_of(view, "ends_with_client", None)) is not None:
            if not ends:
                clients.watch.remove(descriptor)
                limit.gone = False  # the client may have left before
            elif descriptor >= 0:
                clients.watch.add(descriptor, limit)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """What Django asks when a view raised."""
        return self._answer(request, unavailable(exception))

    def _answer(self, request: HttpRequest, reason: Unavailable | None) -> HttpResponse | None:
        if reason is None or reason.kind not in ENDED:
            return None
        logger.info("%s", reason.message)
        return refusal(_told(reason.message), request)


def _told(text: str) -> str:
    """What a visitor may read of it, who can bring it about by the header: no statement, nobody who has a slot."""
    if settings.DEBUG:
        return text
    said, _, doing = text.partition(", while ")
    words = next((words for step, words in _STEPS.items() if doing.startswith(step)), "")
    return f"{said}, while {words}" if words else said


def refusal(text: str, request: HttpRequest) -> HttpResponse:
    """503 with what was being done when it had to end. It asks nobody to repeat what may have been done."""
    response = HttpResponse(f"{text}\n", content_type="text/plain", status=503)
    if request.method in _SAFE:
        response.headers["Retry-After"] = "1"
    else:
        response.write("Some or all of it may have been done: look before you repeat it.\n")
    response._has_been_logged = True  # type: ignore[attr-defined]  # or Django tells the admins of each
    return response


def setting(name: str) -> float:
    """The seconds of one of SETTINGS. Raises ImproperlyConfigured if they are not a number above 0."""
    value = getattr(settings, name, None)
    if value is not None and not is_seconds(value):
        raise ImproperlyConfigured(f"{name}={value!r} is not accepted: give seconds, a number above 0, or none.")
    return SETTINGS[name] if value is None else value


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not is_seconds(seconds):
        raise ValueError(f"{HEADER}: {text[:100]} is not accepted: give seconds, a number above 0.")
    return seconds
