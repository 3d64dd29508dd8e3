"""What a pool does in the background, and what it does with a connection that comes back: close it, or pass it on.

Fillers are threads, or greenlets under the monkey patch, that give slots a connection. Who asks for one never connects.
A filler waits until the server has let go of a slot's last connection, and for as long as a server that is down is to
be left alone. Then it connects, or asks a doubtful connection, and the slot goes to whoever is first in the line by
then. Who gave up meanwhile has nothing to undo.
"""

import contextlib
import functools
import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from . import report
from .options import Options
from .report import Holding, PoolError
from .server import Connector
from .slot import Claim, Slot
from .supply import Supply

logger = logging.getLogger(__name__)

Start = Callable[[Callable[[], None]], None]  # runs its argument in the background

_LEAST_LIMIT_S = 10.0  # for a connect, whatever POOL_TIMEOUT is: who comes next is glad of a slow one
_LIMIT_S = 30.0  # when POOL_TIMEOUT=None: a connect that hangs must not keep its slot for ever
_LONGEST_LOOK_S = 0.02  # between two looks whether a closed connection is gone
_TELL_AFTER_S = 60.0  # that a server does not let go of one: most take a tenth of a second
_SHORTEST_ROUND_S, _LONGEST_ROUND_S = 0.02, 5.0  # of the keeper


class Later:
    """What could not be done where it came up: in a finaliser or a signal handler, perhaps in the midst of a decision.

    It is done in the background, or, where nothing can be started, by whoever comes along. It must be such that doing
    it a second time does nothing.
    """

    def __init__(self, start: Start) -> None:
        self._start = start
        self.works: deque[Callable[[], object]] = deque()

    def add(self, work: Callable[[], object]) -> None:
        """May be called from anywhere, the garbage collector included. Neither blocks nor switches."""
        self.works.append(work)
        self.hurry()

    def hurry(self) -> None:
        """Have it done in the background: who waits already may wait for just that. Neither blocks nor switches."""
        with contextlib.suppress(RuntimeError):  # the interpreter or the stack ends, or there are too many threads
            self._start(self.catch_up)

    def catch_up(self) -> None:
        """Do all of it."""
        while self.works:
            self.works.copy()  # where no call can follow, for the stack ends here, nothing has changed yet
            # Without a call, so that nobody can be stopped with the work in neither place; and in one line, see `take`.
            # fmt: off
            try:
                work = self.works[0]; del self.works[0]  # noqa: E702
            except IndexError:  # another thread took the last
                return
            # fmt: on
            try:
                work()
            except BaseException:  # who was stopped leaves it to the next
                self.works.appendleft(work)
                raise


