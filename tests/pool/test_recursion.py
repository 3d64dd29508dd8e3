"""The stack may end anywhere in the pool, in a view that recurses without end: that costs no slot either."""

import functools
from collections.abc import Callable

import pytest
from stack_end import deeper, most_calls

from pooldemo.pool import Holder, start_thread
from pooldemo.pool.slot import Claim

from .world import Clock, Holding, assert_whole, cannot_close, make, waiting


class Scene:
    """A pool of two slots, of which the caller has one; what he does may go on at the end of the stack."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.pool, self.connector = make(MAX_CONNS=2, MAX_IDLE=0, MAX_LIFETIME=0, clock=self.clock)
        self.tickets = [object()]
        self.mine = self.pool.checkout(ticket=self.tickets[0])
        self.others: list[Holding] = []

    def checkout(self) -> None:
        self.tickets.append(object())
        self.pool.checkout(ticket=self.tickets[-1])

    def checkin(self) -> None:
        self.pool.checkin(self.mine)

    def take_back(self) -> None:
        self.pool.take_back(self.tickets[0])

    def one_idle(self) -> None:
        self.pool.checkin(self.pool.checkout())

    def one_dead(self) -> None:
        self.one_idle()
        self.connector.dead |= self.connector.opened - {self.mine.connection}

    def dirty(self) -> None:
        self.connector.dirty.add(self.mine.connection)

    def one_waits(self) -> None:
        other = Holding(self.pool).has_it()
        self.others = [other, Holding(self.pool, timeout=None)]
        waiting(self.pool, 1)
        self.others[1].gate.open()

    def one_left(self) -> None:
        """What could not be done with the other slot: close its connection."""
        claim = Claim()
        self.pool.slots.release(self.pool.checkout(), self.pool.here(), claim, 0.0, reusable=False)
        self.pool.upkeep.later.works.append(functools.partial(self.pool.upkeep.discard_claimed, claim))

    def deep(self) -> None:
        """Looks, and ends, of connections need many calls."""
        self.one_idle()
        self.checkin()
        close = self.connector.close
        self.connector.close = lambda connection: deeper(6, functools.partial(close, connection))  # type: ignore[method-assign]
        self.connector.on_check = lambda _: deeper(9, lambda: None)

    def checkout_low(self) -> None:
        self.tickets.append(object())
        self.pool.checkout(ticket=self.tickets[-1], low=True)

    def alone(self) -> None:
        """No thread can be started: who asks has to connect."""

        def no_thread(work: Callable[[], None]) -> None:
            raise RuntimeError("can't start new thread")

        self.pool.upkeep.start = no_thread

    def end(self) -> None:
        """Who knows of a checkout ends it; who comes next puts in order what was left."""
        self.pool.upkeep.start = start_thread
        left = [work.args[0] for work in self.pool.upkeep.later.works if work.func == self.pool._give_up]  # type: ignore[attr-defined]
        assert len(left) == len(set(left)), "two threads may do it at a time, for a slot that is another's by then"
        for ticket in self.tickets:
            self.pool.take_back(ticket)
        self.pool.upkeep.later.catch_up()
        for each in self.others:
            each.has_it().give_back()
        for slot in [self.pool.checkout() for _ in range(2)]:
            self.pool.checkin(slot)
        assert_whole(self.pool, self.connector, counted=False)
        assert not any(isinstance(slot.holder, Holder) for slot in self.pool.slots.all)
        assert not self.pool.here().held


SCENES: dict[str, tuple[Callable[[Scene], None], Callable[[Scene], None]]] = {
    "a checkout of an idle connection": (Scene.one_idle, Scene.checkout),
    "a checkout of a dead connection": (Scene.one_dead, Scene.checkout),
    "a checkout that has to connect": (lambda scene: None, Scene.checkout),
    "a checkout that puts in order what was left": (Scene.one_left, Scene.checkout),
    "a checkout that looks in vain": (Scene.deep, Scene.checkout_low),
    "a checkout that connects by itself": (Scene.alone, Scene.checkout),
    "a checkin": (lambda scene: None, Scene.checkin),
    "a checkin of a broken connection": (Scene.dirty, Scene.checkin),
    "a checkin of an old connection": (lambda scene: scene.pool.drain(), Scene.checkin),
    "a checkin while another waits": (Scene.one_waits, Scene.checkin),
    "a drain": (Scene.one_idle, lambda scene: scene.pool.drain()),
    "a checkout that is taken back": (lambda scene: None, Scene.take_back),
}


@pytest.mark.parametrize("name", SCENES)
def test_it_loses_no_slot_wherever_the_stack_ends(name):
    prepare, work = SCENES[name]
    most, ended = most_calls(), 0
    for left in range(3, 60):
        scene = Scene()
        prepare(scene)
        kept = None
        try:
            deeper(most - left, functools.partial(work, scene))
        except RecursionError as error:
            kept = error  # and with it the frames
            ended += 1
        try:
            scene.end()
        except BaseException as error:
            error.add_note(f"{name}, with {left} calls left")
            raise
        del kept
        scene.pool.close()
    assert ended


def test_who_waits_already_gets_what_the_end_of_the_stack_left():
    """Nobody told him: he waited until another came, or the keeper, or his time was over."""
    scene = Scene()
    scene.dirty()
    scene.one_waits()
    cannot_close(scene.connector, 2)
    with pytest.raises(RecursionError):
        scene.checkin()
    scene.others[1].has_it()
    scene.end()
