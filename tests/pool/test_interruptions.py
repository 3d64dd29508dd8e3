"""Whatever comes up between two bytecodes of the pool, a signal or a finaliser, no slot is lost and nobody hangs."""

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from interrupted import Interrupted, Signal, raise_signal

import pooldemo.pool
from pooldemo.pool import Holder, Pool, PoolClosed, PoolFull, Slot, ThreadTask, start_thread
from pooldemo.pool.slot import Claim
from pooldemo.pool.upkeep import Later

from .world import (
    GREEN,
    Clock,
    FakeConnector,
    Gate,
    Holding,
    Worker,
    assert_whole,
    cannot_close,
    eventually,
    make,
    queue,
    taken,
)

REFUSED = (PoolClosed, PoolFull)  # of a pool that was closed meanwhile, or made smaller
HERE = str(Path(pooldemo.pool.__file__).parent)


class Scene:
    """A pool of three slots, a slot that the caller holds, one more that a finaliser gives back, and those who wait,
    the last of them with low priority.
    """

    def __init__(self, waiters: int = 0, low: int = 0, **options: Any) -> None:
        self.pool: Pool
        self.connector: FakeConnector
        self.clock = Clock()
        self.pool, self.connector = make(MAX_CONNS=3, MAX_IDLE=0, MAX_LIFETIME=0, clock=self.clock, **options)
        self.slot: Slot | None = self.pool.checkout()
        self.other: Slot | None = self.pool.checkout()
        self.got: list[Slot] = []
        self.lifeline = self.pool.lifeline()
        self.refused: tuple[type[Exception], ...] = ()  # what others may be told after the interrupt
        self.holder = Holding(self.pool).has_it()
        if not waiters:
            self.holder.give_back()
        self.line: list[Holding] = []
        for number in range(waiters + low):
            self.line += queue(self.pool, 1, low=number >= waiters)
            self.clock.now += 0.2
        line = self.pool.slots.line
        eventually(lambda: (len(line.normal), len(line.low)) == (waiters, low))
        for each in self.line:
            each.gate.open()  # gives back as soon as it is served

    def checkin(self) -> None:
        assert self.slot is not None
        self.pool.checkin(self.slot)

    def checkin_dead(self) -> None:
        self.connector.dirty.add(self.slot.connection)  # type: ignore[union-attr]
        self.checkin()

    def checkout(self) -> None:
        self.got.append(self.pool.checkout())

    def checkout_dead(self) -> None:
        self.connector.dead |= self.connector.opened - {self.slot.connection, self.other.connection}  # type: ignore[union-attr]
        self.checkout()

    def checkout_cold(self) -> None:
        self.pool.drain()
        self.checkout()

    def checkout_low(self) -> None:
        self.give_back_other()
        self.got.append(self.pool.checkout(low=True))

    def give_back_other(self) -> None:
        other, self.other = self.other, None
        if other is not None:
            self.pool.checkin(other)

    def checkout_alone(self) -> None:
        """Where no thread can be started: it has to connect by itself."""
        self.pool.upkeep.start = self.pool.upkeep.later._start = no_thread
        self.checkout_cold()

    def checkout_dead_alone(self) -> None:
        """And has to ask the server for a connection that does not answer."""
        self.pool.upkeep.start = self.pool.upkeep.later._start = no_thread
        self.checkout_dead()

    def at_the_end_of_the_stack(self, times: int) -> None:
        self.refused += (RecursionError,)
        cannot_close(self.connector, times)

    def end_checkin(self) -> None:
        self.at_the_end_of_the_stack(2)
        self.checkin_dead()

    def end_take_back(self) -> None:
        self.at_the_end_of_the_stack(2)
        self.pool.take_back(self.slot.ticket)  # type: ignore[union-attr]

    def end_drain(self) -> None:
        self.at_the_end_of_the_stack(2)
        self.pool.drain()

    def end_checkout(self) -> None:
        """Of a connection that is too old."""
        self.at_the_end_of_the_stack(3)
        self.pool.slots.idle[-1].expires_at = float("-inf")
        self.checkout()

    def end_checkout_alone(self) -> None:
        self.at_the_end_of_the_stack(4)
        self.checkout_dead_alone()

    def shed(self) -> None:
        """One who waits is refused, and the newest is served."""
        self.refused += REFUSED
        self.checkin()

    def wait(self) -> None:
        """For what another gives back."""

        def give_back() -> None:
            eventually(lambda: len(self.pool.slots.line.normal) != 1)
            self.holder.gate.open()

        Worker(give_back)
        self.checkout()

    def resize(self) -> None:
        self.pool.resize(1)
        self.pool.resize(4)
        self.pool.resize(3)

    def rebind(self) -> None:
        """Of the slot that a finaliser gives back; a second time, as where it is handed on again."""
        for _ in range(2):
            if self.other is not None:
                self.pool.rebind(self.other, self.lifeline)

    def reap(self) -> None:
        """What an ended holder kept, after a first try was stopped or not."""
        Worker(self._forget).result()
        try:
            eventually(lambda: self.pool.upkeep.later.works)
            self.pool.upkeep.later.catch_up()
        except Signal:
            eventually(lambda: self.pool.upkeep.later.works or self.pool.slots.stats.orphans)
            self.pool.upkeep.later.catch_up()
            raise

    def _forget(self) -> None:
        self.pool.upkeep.later = Later(lambda work: None)
        self.pool.checkout()

    def finalise(self) -> None:
        """What a finaliser of a forgotten connection does, in the midst of whatever runs."""
        self.connector.on_recycle = self.blocks
        self.give_back_other()

    def close(self) -> None:
        """What a signal's handler does that ends the process in order."""
        self.refused += REFUSED
        self.pool.close()

    def shrink(self) -> None:
        """What a signal's handler does that reads the settings anew."""
        self.refused += REFUSED
        self.pool.resize(1)

    def take(self) -> None:
        """What another thread does without the lock, in the midst of whatever runs: take a slot. It soon gives back; no
        greenlet would do so now."""
        slot = self.pool.slots.take(Holder(ThreadTask()), object(), self.pool.clock())
        if slot is not None:
            self.pool.slots.stats.wait.counts[0] += 1
            start_thread(functools.partial(self.pool.checkin, slot))

    def blocks(self, _: int) -> None:
        assert not self.pool.slots.busy_here(), "something is undone in the midst of a decision"

    def end(self) -> None:
        mine = self.pool._local.holder
        self.connector.__dict__.pop("close", None)  # the stack ends no more
        self.pool.upkeep.start = self.pool.upkeep.later._start = start_thread
        self.pool.upkeep.later.catch_up()
        if self.other is None:
            assert not self.lifeline.holder.held, "it was given back, and bound to another all the same"
        for slot in list(self.pool.slots.all):
            if slot.holder in (mine, self.lifeline.holder):
                self.pool.checkin(slot)
        self.holder.gate.open()
        for each in [self.holder, *self.line]:
            with contextlib.suppress(PoolClosed, *self.refused):
                each.worker.result()
        self.pool.resize(3)  # it may have been stopped half-way
        assert not mine.held
        assert not self.lifeline.holder.held
        assert_whole(self.pool, self.connector, counted=RecursionError not in self.refused)
        assert self.connector.peak <= 4