class Upkeep:
    """Acts on what a pool's slots decide: opens, closes and passes on."""

    def __init__(self, slots: Supply, clock: Callable[[], float], spread: Callable[[], float], start: Start) -> None:
        self.slots, self.clock, self._spread, self.start = slots, clock, spread, start
        self.connector: Connector
        self.options: Options
        self.later = Later(start)
        self.ended = threading.Event()  # set when the pool is closed: fillers and the keeper wait for it
        self.keeper = Keeper(self)

    # ---- a slot that somebody has ----

    def put(self, claim: Claim, *, fresh: bool = False, filled: bool = False) -> None:
        """Give a claimed slot, if it is one still, to the next waiter, or put it away. Does not switch.

        `fresh`: its connection was opened or pinged just now; `filled`: it comes from a filler.
        """
        if self.slots.busy_here():  # in a finaliser or a signal handler, in the midst of a decision
            self.later.add(functools.partial(self.put, claim, fresh=fresh, filled=filled))
            return
        while not self.slots.settle(claim, self.clock(), fresh, filled):
            self.discard(claim.slot)
        if self.slots.unready:
            self.call_filler()

    def discard(self, slot: Slot) -> None:
        """Close the connection of a slot that the caller has, whole or half open. Does not switch."""
        slot.vacate()
        if (closed := slot.leaving) is not None:
            slot.left_at, slot.told = self.clock(), False
            self.connector.close(closed)
            slot.connection = None  # not before: who is stopped here, or whose stack ends, closes it once more
            if self.connector.gone(closed):
                slot.leaving = None

    def discard_claimed(self, claim: Claim) -> None:
        """Close the connection of a claimed slot, if it is one still, and put it away. Does not switch."""
        if claim.slot is not None and claim.slot.holder is claim:
            self.discard(claim.slot)
            self.put(claim)

    def holding(self, slot: Slot) -> Holding:
        """A held slot, as told to people."""
        connection = slot.connection
        return Holding.of(slot, self.connector.statement(connection) if connection is not None else "", self.clock())

    # ---- fillers ----

    def call_filler(self) -> None:
        """Start a filler if there is work for one. Does not switch."""
        started = False
        try:
            work = functools.partial(self._fill_in_background)
            if self.slots.call_filler(work):
                self.start(work)
            started = True
        except RecursionError:  # nor can who waits fill a slot himself
            raise
        except RuntimeError:  # the interpreter is ending, or there are too many threads
            pass
        finally:
            if not started:
                # Without a call, which the end of the stack may not allow: who keeps that error keeps `work` as well.
                self.slots.called = None
                self.slots.ask_to_fill()

    def _fill_in_background(self) -> None:
        """What a filler does. Blocks. Whatever stops it, one waiter learns of it."""
        try:
            self.fill()
        except BaseException as stopped:
            error = PoolError(f"connecting was stopped by {stopped!r}")
            error.__cause__ = stopped
            self.slots.failed(Claim(), error, False, False, 0.0, 0.0)

    def fill(self) -> None:
        """Give slots a connection, one after the other, as long as there is a want of it. Blocks."""
        while self._fill_one(Claim()):
            pass

    def _fill_one(self, filler: Claim) -> bool:
        """Whether to go on."""
        slots, end = self.slots, functools.partial(self._end, filler)
        try:
            looks = 0
            while pause_s := slots.claim_unready(filler, self.clock()):
                if not self.look_for_the_gone():
                    looks = min(looks + 1, 10)  # the pause has long been the longest then
                    self.ended.wait(max(pause_s, min(0.001 * 2**looks, _LONGEST_LOOK_S)))
            if filler.slot is None:
                return False
            self.call_filler()  # while this one works
            return self._connect(filler)
        except BaseException:
            if filler.slot is not None and filler.slot.holder is filler:
                self.discard(filler.slot)  # stopped in the midst of asking, say: who knows what state it is in
            raise
        finally:
            try:
                end()
            except BaseException:  # a signal, say; it can be repeated
                self.later.works.append(end)
                self.later.hurry()
                raise

    def _end(self, filler: Claim) -> None:
        """Nothing is left in the hands of a filler. The second time nothing happens."""
        self.slots.dismiss(filler)
        self.put(filler, filled=True)

    def _connect(self, filler: Claim) -> bool:
        generation = self.slots.generation  # read first: what the connector of before opens is old
        slot, slots, connector, options = filler.slot, self.slots, self.connector, self.options
        limit_s = max(_LIMIT_S if options.pool_timeout is None else options.pool_timeout, _LEAST_LIMIT_S)
        if slot.connection is not None:
            if self.clock() < slot.expires_at and connector.ping(slot.connection, limit_s):
                self.put(filler, fresh=True, filled=True)
                return True
            slots.stats.lost += 1
            self.discard(slot)
            return True
        started_at = self.clock()
        slots.stats.connects += 1
        try:
            connection = slot.leaving = connector.new()
            connector.open(connection, limit_s)
            now = self.clock()
            lifetime_s = options.max_lifetime * (1 - 0.1 * self._spread()) or float("inf")
            slots.connected(filler, connection, generation, now + lifetime_s, now - started_at)
        except BaseException as error:
            slots.stats.connect_errors += 1
            self.discard(slot)  # before anybody hears of it
            if not isinstance(error, Exception):
                raise
            return self._tell_of_failure(filler, error)
        self.put(filler, fresh=True, filled=True)
        return True

    def _tell_of_failure(self, filler: Claim, error: Exception) -> bool:
        """Whether to go on after a connect that failed."""
        slots, connector = self.slots, self.connector
        first = not any(slots.stats.connect.counts)
        transient = isinstance(error, connector.errors) and connector.is_transient(error, first=first)
        full = transient and connector.is_full(error)
        go_on = slots.failed(filler, error, transient, full, self.clock(), self._spread())
        if full:
            self._tell_of_full_server(error)
        if go_on:
            return True
        if self.options.min_conns:
            report.log(f"MIN_CONNS: {slots!r} cannot connect ahead: {error}")
        return False

    def _tell_of_full_server(self, error: Exception) -> None:
        """Log, once a second at most, that a server takes no more connections; those that there are go on serving."""
        slots, server, now = self.slots, self.slots.server, self.clock()
        if now - server.told_at >= 1:
            server.told_at = now
            some = slots.opened > slots.filling
            does = "goes on with the connections that it has" if some else "has no connection, and waits"
            report.log(f"{slots!r} {does}: the server takes no more ({str(error).strip()})")

    def look_for_the_gone(self) -> bool:
        """See which closed connections their server has let go of; whether it did of any. Switches in log handlers."""
        found = False
        for slot, leaving in self.slots.leaving():
            if self.connector.gone(leaving):
                self.slots.depart(slot, leaving)
                found = True
            elif not slot.told and self.clock() - slot.left_at >= _TELL_AFTER_S:
                slot.told = True
                self._tell_of_leaving(slot, leaving)
        return found

    def _tell_of_leaving(self, slot: Slot, leaving: Any) -> None:
        """Log that a server does not let go of a closed connection, and what can be done."""
        statement = self.connector.statement(leaving)
        report.log(
            f"{self.slots!r} closed a connection {self.clock() - slot.left_at:.0f} s ago, and its server process still "
            "runs"
            + (f" ({statement})" if statement else " (it was connecting)")
            + ". Its slot waits, or there would be more than MAX_CONNS. Look for it in pg_stat_activity, and end it "
            "with pg_terminate_backend(pid)"
        )

    # ---- housekeeping ----

    def look_after(self, told: dict[Slot, float]) -> None:
        """One round. Does not block. `told`: the holdings that were warned of, by slot and when it was taken."""
        self.later.catch_up()
        self.look_for_the_gone()
        self.end_the_old()
        self.slots.look_ahead()
        self.call_filler()
        self._tell_of_leaks(told)

    def end_the_old(self) -> None:
        """Close idle connections that are too old, or more than are kept; the one idle longest first. No switch."""
        while self._end_one_of_the_old(Claim()):
            pass

    def _end_one_of_the_old(self, claim: Claim) -> bool:
        """Whether there was one."""
        end = functools.partial(self.discard_claimed, claim)
        try:
            found = self.slots.claim_old(claim, self.clock(), self.options.max_idle)
            end()
            return found
        except BaseException:
            try:
                end()
            except BaseException:
                self.later.works.append(end)
                self.later.hurry()
                raise
            raise

    def _tell_of_leaks(self, told: dict[Slot, float]) -> None:
        """Warn once of each slot that is held longer than LEAK_THRESHOLD, with what its holder is doing."""
        threshold_s = self.options.leak_threshold
        if not threshold_s:
            return
        for slot in self.slots.held():
            if self.clock() - slot.taken_at < threshold_s or told.get(slot) == slot.taken_at:
                continue
            told[slot] = slot.taken_at
            holding = self.holding(slot)
            text = f"a connection of {self.slots!r} is held longer than LEAK_THRESHOLD={threshold_s:g} s by {holding}"
            report.tell(f"{text}. It is in:\n{holding.stack()}", ResourceWarning)


