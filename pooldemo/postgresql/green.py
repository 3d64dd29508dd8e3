"""gevent's side of the backend: is the process patched, what must stay unpatched, and who runs.

Nothing here imports gevent unless the process has: with plain threads the same names give the plain thing.
"""

import contextlib
import functools
import os
import select
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from pooldemo.pool import Gate, Task, ThreadTask, closed_gate, start_thread


def is_patched() -> bool:
    """Whether gevent has replaced the socket module of this process."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and monkey.is_module_patched("socket")


_patched_at_import = is_patched()


def native(module: str, name: str) -> Any:
    """What `module.name` was before the patch: for what never waits and so need not let others run."""
    if is_patched():
        from gevent import monkey

        return monkey.get_original(module, name)
    return getattr(sys.modules[module], name)


def native_poll() -> Callable[[], "select.poll"]:
    """The factory of the system's own poll objects; gevent's would switch to look."""
    poll: Callable[[], select.poll] = native("select", "poll")
    return poll


def refuse_late_patch() -> None:
    """Raise ImproperlyConfigured when gevent patched the process after Django was imported.

    Django then keeps one connection wrapper for a whole thread, and greenlets would share it.
    """
    if not is_patched():
        return
    from gevent.local import local

    storage = getattr(getattr(connections, "_connections", None), "_storage", None)
    if not _patched_at_import or (isinstance(storage, native("threading", "local")) and not isinstance(storage, local)):
        raise ImproperlyConfigured(
            "Django was imported before gevent's monkey patch, so its connections cannot tell greenlets apart. "
            "Patch first: with gunicorn use `-k gevent` without `preload_app` (--preload); "
            "elsewhere put `from gevent import monkey; monkey.patch_all()` before every other import."
        )


def make_driver_green() -> None:
    """Let psycopg2 wait through gevent when the process is patched. psycopg 3 needs nothing: it notices by itself."""
    psycopg2 = sys.modules.get("psycopg2")
    if psycopg2 is not None and is_patched():
        psycopg2.extensions.set_wait_callback(_wait)


def _wait(connection: Any) -> None:
    """psycopg2's wait callback. Who is stopped in it leaves the socket to the session, for psycopg2 closes the
    connection at once, and its query, or its login, goes on."""
    session = getattr(connection, "_pool", None)  # None: not one of a pool
    readable = getattr(session, "readable", None)  # None: it is not open yet
    try:
        if readable is not None:
            poll = sys.modules["psycopg2"].extensions.connection.poll  # not the one that asks who calls
            while (state := poll(connection)) == _POLL_READ:
                readable.wait()
            if state == _POLL_OK:
                return
        from psycogreen.gevent import gevent_wait_callback

        gevent_wait_callback(connection)
    except BaseException:
        note = getattr(session, "note_socket", None)
        if note is not None:
            with contextlib.suppress(OSError, connection.InterfaceError):  # it is closed already
                note(connection.fileno())
        raise


_POLL_OK, _POLL_READ = 0, 1  # psycopg2's


class Readable:
    """Waits until a socket can be read, with one watcher of gevent's loop: to make one each time costs more than that.

    For a socket in which one greenlet waits at a time, of whatever native thread.
    """

    __slots__ = ("_descriptor", "_get_hub", "_hub", "_watcher")

    def __init__(self, descriptor: int) -> None:
        import gevent

        self._descriptor, self._get_hub = descriptor, gevent.get_hub
        self._hub = self._watcher = None

    def wait(self) -> None:
        """Let others run until there is something to read, or the other side has gone."""
        hub: Any = self._get_hub()
        if hub is not self._hub:
            self.close()
            self._watcher = hub.loop.io(self._descriptor, 1)
            self._hub = hub
        hub.wait(self._watcher)

    def close(self) -> None:
        """Give the watcher back; nobody may wait."""
        watcher: Any = self._watcher
        self._hub = self._watcher = None
        if watcher is not None:
            with contextlib.suppress(ValueError):  # its loop has gone with its thread, one of gevent's threadpool
                watcher.close()


class TimeLimit(Exception):
    """What `time_limit` raises."""


@contextlib.contextmanager
def time_limit(seconds: float | None, error: type[Exception] = TimeLimit) -> Iterator[None]:
    """Raise `error` in the body after `seconds`. Plain threads cannot: there the driver's own limits hold."""
    if seconds is None or not is_patched():
        yield
        return
    import gevent

    with gevent.Timeout(seconds, error):
        yield


