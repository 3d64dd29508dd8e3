"""How far the present work may go: until its deadline, and for as long as somebody waits for the answer.

`with deadline(2):` bounds what is inside of it, waits for a slot, connects and queries together. What is over is not
begun; what runs at that moment is ended: a wait at once, a query by asking the server to cancel it. A rollback is never
kept from running.
"""

import _thread
import contextlib
import heapq
import itertools
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from . import green
from .errors import ClientGone, DeadlineExceeded

_ANSWER_S = 0.5  # in which a server that was asked to cancel a query must have done so; else its connection is closed


class Limit:
    """The limit of one piece of work, in whatever greenlets and threads it is done.

    `ends_at` is in seconds of the monotonic clock, infinite without a deadline; `gone` is set when nobody waits for the
    answer any more.
    """

    __slots__ = ("_began", "_stops", "ends_at", "gone", "seconds")

    def __init__(self, seconds: float = math.inf) -> None:
        self._began = began = time.monotonic()
        self.gone = False
        self._stops: list[Callable[[], None]] = []  # what ends the steps that are going on
        self.seconds, self.ends_at = seconds, began + seconds

    def set(self, seconds: float) -> None:
        """Let it end so many seconds after it began. Holds for the steps that begin from now on."""
        self.seconds, self.ends_at = seconds, self._began + seconds

    def left_s(self) -> float:
        """Seconds until the deadline; below zero after it."""
        return self.ends_at - time.monotonic()

    def is_over(self) -> bool:
        """Whether no more may be done for it. Does not block."""
        return self.gone or time.monotonic() >= self.ends_at

    def refusal(self, doing: str) -> DeadlineExceeded | ClientGone:
        """What is raised where it is over, in the midst of `doing`."""
        if self.gone:
            return ClientGone(f"the client has gone, while {doing}")
        return DeadlineExceeded(f"the deadline of {self.seconds:.3g} s has passed, while {doing}")

    def check(self, doing: str) -> None:
        """Raise DeadlineExceeded or ClientGone where it is over."""
        if self.is_over():
            raise self.refusal(doing)

    def give_up(self) -> None:
        """Nobody waits for the answer: end what is going on. Does not block."""
        self.gone = True
        for stop in list(self._stops):
            stop()

    @contextlib.contextmanager
    def ending(self, stop: Callable[[], None]) -> Iterator[None]:
        """Call `stop` when the client goes before the body has ended; perhaps in another thread."""
        self._stops.append(stop)
        try:
            if self.gone:
                stop()
            yield
        finally:
            self._stops.remove(stop)

    def run(self, session: Any, step: str, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Do `work(...)` on a session, and end it at the server when it must be. `step` is what it is called; empty:
        the session's statement. Blocks no longer than the limit, under plain threads than the server takes to answer.

        Raises DeadlineExceeded, ClientGone, or what `work` raises.
        """
        if self.is_over():
            raise self._ended(session, f"about to execute {step or session.first_words()}")
        cancel = _Cancel(session)
        self._stops.append(cancel.ask)
        bounded = self.ends_at != math.inf
        alarm = _alarms.set(self.ends_at, cancel.ask) if bounded else None
        try:
            if not bounded:
                return work(*args, **kwargs)
            with green.time_limit(max(self.left_s(), 0) + _ANSWER_S):
                return work(*args, **kwargs)
        except green.TimeLimit:
            raise self._ended(
                session, f"executing {step or session.first_words()}; the server did not answer"
            ) from None
        except session.errors as error:
            if cancel.done is None:
                raise
            raise self._ended(session, f"executing {step or session.first_words()}; ended at the server") from error
        finally:
            self._stops.remove(cancel.ask)
            if alarm is not None:
                alarm.off = True
            cancel.end()

    def _ended(self, session: Any, doing: str) -> DeadlineExceeded | ClientGone:
        error = self.refusal(doing)
        if session.pool is not None:
            session.pool.note_end(error)
        return error


_lock = _thread.allocate_lock()  # a thread's also under the monkey patch: nobody switches while he has it


class _Cancel:
    """Ends what a session is executing, once, by asking its server to."""

    __slots__ = ("_over", "_session", "done")

    def __init__(self, session: Any) -> None:
        self._session = session
        self._over = False
        self.done: threading.Lock | None = None  # once the server is asked; free when it was told

    def ask(self) -> None:
        """Begin to ask. Does not block."""
        done = threading.Lock()
        done.acquire()
        with _lock:
            if self._over or self.done is not None:
                return
            self.done = done
            self._session.ask_to_cancel(done.release)

    def end(self) -> None:
        """The work has ended. Waits for a request that is on its way: it would end what comes next on this session."""
        with _lock:
            self._over = True
            done = self.done
        if done is not None and not done.acquire(timeout=_ANSWER_S):
            self._session.ends = True  # who knows when it comes


class _Alarm:
    """Something to be done at a moment, unless it is put `off` before."""

    __slots__ = ("do", "off")

    def __init__(self, do: Callable[[], None]) -> None:
        self.do, self.off = do, False


class _Alarms:
    """What is to be done when. One greenlet or thread sleeps until the next of them, while there are any."""

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._waiting: list[tuple[float, int, _Alarm]] = []
        self._numbers = itertools.count()
        self._running = False

    def set(self, at: float, do: Callable[[], None]) -> _Alarm:
        alarm = _Alarm(do)
        with self._wake:
            heapq.heappush(self._waiting, (at, next(self._numbers), alarm))
            first = self._waiting[0][2] is alarm
            start, self._running = not self._running, True
            if first and not start:
                self._wake.notify()
        if start:
            green.starter()(self._run)
        return alarm

    def _run(self) -> None:
        while True:
            with self._wake:
                while self._waiting and self._waiting[0][2].off:
                    heapq.heappop(self._waiting)
                if not self._waiting:
                    self._running = False
                    return
                at, _, alarm = self._waiting[0]
                left_s = at - time.monotonic()
                if left_s > 0:
                    self._wake.wait(min(left_s, threading.TIMEOUT_MAX))
                    continue
                heapq.heappop(self._waiting)
            if not alarm.off:
                alarm.do()


_alarms = _Alarms()


def _start_afresh() -> None:
    global _alarms
    _alarms = _Alarms()  # who slept for the old ones is not in a forked child


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)


def is_seconds(value: Any) -> bool:
    """Whether it is a finite number above 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


_current: ContextVar[Limit | None] = ContextVar("pooldemo_limit", default=None)
current, set_current, reset_current = _current.get, _current.set, _current.reset


@contextlib.contextmanager
def limited(limit: Limit) -> Iterator[Limit]:
    """Let `limit` hold for the body."""
    token = set_current(limit)
    try:
        yield limit
    finally:
        reset_current(token)


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[Limit]:
    """Bound the body's use of databases: `seconds` from now, or the deadline that holds already if that is earlier.

    Waits, connects and queries raise DeadlineExceeded, an OperationalError, when it has passed. Also a decorator of
    functions that are not async. Raises ValueError when `seconds` is no number above 0.
    """
    if not is_seconds(seconds):
        raise ValueError(f"deadline({seconds!r}) is not accepted: give seconds, a number above 0.")
    outer = current()
    if outer is not None and outer.left_s() <= seconds:
        yield outer
        return
    inner = Limit(seconds)
    with contextlib.ExitStack() as stack:
        if outer is not None:
            stack.enter_context(outer.ending(inner.give_up))
        yield stack.enter_context(limited(inner))
