"""Killed at any switch, a checkout or a holding loses no slot, and the killed one sees what killed it.

"Any" is meant literally: `greenlet.settrace` counts how often the victim switches away, and the scenario is run again
and again, stopped at its first, second, third ... switch until it completes. A kill reaches a greenlet in a later turn
of the loop, so each is tried at once and after some turns in which the others go on.
"""

import itertools
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from typing import Any

import gevent
import greenlet
import pytest

from pooldemo.pool import Options, Pool
from pooldemo.postgresql.green import gates

from .world import PATIENCE_S, FakeConnector, assert_whole, busy

CAP = 2
DELAYS = range(4)  # turns of the loop between the switch and the kill


class Stop(Exception):
    """An ordinary exception, thrown into a greenlet from outside."""


def switch(*_: Any) -> None:
    gevent.sleep(0)


def twice(*_: Any) -> None:
    gevent.sleep(0)  # connect ...
    gevent.sleep(0)  # ... and configure


def refused_at_first(refused: set[int]) -> Callable[[int], None]:
    def connect(number: int) -> None:
        twice()
        if number in refused:
            raise busy()

    return connect


@contextmanager
def nested_timeouts():
    with gevent.Timeout(3600), gevent.Timeout(3600) as middle, gevent.Timeout(3600):
        yield middle


@contextmanager
def one_timeout():
    with gevent.Timeout(3600) as timeout:
        yield timeout


@contextmanager
def no_timeout(error: BaseException):
    yield error


KILLS: dict[str, Callable[[], Any]] = {
    "GreenletExit": lambda: no_timeout(gevent.GreenletExit("killed")),
    "Timeout": one_timeout,
    "the middle one of nested Timeouts": nested_timeouts,
    "an ordinary exception": lambda: no_timeout(Stop("stopped")),
}


class Run:
    """One run of a scenario, its victim stopped at its `nth` switch, `delay` turns of the loop later."""

    def __init__(
        self, scenario: Callable[["Run"], None], kill: Callable[[], Any], nth: int, delay: int, again: bool
    ) -> None:
        self.connector = FakeConnector()
        self.connector.on_connect, self.connector.on_ping, self.connector.on_recycle = twice, switch, switch
        options = Options.read(MAX_CONNS=CAP, MAX_IDLE=0, MAX_LIFETIME=0)
        self.pool = Pool(self.connector, options, spread=lambda: 0.0, gate=gates())
        self.nth, self.delay, self.again = nth, delay, again
        self.switches = 0
        self.error: BaseException | None = None  # what stops the victim
        self.seen: BaseException | None = None  # what the victim saw
        self.peers: list[gevent.Greenlet] = []
        scenario(self)
        self.victim = gevent.spawn(self._suffer, kill)
        self.served = 0
        old = greenlet.settrace(self._traced)
        try:
            gevent.joinall([self.victim, *self.peers], timeout=PATIENCE_S, raise_error=True)
        finally:
            greenlet.settrace(old)
        assert self.victim.dead
        assert all(peer.dead for peer in self.peers), f"{self.pool!r}: somebody still waits"

    @property
    def stopped(self) -> bool:
        return self.switches >= self.nth

    def peer(self, work: Callable[[], None]) -> None:
        self.peers.append(gevent.spawn(work))

    def request(self, dead: bool = False) -> None:
        """What everybody here does: checkout, query, checkin."""
        slot = self.pool.checkout()
        assert self.connector.connecting + len(self.connector.opened) <= CAP
        try:
            switch()
            if dead:
                self.connector.dead.add(slot.connection)
        finally:
            self.pool.checkin(slot)

    def late_request(self) -> None:
        """A request that comes after the victim's."""
        twice()
        self.request()

    def _suffer(self, kill: Callable[[], Any]) -> None:
        try:
            with ExitStack() as stack:
                self.error = stack.enter_context(kill())
                self.request()
                self.request(dead=True)
                self.request()
        except BaseException as error:
            self.seen = error

    def _traced(self, event: str, args: tuple[Any, Any]) -> None:
        if event in ("switch", "throw") and args[0] is self.victim and not self.victim.dead:
            self.switches += 1
            if self.switches == self.nth or (self.again and self.switches > self.nth):
                self._turn(self.delay)

    def _turn(self, turns: int) -> None:
        loop = gevent.get_hub().loop
        if turns:
            loop.run_callback(self._turn, turns - 1)
        elif self.error is not None:
            loop.run_callback(self._throw)

    def _throw(self) -> None:
        if not self.victim.dead:
            self.victim.throw(self.error)


def alone(run: Run) -> None:
    """The victim connects, holds, and gives back; nobody else is there."""


def holder_with_waiters(run: Run) -> None:
    """The victim comes first and holds; six others wait for what it has."""
    for _ in range(6):
        run.peer(run.late_request)


def waiter(run: Run) -> None:
    """Four others come first; the victim waits, and two wait behind it."""
    for _ in range(4):
        run.peer(run.request)
    switch()
    run.peer(run.late_request)
    run.peer(run.late_request)


def among_the_refused(run: Run) -> None:
    """The server refuses some connects: the victim and others pause, and connect for each other."""
    run.connector.on_connect = refused_at_first({1, 2, 4, 5})
    for _ in range(3):
        run.peer(run.request)


def with_dying_connections(run: Run) -> None:
    """What comes back is dead: slots are handed over empty."""
    for _ in range(4):
        run.peer(lambda: run.request(dead=True))


SCENARIOS = [alone, holder_with_waiters, waiter, among_the_refused, with_dying_connections]


@pytest.mark.parametrize("again", [False, True], ids=["once", "at every switch from there on"])
@pytest.mark.parametrize("kill", KILLS.values(), ids=KILLS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_it_loses_no_slot_whenever_a_greenlet_is_stopped(scenario, kill, again):
    delays = DELAYS if scenario is not among_the_refused else range(2)
    for nth in itertools.count(1):
        completed = 0
        for delay in delays:
            run = Run(scenario, kill, nth, delay, again)
            where = f"stopped at switch {nth}, {delay} turns later: {run.pool!r}"
            assert_whole(run.pool, run.connector)
            assert run.connector.peak <= CAP, where
            slots = [run.pool.checkout(timeout=PATIENCE_S) for _ in range(CAP)]
            for slot in slots:
                run.pool.checkin(slot)
            if run.seen is None:
                completed += 1
            else:
                assert run.seen is run.error, where
            run.pool.close()
        if completed == len(delays):
            assert nth > 5, "the scenario has more switches than that"
            return
