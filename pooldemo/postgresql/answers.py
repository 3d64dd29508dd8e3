"""Answers of which nothing was sent yet: another may still come in their place."""

from collections.abc import Callable
from itertools import chain, islice
from typing import Any

from django.http import HttpResponse

from .limits import Limit, innermost, outlive


def in_place_of(late: Any, answer: HttpResponse) -> HttpResponse:
    """`answer`, to be sent in place of a response that a view has made. Who closes it closes that one, as its class
    does, and what else either of them would close."""

    def close() -> None:
        late._handler_class = answer._handler_class  # type: ignore[attr-defined]  # it says so to request_finished
        late.close()

    answer._resource_closers = late._resource_closers  # type: ignore[attr-defined]
    answer.close = close  # type: ignore[method-assign]
    return answer


def begun(response: Any, instead: Callable[[Exception], HttpResponse | None]) -> Any:
    """A response whose stream has come to its first part: a server sends nothing before that, not even the status.

    If that part raises, the answer is what `instead` makes of the error; if that is None, the server is told of the
    error, as ever. Blocks for as long as the first part does.
    """
    if not response.streaming or response.is_async or getattr(response, "file_to_stream", None) is not None:
        return response
    parts = response.streaming_content
    response.__dict__.setdefault("_pooldemo_around", innermost())
    try:
        first = list(islice(parts, 1))
    except Exception as error:
        if (answer := instead(error)) is not None:
            return in_place_of(response, answer)
        parts, first = map(_raise, [error]), []
    response.streaming_content = chain(first, parts)
    return response


def goes_on(response: Any, over: Limit) -> None:
    """Let the deadlines that a stream has begun in its generator hold on by themselves: the request's limit is over."""
    if hasattr(response, "_pooldemo_around"):
        outlive(over, response._pooldemo_around)


def _raise(error: Exception) -> bytes:
    raise error
