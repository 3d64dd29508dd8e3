"""A random load over one pool, from a seed: tiny deadlines, kills, deaths, refused connects, leaks, resize and drain,
slow logins, connects that are stopped, low priority, and a server that goes on counting what was closed.

Every connect and every request looks at the invariants; at the end the counts of both sides must agree.
"""

import random
import threading
import time
from collections import Counter

from pooldemo.pool import PoolError, PoolTimeout, Slot
from pooldemo.pool.slot import Holder

from .world import GREEN, FakeConnector, Refused, Worker, assert_whole, busy, eventually, make

CROWD, REQUESTS = 30, 12


class Killed(BaseException):
    """What a request is stopped with in mid-query, by itself or from outside."""


class Round:
    """One pool, one crowd, one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.dice = dice = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.broken: list[str] = []
        self._lock = threading.Lock()
        cap = dice.choice([1, 2, 3, 5, 8])
        reuse = dice.choice([None, 0, cap])
        self.pool, self.connector = make(
            FakeConnector(),
            MAX_CONNS=cap,
            REUSE_CONNS=reuse,
            MIN_CONNS=dice.choice([0, 1]) if reuse != 0 else 0,
            MAX_WAITING=dice.choice([0, 0, CROWD // 2]),
            MAX_USES=dice.choice([0, 0, 3]),
            MAX_LIFETIME=dice.choice([0, 0.05]),
            MAX_IDLE=dice.choice([0, 0.02]),
            OVERLOAD=dice.choice(["queue", "queue", "shed"]),
            name=f"seed {seed}",
        )
        self.least = max(1, self.pool.options.min_conns)
        self.patience = dice.choice([0.0, 0.02, 0.2])  # how often something goes wrong
        self.trouble = dice.choice([0.0, 0.1, 0.3])  # how often a login is slow, stopped, or counted for longer
        self.low = dice.choice([0.0, 0.3, 0.9])  # how often somebody asks with low priority
        self.connector.on_connect = self._connect
        self.connector.on_check = self._look
        self.connector.on_ping = self._check
        self.connector.on_recycle = self._check
        self.running: set[Worker] = set()

    def run(self) -> Counter[str]:
        """Raises AssertionError when a promise was broken."""
        crowd = [Worker(self._client, self.dice.random(), name=f"client-{number}") for number in range(CROWD)]
        self.running.update(crowd)
        meddler = Worker(self._meddle, self.dice.random())
        for worker in [*crowd, meddler]:
            worker.result()
        pool, counts = self.pool, self.counts
        self.trouble = 0.0
        eventually(lambda: not self.connector.connecting, pool)
        self.connector.lingers.clear()
        self.connector.lingering.clear()
        pool.upkeep.look_for_the_gone()  # a filler would, when it is wanted
        assert not self.broken, self.broken[:3]
        eventually(lambda: pool.get_stats()["holders_lost"] == counts["leaked"], f"leaks come back: {counts}")
        # New connections may be on their way for MIN_CONNS; whatever is idle is let go, and then all must be there.
        pool.close()
        assert_whole(pool, self.connector)
        stats = pool.get_stats()
        assert stats["requests_num"] == counts["requests"], (stats, counts)
        assert stats["requests_errors"] == counts["requests"] - counts["served"], (stats, counts)
        assert stats["returns_num"] == counts["served"], (stats, counts)
        assert not self.connector.opened, self.connector.opened
        return counts

    def _count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def look(self) -> None:
        """The invariants, which hold at any moment."""
        pool, connector = self.pool, self.connector
        capacity = pool.slots
        with pool.slots.mutex:
            slots, idle, first = len(capacity.all), len(capacity.idle), next(iter(capacity.line.normal), None)
            used = connector.counted()
        if used > slots or not 0 <= idle <= slots:
            self.broken.append(f"{used} connections, {idle} idle, in {slots} slots")
        if idle and first is not None and not first.low:  # who is takes one just now of those left to the others
            self.broken.append(f"{idle} idle while somebody waits")

    def _switch(self) -> None:
        if self.dice.random() < 0.7:
            time.sleep(self.dice.choice([0, 0, 0, 0.0002, 0.001]))

    def _connect(self, number: int) -> None:
        self.look()
        if self.dice.random() < self.trouble:
            self.connector.lingers.add(number)
        if self.dice.random() < self.trouble:
            time.sleep(self.dice.choice([0.005, 0.02]))
            self._count("slow logins")
        if self.dice.random() < self.trouble / 4:
            self._count("stopped connects")
            raise Killed
        self._switch()
        chance = self.dice.random()
        if chance < self.patience:
            raise busy() if chance < self.patience / 2 else Refused("no")
        self._switch()

    def _check(self, connection: int) -> None:
        self._switch()
        if self.dice.random() < self.patience / 4:
            self.connector.dead.add(connection)

    def _look(self, connection: int) -> None:
        if self.dice.random() < self.patience / 4:
            self.connector.dead.add(connection)

    def _client(self, seed: float) -> None:
        dice = random.Random(seed)
        for _ in range(REQUESTS):
            try:
                if self._request(dice):
                    return
                self._switch()
            except Killed:
                self._count("killed")

    def _request(self, dice: random.Random) -> bool:
        """One request; True: it ends its greenlet without a checkin."""
        self._count("requests")
        try:
            timeout = dice.choice([None, None, None, 0, 0.0005, 0.002, 0.02])
            slot = self.pool.checkout(timeout=timeout, low=dice.random() < self.low)
        except PoolTimeout:
            self._count("timeouts")
            return False
        except PoolError:
            self._count("refused")
            return False
        except Refused:
            self._count("connect failed")
            return False
        self._count("served")
        try:
            self.look()
            self._switch()
            chance = dice.random()
            if chance < 0.02:
                self.connector.dead.add(slot.connection)
            elif chance < 0.03 and GREEN:
                raise Killed
            elif chance < 0.035:
                self._count("leaked")
                return True
        except BaseException:
            self._give_back(slot)
            raise
        self._give_back(slot)
        return False

    def _give_back(self, slot: Slot) -> None:
        try:
            self.pool.checkin(slot)
        finally:
            if isinstance(slot.holder, Holder) and slot.holder.task.name == threading.current_thread().name:
                self.broken.append("still held after checkin")

    def _meddle(self, seed: float) -> None:
        """Resizes, drains, and, where one can, kills; until the crowd has gone home."""
        dice = random.Random(seed)
        while any(not worker.done for worker in self.running):
            if self.connector.lingering and dice.random() < 0.3:
                self.connector.lingering.clear()
            chance = dice.random()
            if chance < 0.2:
                self.pool.resize(dice.randint(self.least, 10))
                self._count("resizes")
            elif chance < 0.3:
                self.pool.drain()
                self._count("drains")
            elif GREEN:
                self._kill(dice.choice(sorted(self.running, key=lambda worker: worker.name)))
            self.look()
            time.sleep(dice.choice([0, 0.0005, 0.002]))

    def _kill(self, worker: Worker) -> None:
        import gevent

        if worker.greenlet is not None and not worker.done:
            gevent.kill(worker.greenlet, Killed())


def stress(seed: int, seconds: float) -> Counter[str]:
    """Rounds from `seed` on, for so many seconds; at least one. The seed that fails is named."""
    total: Counter[str] = Counter()
    until = time.monotonic() + seconds
    while True:
        try:
            total += Round(seed).run()
        except BaseException as error:
            who = "greenlets" if GREEN else "threads"
            error.add_note(f"to repeat, with {who}: POOL_STRESS_SEED={seed}; before: {dict(total)}")
            raise
        total["rounds"] += 1
        seed += 1
        if time.monotonic() >= until:
            return total
