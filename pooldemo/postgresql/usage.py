"""What each view does with its slots: how long it holds them, how much of that it works, and why it was refused.

Work is what the driver is asked for and answers: statements, rows, commits. The rest of a hold is a slot that nobody
else can have and nobody uses: a template, a call to another service, a slow client.
"""

import threading
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from django.core.signals import request_started
from django.http import HttpRequest

_MOST_UNREAD = 1000

_view: ContextVar[str] = ContextVar("pooldemo_view", default="")
current_view, set_view = _view.get, _view.set


def note_view(request: HttpRequest) -> None:
    """What is held from now on is this request's view's, by its name in the URLconf; for a `process_view`."""
    match = request.resolver_match
    set_view(match.view_name if match is not None else "")


def _forget_view(**_: Any) -> None:
    set_view("")


request_started.connect(_forget_view, dispatch_uid="pooldemo.usage")


class Usage:
    """What the views of this process did with one pool. "" is what is done outside of views: commands, tasks.

    Noting is an append, for finalisers and signal handlers note as well; who reads adds up what was noted.
    """

    def __init__(self) -> None:
        self._noted: deque[tuple[str, str, float, float]] = deque()
        self._adding = threading.Lock()
        self._views: dict[str, dict[str, Any]] = {}

    def add_hold(self, held_s: float, worked_s: float) -> None:
        """The present view gave a slot back. Neither blocks nor switches."""
        self._note("", held_s, worked_s)

    def add_refusal(self, reason: str) -> None:
        """The present view got no slot, or its work had to end. Neither blocks nor switches."""
        self._note(reason, 0.0, 0.0)

    def views(self) -> dict[str, dict[str, Any]]:
        """By each view's name `{"holds", "held_s", "idle_s", "refusals": {reason: number}}`, since the pool was made.

        `idle_s` are those of the seconds held in which nothing was asked of the server. Does not block.
        """
        self._add_up()
        return {name: {**view, "refusals": dict(view["refusals"])} for name, view in list(self._views.items())}

    def _note(self, reason: str, held_s: float, worked_s: float) -> None:
        self._noted.append((current_view(), reason, held_s, worked_s))
        if len(self._noted) > _MOST_UNREAD:
            self._add_up()

    def _add_up(self) -> None:
        if not self._adding.acquire(blocking=False):  # another is about it, or this very thread, below
            return
        try:
            while self._noted:
                name, reason, held_s, worked_s = self._noted.popleft()
                view = self._views.setdefault(name, {"holds": 0, "held_s": 0.0, "idle_s": 0.0, "refusals": {}})
                if reason:
                    view["refusals"][reason] = view["refusals"].get(reason, 0) + 1
                else:
                    view["holds"] += 1
                    view["held_s"] += held_s
                    view["idle_s"] += max(0.0, held_s - worked_s)
        finally:
            self._adding.release()


# Told of each "connect", "wait" and "hold" that ended: which of them, of which pool, for how many seconds. Neither
# blocks nor raises.
Listener = Callable[[str, str, float], None]
listeners: list[Listener] = []
