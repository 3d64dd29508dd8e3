"""Where slots get their connections from: what a filler may do, what is too old, and how many there are to be.

The decisions of the pool's background, by the rules of `slots.py`. Who acts on them is in `upkeep.py`.
"""

import weakref
from typing import Any

from .options import Options
from .slot import Claim, Slot
from .slots import Slots

SHORTEST_PAUSE_S = 0.001  # between two looks whether a closed connection is gone from the server


class Supply(Slots):
    """Slots that are filled, renewed, made more and made fewer."""

    def __init__(self, name: str, options: Options) -> None:
        super().__init__(name, options)
        self.generation = 0  # raised by `expire_all`: what was connecting meanwhile is old when it arrives
        self.called: weakref.ref[Any] | None = None  # the filler that was started and has not come yet
        self.ahead = True  # connect ahead: not after a failure until the keeper's next round
        self.usher: object | None = None  # the filler that waits for the server: there is one at most
        self._min_open = options.min_conns

    # ---- fillers ----

    def wants_filler(self) -> bool:
        """Whether there is work for one more filler. Under the lock."""
        if self.closed or not self.unready:
            return False
        if any(slot.connection is not None for slot in self.unready):
            return True  # a doubtful connection is asked whether anybody waits or not, and that is no connect
        if len(self.line.normal) <= self.filling and (self.opened >= self._min_open or not self.ahead):
            return False
        if self.filling >= self.server.limit:
            return False
        return self.usher is None or (self.server.failure is None and any(s.leaving is None for s in self.unready))

    def call_filler(self, work: object) -> bool:
        """Whether a filler is to be started now, to do `work`. One at a time: each that comes calls the next."""
        with self.mutex:
            if (self.called is not None and self.called() is not None) or not self.wants_filler():
                return False
            self.called = weakref.ref(work)  # dead when it was stopped before it could come
            return True

    def claim_unready(self, filler: Claim, now: float) -> float:
        """Let a filler claim a slot; one without a connection rather than one that a server still counts.

        Returns 0, with a slot or, when there is nothing to do, without one; or seconds after which to ask again: the
        server is to be left alone so long, or every slot's last connection may still be there.
        """
        with self.mutex:
            self.called = None
            if self.usher is filler:
                self.usher = None
            if not self.wants_filler():
                return 0.0
            pause_s = self.server.probe_at - now if self.server.failure is not None else 0.0
            self._drop_surplus()
            clean = [slot for slot in self.unready if slot.leaving is None]
            doubtful = [slot for slot in clean if slot.connection is not None]
            if not doubtful and (pause_s > 0 or not clean):
                self.usher = filler
                return max(pause_s, SHORTEST_PAUSE_S)
            slot = (doubtful or clean)[0]
            filler.slot = slot
            slot.holder = filler
            self.filling += 1
            self.unready.remove(slot)
            return 0.0

    def dismiss(self, filler: Claim) -> None:
        """A filler ends, whatever it was doing."""
        with self.mutex:
            if self.usher is filler:
                self.usher = None

    def ask_to_fill(self) -> None:
        """No filler can be started: let the first waiter fill a slot itself."""
        with self.mutex:
            waiter = next(iter(self.line.normal), None)
            if waiter is not None:
                waiter.fills = True
                if not waiter.woken:
                    waiter.woken = True
                    waiter.gate.release()

    def look_ahead(self) -> None:
        """Connect ahead again, if it failed before."""
        self.ahead = True

    def leaving(self) -> list[tuple[Slot, Any]]:
        """The slots that wait until a server lets go of their last connection, and those.

        Not of one that a filler has taken meanwhile: what it connects stands there as well, until it is open.
        """
        with self.mutex:
            return [(slot, slot.leaving) for slot in self.unready if slot.leaving is not None]

    def depart(self, slot: Slot, connection: Any) -> None:
        """Its closed connection is gone from the server."""
        with self.mutex:
            if slot.leaving is connection:
                slot.leaving = None
                self._drop_surplus()

    def connected(self, filler: Claim, connection: Any, generation: int, expires_at: float, took_s: float) -> None:
        """A filler's slot has a connection now."""
        with self.mutex:
            slot = filler.slot
            self.stats.connect.add(took_s)
            self.server.answered(self.size)
            slot.expires_at = expires_at if generation == self.generation else float("-inf")
            slot.uses = 0
            slot.connection, slot.leaving, self.ahead = connection, None, True

    def failed(self, filler: Claim, error: Exception, transient: bool, full: bool, now: float, spread: float) -> bool:
        """A filler could not connect: tell the first waiter, or, if it may pass, those who have waited long enough.

        While a `full` server's connections are in use, they will come back. Whether anybody was told or waits.
        """
        with self.mutex:
            line, slot, anybody = self.line, filler.slot, bool(self.line.normal)
            self.ahead = False
            if slot is not None and slot.holder is filler:
                self.filling -= 1
                slot.holder = None
                self.unready.append(slot)
                self._drop_surplus()
            if transient:
                self.server.failed(error, now, spread)
                for waiter in line.everybody():
                    if not (full and self.opened > self.filling) and self.server.is_hopeless(waiter.timeout, now):
                        line.turn_away(waiter, "down")
            elif anybody:
                line.turn_away(next(iter(line.normal)), error)
            return anybody

    # ---- the whole pool ----

    def claim_old(self, claim: Claim, now: float, max_idle: float) -> bool:
        """Claim a connection that nobody uses and that must end: it is too old, or one too many."""
        with self.mutex:
            self._set_room()
            spare = self.opened > self._min_open
            surplus = len(self.idle) > self.room
            for slot in list(self.idle):
                too_idle = max_idle and now - slot.idle_since >= max_idle and spare
                ends = surplus or too_idle or now >= slot.expires_at
                # fmt: off
                if ends and slot.holder is None: claim.slot = slot; slot.holder = claim; self.idle.remove(slot); return True  # noqa: E501, E701, E702
                # fmt: on
            for slot in list(self.unready):
                if slot.connection is not None and now >= slot.expires_at:
                    claim.slot = slot
                    slot.holder = claim
                    self.unready.remove(slot)
                    return True
            return False

    def resize(self, size: int) -> None:
        """Set the size. The surplus goes as it comes back."""
        with self.mutex:
            self.size = size
            new = [Slot(self.home) for _ in range(size - len(self.all))]
            self.all += new
            self.unready += new
            self._drop_surplus()
            self._set_room()
            for waiter in self.line.everybody():
                if self.waits_for_itself(waiter):
                    self.line.turn_away(waiter, "itself")
            self.line.admit_low(self.to_spare)

    def configure(self, size: int, options: Options) -> None:
        """Set what `__init__` did; who waits goes on."""
        with self.mutex:
            self._keep_idle, self._min_open = options.reuse_conns, options.min_conns
            self._max_waiting = options.max_waiting
            self.line.configure(options)
            self.resize(size)

    def expire_all(self) -> None:
        """Make every connection of now old."""
        with self.mutex:
            self.generation += 1
            for slot in self.all:
                slot.expires_at = float("-inf")

    def close(self) -> None:
        """From now on nobody is served and nothing idles; who waits is told."""
        with self.mutex:
            self.closed = True
            self._set_room()
            for waiter in self.line.everybody():
                self.line.turn_away(waiter, "closed meanwhile")