class Keeper:
    """The housekeeping of one pool, every tenth of the shortest time that matters to it.

    One background thread, a greenlet under the monkey patch. It starts only when an option gives it work to do, and
    ends with its pool. Everything that a caller waits for works without it.
    """

    def __init__(self, upkeep: Upkeep) -> None:
        self._upkeep, self._ended = weakref.ref(upkeep), upkeep.ended
        self._work: weakref.ref[functools.partial[None]] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started, and has neither ended nor been stopped before it came."""
        return self._work is not None and self._work() is not None

    def start(self) -> None:
        """Begin, if there is any work and it has not begun. Neither blocks nor fails."""
        if self._work is not None and self._work() is not None:  # `running`, spelled out: each waiter asks
            return
        upkeep = self._upkeep()
        if upkeep is not None and is_needed(upkeep.options):
            work = functools.partial(self._run)
            self._work = weakref.ref(work)
            with contextlib.suppress(RuntimeError):  # no thread can be started now: the next one tries again
                upkeep.start(work)

    def _run(self) -> None:
        told: dict[Slot, float] = {}
        while True:
            upkeep = self._upkeep()
            if upkeep is None or upkeep.slots.closed or not is_needed(upkeep.options):  # they may have changed
                return
            try:
                upkeep.look_after(told)
            except Exception:  # a driver's surprise in one round is no reason to end the housekeeping
                logger.exception("the keeper of %r failed in one round", upkeep.slots)
            round_s = _round_s(upkeep.options)
            del upkeep  # or its pool could not be collected while this sleeps
            if self._ended.wait(round_s):
                return


def is_needed(options: Options) -> bool:
    """Whether any of them gives a keeper work to do."""
    return bool(options.min_conns or options.leak_threshold or options.max_idle or options.max_lifetime)


def _round_s(options: Options) -> float:
    times = [seconds for seconds in (options.max_idle, options.max_lifetime, options.leak_threshold) if seconds]
    return min(max(min(times, default=_LONGEST_ROUND_S) / 10, _SHORTEST_ROUND_S), _LONGEST_ROUND_S)
