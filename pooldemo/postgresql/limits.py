"""How far the present work may go: until its deadline, and for as long as somebody waits for the answer.

`with deadline(2):` bounds what is inside of it, waits for a slot, connects and queries together. What is over is not
begun; what runs at that moment is ended: a wait at once, a query by asking the server to cancel it. A rollback is never
kept from running.
"""

import _thread
import contextlib
import heapq
import itertools
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from operator import attrgetter
from typing import Any

from . import green
from .errors import ClientGone, DeadlineExceeded
from .scope import Scope

logger = logging.getLogger("pooldemo.postgresql")

_FEW = 64  # alarms, before those that were put off are taken out
PENDING = "what was sent before"  # the step that waits for it: a pipeline's statements, the rows of a COPY
_AGAIN_S, _AGAIN_MOST_S = 0.1, 1.0  # from one request to cancel to the next: twice as long each time, up to the most
_NEVER_S = 1e9  # 31 years: no timer of the system or of gevent need take more
_ANSWER_S = 0.5  # in which a server that was asked to cancel a query must have done so; else its connection is closed

_end_of = attrgetter("_ends_at")


class Limit:
    """The limit of one piece of work, in whatever greenlets and threads it is done.

    `outer` is the one around it, which counts as well for as long as it `holds`: the earlier of both is the deadline.
    `gone`: nobody waits for the answer any more, whatever the outer one says.
    """

    __slots__ = ("_began", "_ends_at", "_seconds", "_stops", "gone", "holds", "outer")

    def __init__(self, seconds: float = math.inf, outer: "Limit | None" = None) -> None:
        self._began = time.monotonic()
        self.gone, self.holds, self.outer = False, True, outer
        self._stops: dict[Callable[[], None], None] = {}  # what ends the steps that are going on
        self.set(seconds)

    def set(self, seconds: float) -> None:
        """Let it end so many seconds after it began. Holds for the steps that begin from now on."""
        self._seconds = seconds if seconds < _NEVER_S else math.inf
        self._ends_at = self._began + self._seconds

    def _holding(self) -> "Iterator[Limit]":
        """It, and those around it that hold: what was between them may have ended."""
        yield self
        around = self.outer
        while around is not None:
            if around.holds:
                yield around
            around = around.outer

    def _earliest(self) -> "Limit":
        return min(self._holding(), key=_end_of)

    @property
    def seconds(self) -> float:
        """The time that it was given, infinite without a deadline."""
        return self._earliest()._seconds

    @property
    def ends_at(self) -> float:
        """Its end in seconds of the monotonic clock, infinite without a deadline."""
        return self._earliest()._ends_at

    def left_s(self) -> float:
        """Seconds until the deadline; below zero after it."""
        return self.ends_at - time.monotonic()

    def is_over(self) -> bool:
        """Whether no more may be done for it. Does not block."""
        return self.is_gone() or time.monotonic() >= self.ends_at

    def is_gone(self) -> bool:
        """Whether nobody waits for the answer any more. Does not block."""
        return any(each.gone for each in self._holding())

    def refusal(self, doing: str) -> DeadlineExceeded | ClientGone:
        """What is raised where it is over, in the midst of `doing`."""
        if self.is_gone():
            return ClientGone(f"the client has gone, while {doing}")
        return DeadlineExceeded(f"the deadline of {self.seconds:.3g} s has passed, while {doing}")

    def give_up(self) -> None:
        """Nobody waits for the answer: end what is going on. Does not block."""
        self.gone = True
        for stop in list(self._stops):
            stop()

    def add(self, stop: Callable[[], None]) -> None:
        """Call `stop` when the client goes, perhaps in another thread, until `remove`; at once where it has gone."""
        for each in self._holding():
            each._stops[stop] = None
        if self.is_gone():
            stop()

    def remove(self, stop: Callable[[], None]) -> None:
        """What `stop` would end is over, or was not begun."""
        each: Limit | None = self
        while each is not None:
            each._stops.pop(stop, None)
            each = each.outer

    def run(self, session: Any, step: str, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Do `work(...)` on a session, and end it at the server when it must be. `step` is what it is called; empty:
        the session's statement. Blocks no longer than the limit, under plain threads than the server takes to answer.

        Raises DeadlineExceeded, ClientGone, or what `work` raises. `step` PENDING is begun even where it is over: else
        the connection could not be used again.
        """
        if step != PENDING and self.is_over():
            raise self._ended(session, "about to execute ", step)
        cancel = _Cancel(session)
        session.cancel, ask = cancel, cancel.ask
        try:
            try:
                self.add(ask)
                if self.ends_at == math.inf:
                    result = work(*args, **kwargs)
                else:
                    cancel.alarm = _alarms.set(self.ends_at, ask)
                    with green.time_limit(max(self.left_s(), 0) + _ANSWER_S):
                        result = work(*args, **kwargs)
            finally:
                cancel.is_over = True  # first, and without a call: a signal's handler may raise in each
                cancel.end()
                self.remove(ask)
        except green.TimeLimit:
            raise self._ended(session, "executing ", step, "; the server did not answer") from None
        except session.errors as error:
            if cancel.done is None:
                raise
            raise self._ended(session, "executing ", step, "; ended at the server") from error
        if cancel.done is not None:  # what came too late was done all the same, or is on this server alone
            raise self._ended(session, "executing ", step, ", which may have been done")
        return result

    def _ended(self, session: Any, doing: str, step: str, outcome: str = "") -> DeadlineExceeded | ClientGone:
        error = self.refusal(f"{doing}{session.first_words() if step in ('', PENDING) else step}{outcome}")
        if session.pool is not None:
            session.pool.note_end(error)
        return error


_lock = _thread.RLock()  # a thread's also under the monkey patch: nobody switches while he has it


class _Cancel:
    """Ends what a session is executing by asking its server to, and asking again until it has ended: a busy server's
    process that has not come to the statement yet drops a request, and one of a pipeline ends one of its statements.

    `is_over`: the work has ended. `session.cancel` is the present one for as long as anything may come of it.
    """

    __slots__ = ("_doubt", "_session", "alarm", "done", "is_over", "outer")

    def __init__(self, session: Any) -> None:
        self._session = session
        self._doubt = False  # whether nobody knows when the server acts on a request
        self.is_over = False
        self.outer: _Cancel | None = session.cancel  # of the statement in whose midst this one is executed
        self.alarm: _Alarm | None = None
        self.done: threading.Lock | None = None  # once the server is asked; free when no more comes of the last request

    def ask(self, after_s: float = 0) -> None:
        """Begin to ask, `after_s` after the request before; 0: the first time. Neither blocks nor raises."""
        done = threading.Lock()
        done.acquire()

        def then(told: bool) -> None:
            self._doubt = self._doubt or not told
            done.release()

        with _lock:
            if self.is_over or self._session.is_parents or (self.done is not None and not after_s):
                return
            if self.done is None or not self.done.locked():
                self.done = done
                try:
                    self._session.ask_to_cancel(then)
                except RuntimeError:  # no thread can be started
                    then(True)
        again_s = min(after_s * 2, _AGAIN_MOST_S) or _AGAIN_S
        with contextlib.suppress(RuntimeError):
            _alarms.set(time.monotonic() + again_s, partial(self.ask, again_s))

    def is_settled(self) -> bool:
        """Let nobody ask any more. Whether nothing can come of a request to cancel, this one's or an outer one's."""
        self.is_over = True
        with _lock:
            done = self.done
        settled = done is None or not (self._doubt or done.locked())
        return settled and (self.outer is None or self.outer.is_settled())

    def end(self) -> None:
        """The work has ended. Waits for a request that is on its way: it would end what comes next on this session.

        Closes the session where nobody knows when it comes.
        """
        is_settled = False
        try:
            if self.alarm is not None:
                self.alarm.put_off()
            if self.done is None:  # and stays so: `ask` has seen `is_over`, or set this without a call in between
                is_settled = True
            elif self._session.is_idle() is not None:  # or it is lost anyway
                with _lock:
                    done = self.done
                is_settled = done.acquire(timeout=_ANSWER_S) and not self._doubt
        finally:
            if is_settled:
                self._session.cancel = self.outer
            else:
                self._session.close()


class _Alarm:
    """Something to be done at a moment, unless it is put off before."""

    __slots__ = ("do",)

    def __init__(self, do: Callable[[], None]) -> None:
        self.do: Callable[[], None] | None = do

    def put_off(self) -> None:
        """Never do it."""
        self.do = None


class _Alarms:
    """What is to be done when. One greenlet or thread sleeps until the next of them, while there are any."""

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._waiting: list[tuple[float, int, _Alarm]] = []
        self._few = _FEW
        self._numbers = itertools.count()
        self._running = False

    def set(self, at: float, do: Callable[[], None]) -> _Alarm:
        """Do something at a moment of the monotonic clock. Raises RuntimeError where no thread can be started."""
        alarm = _Alarm(do)
        is_running = False
        try:
            with self._wake:
                if len(self._waiting) > self._few:  # of work that ended in time, most of them
                    self._waiting = [each for each in self._waiting if each[2].do is not None]
                    heapq.heapify(self._waiting)
                    self._few = 2 * len(self._waiting) + _FEW
                heapq.heappush(self._waiting, (at, next(self._numbers), alarm))
                is_running, self._running = self._running, True
                if is_running and self._waiting[0][2] is alarm:
                    self._wake.notify()
            if not is_running:
                green.starter()(self._run)
                is_running = True
        finally:
            if not is_running:  # whoever sets the next one tries again; two that run do no harm
                alarm.put_off()
                self._running = False
        return alarm

    def _run(self) -> None:
        try:
            while (alarm := self._next()) is not None:
                if (do := alarm.do) is not None:
                    try:
                        do()
                    except Exception:
                        logger.exception("a deadline could not be kept")
        except BaseException:  # whoever sets the next one starts another
            self._running = False
            raise

    def _next(self) -> _Alarm | None:
        """Wait for the next one's time. None: there is none, and the caller's run is over."""
        with self._wake:
            while True:
                while self._waiting and self._waiting[0][2].do is None:
                    heapq.heappop(self._waiting)
                if not self._waiting:
                    self._running = False
                    return None
                left_s = self._waiting[0][0] - time.monotonic()
                if left_s <= 0:
                    return heapq.heappop(self._waiting)[2]
                self._wake.wait(min(left_s, threading.TIMEOUT_MAX))


_alarms = _Alarms()


def set_alarm(at: float, do: Callable[[], None]) -> _Alarm:
    """Do something at a moment of the monotonic clock; it neither blocks nor raises. Raises RuntimeError where no
    thread can be started."""
    return _alarms.set(at, do)


def _start_afresh() -> None:
    global _alarms, _lock
    _alarms = _Alarms()  # who slept for the old ones is not in a forked child
    _lock = _thread.RLock()  # nor who had this


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)


def is_seconds(value: Any) -> bool:
    """Whether it is a finite number above 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


_scope: Scope[Limit | None] = Scope("pooldemo_limit", None)
set_current = _scope.say
limited = _scope.saying  # lets a limit hold for a body


def current() -> Limit | None:
    """The limit of the present work. Not one that ended elsewhere: a stream's generator may still be in its midst."""
    limit = _scope.current()
    while limit is not None and not limit.holds:
        limit = limit.outer
    return limit


def unlimited() -> contextlib.AbstractContextManager[None]:
    """Let no limit hold for the body: what a pool does with a connection is nobody's work."""
    return limited(None)


def deadline(seconds: float) -> "contextlib._GeneratorContextManager[Limit]":
    """Limit the time in which the body may use databases: `seconds` from now, or an outer deadline that is earlier.

    After that, waits for a slot, connects and queries raise DeadlineExceeded, which is an OperationalError. It is also
    a decorator, for functions that are not async. Raises ValueError if `seconds` is not a number above 0.
    """
    if not is_seconds(seconds):
        raise ValueError(f"deadline({seconds!r}) is not accepted: give seconds, a number above 0.")
    return _within(seconds)


@contextlib.contextmanager
def _within(seconds: float) -> Iterator[Limit]:
    inner = Limit(seconds, current())
    try:
        with limited(inner):
            yield inner
    finally:
        inner.holds = False
