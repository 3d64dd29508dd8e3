"""Answers of which nothing was sent yet: another may still come in their place."""

import sys
from collections.abc import Callable
from itertools import chain, islice
from typing import Any

from django.core.signals import got_request_exception
from django.http import HttpRequest, HttpResponse

from .scope import apart
from .unavailable import Unavailable, unavailable


def in_place_of(late: Any, answer: HttpResponse) -> HttpResponse:
    """`answer`, to be sent in place of a response that a view has made. Who closes it closes that one, as its class
    does, and what else either of them would close."""

    def close() -> None:
        late._handler_class = answer._handler_class  # type: ignore[attr-defined]  # it says so to request_finished
        late.close()

    answer._resource_closers = late._resource_closers  # type: ignore[attr-defined]
    answer.close = close  # type: ignore[method-assign]
    return answer


def begun(request: HttpRequest, response: Any, instead: Callable[[Unavailable | None], HttpResponse | None]) -> Any:
    """A response whose stream has come to its first part: a server sends nothing before that, not even the status.

    If that part raises, or a middleware has, the answer is what `instead` makes of the error; if that is None, the
    server is told of the error, as ever. Blocks for as long as the first part does.
    """
    if response.status_code == 500 and (raised := getattr(request, "_pooldemo_raised", None)) is not None:
        answer = instead(raised)
        return response if answer is None else in_place_of(response, answer)
    if not response.streaming or response.is_async or getattr(response, "file_to_stream", None) is not None:
        return response
    parts = apart(response._iterator)
    try:
        first = list(islice(parts, 1))
    except Exception as error:
        if (answer := instead(unavailable(error))) is not None:
            return in_place_of(response, answer)
        parts, first = map(_raise, [error]), []
    response.streaming_content = chain(first, parts)
    return response


def _raise(error: Exception) -> bytes:
    raise error


def _note(request: Any = None, **_: Any) -> None:
    """An error that Django is about to answer with 500: also a middleware's, which it tells no `process_exception`."""
    error = sys.exc_info()[1]
    if request is not None:
        request._pooldemo_raised = unavailable(error) if isinstance(error, Exception) else None


got_request_exception.connect(_note, dispatch_uid="pooldemo.postgresql.answers")