def no_thread(work: Callable[[], None]) -> None:
    raise RuntimeError("can't start new thread")


SCENES: dict[str, tuple[Callable[[Scene], None], dict[str, Any]]] = {
    "a checkout of an idle connection": (Scene.checkout, {}),
    "a checkout of a dead connection": (Scene.checkout_dead, {}),
    "a checkout that has to connect": (Scene.checkout_cold, {}),
    "a checkout that connects by itself": (Scene.checkout_alone, {}),
    "a checkout that asks by itself": (Scene.checkout_dead_alone, {}),
    "a checkout of low priority": (Scene.checkout_low, {}),
    "a checkout that waits": (Scene.wait, {"waiters": 1}),
    "a checkin": (Scene.checkin, {}),
    "a checkin while others wait": (Scene.checkin, {"waiters": 2}),
    "a checkin of a broken connection": (Scene.checkin_dead, {}),
    "a checkin of a broken connection while others wait": (Scene.checkin_dead, {"waiters": 2}),
    "a checkin at the end of the stack": (Scene.end_checkin, {}),
    "a checkin at the end of the stack while another waits": (Scene.end_checkin, {"waiters": 1}),
    "a checkout that is taken back at the end of the stack": (Scene.end_take_back, {}),
    "a checkout at the end of the stack": (Scene.end_checkout, {}),
    "a checkout that asks by itself at the end of the stack": (Scene.end_checkout_alone, {}),
    "a drain at the end of the stack": (Scene.end_drain, {}),
    "a checkin while low priority waits": (Scene.checkin, {"low": 2}),
    "a checkin of a broken connection while low priority waits": (Scene.checkin_dead, {"low": 2}),
    "a checkin while others and low priority wait": (Scene.checkin, {"waiters": 1, "low": 1}),
    "a checkin while the line stands": (Scene.shed, {"waiters": 3, "OVERLOAD": "shed"}),
    "a checkin of more than are kept": (Scene.checkin, {"REUSE_CONNS": 0}),
    "a resize": (Scene.resize, {}),
    "a checkout that is bound to another": (Scene.rebind, {}),
    "a reaping of what an ended holder kept": (Scene.reap, {}),
    "a resize while low priority waits": (Scene.resize, {"low": 2}),
    "a drain": (lambda scene: scene.pool.drain(), {}),
    "a change of the options": (lambda scene: scene.pool.change(scene.connector, scene.pool.options), {"waiters": 1}),
}