def _here() -> tuple[Any, int]:
    """The hub of the calling native thread, and that thread."""
    import gevent

    return gevent.get_hub(), native("_thread", "get_ident")()


# The hub that runs as long as the process does: that of the thread which imports this. The hub of another thread, one
# of gevent's threadpool for instance, runs no more once that thread has done its work.
_home = _here() if is_patched() else None


def _at_home() -> tuple[Any, int]:
    global _home
    if _home is None:
        _home = _here()
    return _home


def _leave_home() -> None:
    """In a child that another native thread has forked: it is the only one there."""
    global _home
    if _home is not None and native("_thread", "get_ident")() != _home[1]:
        _home = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_home)


def starter() -> Callable[[Callable[[], None]], None]:
    """The pool's way to do something in the background, from whatever native thread: on the process's lasting hub."""
    if not is_patched():
        return start_thread
    import gevent

    native_ident = native("_thread", "get_ident")

    def start(work: Callable[[], None]) -> None:
        hub, home = _at_home()
        if native_ident() == home:
            gevent.spawn(work)
        else:
            hub.loop.run_callback_threadsafe(gevent.spawn, work)

    return start


@functools.cache
def gates() -> Callable[[], Gate]:
    """What makes a pool's gates: of gevent's own waiter and timer, which do a third of what its locks do."""
    if not is_patched():
        return closed_gate
    from gevent import get_hub
    from gevent.hub import Waiter

    class GreenGate:
        """Is opened on its greenlet's loop, whoever asks. What is asked for when nobody waits any more may end the next
        wait too soon, as any lock may: who waits looks again at what for."""

        __slots__ = ("_loop", "_waiter", "release")

        def __init__(self) -> None:
            hub: Any = get_hub()
            self._waiter, self._loop = waiter, loop = Waiter(hub), hub.loop
            self.release = functools.partial(loop.run_callback_threadsafe, waiter.switch, True)

        def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
            waiter = self._waiter
            # Also without a limit: a native thread may be who opens it, of which a loop without a timer does not know.
            timer = self._loop.timer(timeout if timeout >= 0 else threading.TIMEOUT_MAX)
            try:
                timer.start(waiter.switch, False, update=True)
                return bool(waiter.get())
            finally:
                timer.close()
                waiter.clear()

        def locked(self) -> bool:
            return not self._waiter.ready()

    return GreenGate


def start_aside(work: Callable[[], bool], then: Callable[[bool], None]) -> None:
    """Do `work`, which blocks a whole native thread, in one of its own; then tell `then`, which neither blocks nor
    switches, what it returned. Raises RuntimeError where no thread can be started.

    Not in gevent's threadpool: it has few threads, and names are resolved there.
    """

    def run() -> None:
        done = False
        try:
            done = work()
        finally:
            tell(done)

    tell: Callable[[bool], object] = then
    if is_patched():
        hub, _ = _at_home()
        tell = functools.partial(hub.loop.run_callback_threadsafe, then)
    native("_thread", "start_new_thread")(run, ())


class GreenletTask:
    """The current greenlet, as the pool's Task."""

    keeps = ""

    def __init__(self) -> None:
        import gevent

        current = gevent.getcurrent()
        self.name: str = getattr(current, "name", None) or f"greenlet {id(current):#x}"
        self._ref = weakref.ref(current)
        ident = native("_thread", "get_ident")()
        self._is_native = ident != _at_home()[1] and not isinstance(current, gevent.Greenlet)
        if self._is_native:  # of gevent's threadpool, say
            self.name, self.keeps = f"native thread {ident:#x}", ThreadTask.keeps

    def stack(self) -> str:
        current = self._ref()
        frame = current.gr_frame if current is not None else None
        return "".join(traceback.format_stack(frame)) if frame is not None else ""

    def keep(self, thing: object) -> bool:
        """gevent may keep the greenlet of a native thread that has ended; what is local to the thread itself ends."""
        if self._is_native:
            _of_thread.kept = (*getattr(_of_thread, "kept", ()), thing)
        return self._is_native


_of_thread: Any = native("_thread", "_local")()


def current_task() -> Task:
    """The greenlet or thread that calls."""
    if is_patched():
        return GreenletTask()
    return ThreadTask()
