"""The pool as a state machine: hypothesis chooses what happens next, and looks at the invariants after each step."""

import contextlib
from collections import Counter

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from pooldemo.pool import PoolClosed, PoolFull, PoolTimeout
from pooldemo.pool.slot import Holder

from .world import GREEN, PATIENCE_S, Holding, Refused, assert_whole, busy, make, until_quiet


class Killed(Exception):
    """What a greenlet is stopped with."""


class PoolMachine(RuleBasedStateMachine):
    """Many ask, few hold; connects fail, connections die, the size changes, and at the end every slot is there."""

    askers: Bundle[Holding] = Bundle("askers")

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Holding] = []
        self.outcomes: Counter[str] = Counter()

    @initialize(cap=st.integers(1, 4), max_waiting=st.sampled_from([0, 0, 2]), uses=st.sampled_from([0, 2]))
    def begin(self, cap: int, max_waiting: int, uses: int) -> None:
        self.pool, self.connector = make(
            MAX_CONNS=cap, MAX_WAITING=max_waiting, MAX_USES=uses, MAX_IDLE=0, MAX_LIFETIME=0, spread=lambda: 0.0
        )
        self.manner = "well"
        self.connector.on_connect = self._connect

    def _connect(self, number: int) -> None:
        if self.manner == "refusing":
            raise Refused
        if self.manner == "busy":
            raise busy()

    def _quiet(self) -> None:
        until_quiet(
            self.pool, lambda: [(asker.slot is not None, asker.worker.done, asker.gate.parked) for asker in self.all]
        )

    @rule(target=askers, timeout=st.sampled_from([None, None, 5, 0.002, 0]), low=st.booleans())
    def ask(self, timeout: float | None, low: bool) -> Holding:
        asker = Holding(self.pool, timeout=timeout, low=low)
        self.all.append(asker)
        self._quiet()
        return asker

    @rule(asker=consumes(askers))
    def give_back(self, asker: Holding) -> None:
        """Whoever waits will give back at once when it is his turn."""
        asker.gate.open()
        self._quiet()

    @rule(asker=askers)
    def lose_the_connection(self, asker: Holding) -> None:
        if asker.connection in self.connector.opened:
            self.connector.dead.add(asker.connection)

    @rule()
    def lose_all_connections(self) -> None:
        self.connector.dead |= self.connector.opened

    @precondition(lambda self: GREEN)
    @rule(asker=consumes(askers))
    def kill(self, asker: Holding) -> None:
        import gevent

        if asker.worker.greenlet is not None and not asker.worker.done:
            gevent.kill(asker.worker.greenlet, Killed())
        self._quiet()

    @rule(manner=st.sampled_from(["well", "well", "refusing", "busy"]))
    def let_the_server_do(self, manner: str) -> None:
        self.manner = manner

    @rule(size=st.integers(1, 6))
    def resize(self, size: int) -> None:
        self.pool.resize(size)
        self._quiet()

    @rule()
    def drain(self) -> None:
        self.pool.drain()
        self._quiet()

    @precondition(lambda self: len(self.all) > 6)
    @rule()
    def close(self) -> None:
        self.pool.close()
        self._quiet()

    @rule(target=askers, low=st.booleans())
    def a_crowd(self, low):
        crowd = [Holding(self.pool, timeout=None, low=low) for _ in range(5)]
        self.all += crowd
        self._quiet()
        return multiple(*crowd)

    @invariant()
    def it_keeps_its_invariants(self) -> None:
        if not hasattr(self, "pool"):
            return
        capacity, connector = self.pool.slots, self.connector
        with self.pool.slots.mutex:
            slots, idle, empty = list(capacity.all), list(capacity.idle), list(capacity.unready)
            waiting, low, to_spare = len(capacity.line.normal), len(capacity.line.low), capacity.to_spare
            held = [slot for slot in slots if isinstance(slot.holder, Holder)]
        assert connector.connecting + len(connector.opened) <= len(slots), (connector.connecting, connector.opened)
        assert 0 <= connector.connecting + len(held) + len(idle) <= len(slots)
        assert len(slots) <= capacity.size or not idle, "idle while it shrinks"
        assert not (idle and waiting), f"{len(idle)} idle while {waiting} wait"
        assert waiting or not low or to_spare <= 0, f"{to_spare} to spare while {low} of low priority wait"
        assert len({*map(id, idle), *map(id, empty), *map(id, held)}) == len(idle) + len(empty) + len(held)
        assert all(slot.connection in connector.opened for slot in [*idle, *held])
        assert self.pool.get_stats()["requests_num"] == len(self.all)
        served = sum(self.pool.histograms()["wait"].counts)
        assert served == sum(asker.slot is not None for asker in self.all)
        in_progress = sum(not asker.worker.done and asker.slot is None for asker in self.all)
        assert self.pool.get_stats()["requests_errors"] == len(self.all) - served - in_progress

    def teardown(self) -> None:
        if not hasattr(self, "pool"):
            return
        self.manner = "well"
        for asker in self.all:
            asker.gate.open()
        for asker in self.all:
            with contextlib.suppress(PoolTimeout, PoolFull, PoolClosed, Refused, Killed):
                asker.worker.result()
        assert_whole(self.pool, self.connector)
        if not self.pool.closed:
            self.pool.resize(3)
            slots = [self.pool.checkout(timeout=PATIENCE_S) for _ in range(3)]
            for slot in slots:
                self.pool.checkin(slot)
            assert_whole(self.pool, self.connector)
        self.pool.close()
        assert not self.connector.opened


settings.register_profile(
    "pool",
    max_examples=150 if GREEN else 20,
    stateful_step_count=25,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