INTERRUPTS: dict[str, Callable[[Scene], None]] = {
    "a signal handler raises": lambda _: raise_signal(),
    "a finaliser gives back": Scene.finalise,
    "another thread takes": Scene.take,
    "a signal handler closes the pool": Scene.close,
    "a signal handler makes the pool smaller": Scene.shrink,
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # hit in a warning's last words
@pytest.mark.filterwarnings("ignore:.*without giving a connection:ResourceWarning")
@pytest.mark.parametrize("what", INTERRUPTS)
@pytest.mark.parametrize("name", SCENES)
def test_it_loses_no_slot_wherever_it_is_interrupted(name, what):
    work, options = SCENES[name]
    nth = 0
    while True:
        nth += 1
        scene = Scene(**options)
        interrupt = functools.partial(INTERRUPTS[what], scene)
        run = Interrupted(lambda scene=scene: work(scene), nth, interrupt, (HERE,))
        if run.error is not None and not isinstance(run.error, (Signal, *scene.refused)):
            raise run.error
        try:
            scene.end()
        except BaseException as error:
            error.add_note(f"{name}, {what}, at place {nth}")
            raise
        scene.pool.close()
        if not run.reached:
            assert nth > 3
            return


@contextlib.contextmanager
def at_each_line(function: str, what: Callable[[FrameType], None]) -> Iterator[None]:
    """Do `what` before each line of `function`: a tracer, a debugger's say, lets other threads run there."""

    def traced(frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_code.co_name == function and event == "line":
            what(frame)
        return traced

    before = sys.gettrace()
    sys.settrace(traced)
    try:
        yield
    finally:
        sys.settrace(before)


def claimed(pool: Pool) -> Slot:
    """One that was idle for too long."""
    claim = Claim()
    assert pool.slots.claim_old(claim, pool.clock() + 10, 5.0)
    return claim.slot


TAKERS = {"take": Pool.checkout, "_seat": functools.partial(Pool.checkout, low=True), "claim_old": claimed}


@pytest.mark.parametrize("function", TAKERS)
def test_who_is_traced_line_by_line_shares_a_slot_with_nobody(function):
    if GREEN:
        return  # nobody else runs then
    pool, connector = make(MAX_CONNS=40, MAX_IDLE=0, MAX_LIFETIME=0)
    with taken(pool):
        pass
    others: list[Holding] = []
    with at_each_line(function, lambda frame: others.append(Holding(pool).has_it()) if len(others) < 20 else None):
        slot = TAKERS[function](pool)
    assert others
    assert len({id(each) for each in (slot, *(other.slot for other in others))}) == 1 + len(others)
    if isinstance(slot.holder, Claim):
        pool.upkeep.discard_claimed(slot.holder)
    else:
        pool.checkin(slot)
    for other in others:
        other.give_back()
    assert_whole(pool, connector)


def test_what_was_put_off_is_done_also_where_two_who_do_it_are_traced_line_by_line():
    if GREEN:
        return
    later, gate, me = Later(lambda work: None), Gate(), threading.current_thread()
    done: list[int] = []
    others: list[Worker] = []

    def work(number: int) -> None:
        done.append(number)
        if threading.current_thread() is not me:
            gate.wait()

    def another(frame: FrameType) -> None:
        if "work" in frame.f_locals and not others:
            others.append(Worker(later.catch_up))
            gate.has(1)

    for number in range(4):
        later.add(functools.partial(work, number))
    with at_each_line("catch_up", another):
        later.catch_up()
    gate.open()
    others[0].result()
    assert sorted(done) == [0, 1, 2, 3]
