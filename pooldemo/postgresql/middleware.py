"""`pooldemo.postgresql.UnavailableMiddleware`: 503 instead of 500 for requests that only came at a bad time."""

from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse
from django.template import TemplateDoesNotExist
from django.template.loader import get_template
from django.utils.deprecation import MiddlewareMixin

from .answers import begun
from .scope import go_on, said_here
from .unavailable import ENDED, Unavailable, unavailable
from .usage import note_view


class UnavailableMiddleware(MiddlewareMixin):
    """Answers 503 with Retry-After if a view got no connection in time, or PostgreSQL could not be reached.

    The same for the first query of a stream, and for the middlewares that stand after this one. The page is the
    project's template `503.html`, if there is one; its context has `retry_after_s`. It does not say why, or who holds
    the connections: the pool writes that to the log, once a second at most.
    """

    def __call__(self, request: HttpRequest) -> Any:
        if self.async_mode:
            return self.__acall__(request)
        before = said_here()
        try:
            return super().__call__(request)
        except Exception as error:
            return self._in_place_of(request, error)
        finally:
            go_on(before)  # a generator of the view's may be left in its midst

    async def __acall__(self, request: HttpRequest) -> Any:
        try:
            return await super().__acall__(request)
        except Exception as error:
            return await sync_to_async(self._in_place_of)(request, error)

    def _in_place_of(self, request: HttpRequest, error: Exception) -> HttpResponse:
        """The answer where a project's own page for errors asks the database as well, and is refused."""
        answer = self.process_exception(request, error)
        if answer is None:
            raise error
        return answer

    def process_view(self, request: HttpRequest, *_: Any) -> None:
        """What Django asks when it knows the view: from now on slots are held for it."""
        note_view(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """What Django asks when a view raised. Deadlines are answered by DeadlineMiddleware, where it is outside."""
        return self._answer(request, unavailable(exception))

    def _answer(self, request: HttpRequest, reason: Unavailable | None) -> HttpResponse | None:
        if hasattr(request, "_pooldemo_limit") and reason is not None and reason.kind in ENDED:
            return None
        if reason is None or reason.kind == "NotMigrated":  # that passes only if somebody works on it
            return None
        response = HttpResponse(_page(request, reason), status=503, headers={"Retry-After": str(reason.retry_after_s)})
        response._has_been_logged = True  # type: ignore[attr-defined]  # or Django tells the admins of each
        return response

    def process_response(self, request: HttpRequest, response: Any) -> Any:
        """What Django asks with each answer: a stream may yet be refused, and a middleware may have been."""
        return begun(request, response, partial(self._answer, request))


def _page(request: HttpRequest, reason: Unavailable) -> str:
    try:
        return str(get_template("503.html").render({"retry_after_s": reason.retry_after_s}, request))
    except Exception as error:  # none, or it asks the database as well, and is refused
        if not isinstance(error, TemplateDoesNotExist) and unavailable(error) is None:
            raise
        return (
            "<!doctype html><html lang=en><title>Busy</title><h1>Busy</h1>"
            f"<p>This site cannot answer right now. Please try again in {reason.retry_after_s} s."
        )
