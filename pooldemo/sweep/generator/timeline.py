"""The timeline that a load writes: what happened in each second. docs/timeline.md describes it."""

import os
import socket
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from .options import Load

LEFT_MS = 1000.0  # a generator that stops so long before its master has left; its clock need not be another


def three_digits(ms: float) -> float:  # 1.2345 -> 1.23, 1234 -> 1230
    return float(f"{ms:.3g}")


class Facts:
    """Counts and sums under flat keys: a worker's part is merged into its master's by adding it up."""

    def __init__(self) -> None:
        self.reset()

    def reset(self, **_: Any) -> None:
        self.facts: Any = Counter()  # whose type knows whole numbers alone

    def take(self) -> list[Any]:  # what was noted since the last call
        part, self.facts = [[*key, value] for key, value in self.facts.items()], Counter()
        return part

    def merge(self, part: Iterable[Any]) -> None:
        self.facts.update({tuple(key): value for *key, value in part})


class Timeline(Facts):
    """What happened in each second. A fact's key is its path in the document."""

    running_since_s, generator = 0.0, ""

    def start(self, **_: Any) -> None:
        self.generator, self.running_since_s = f"{socket.gethostname()}:{os.getpid()}", time.time()
        self.facts = Counter({("started_at_s", self.generator): self.running_since_s})

    def stop(self, **_: Any) -> None:
        if self.running_since_s:  # a master is told twice: before its workers end, and after
            self.facts["stopped_at_s", self.generator], self.running_since_s = time.time(), 0.0

    def silent(self) -> set[str]:
        """The generators that have begun, and have not sent yet what they noted last."""
        began, ended = ({key[1] for key in self.facts if key[0] == mark} for mark in ("started_at_s", "stopped_at_s"))
        return began - ended

    def note(self, second: int, workload: str, *series: str, ms: float) -> None:
        self.facts["seconds", second, "workloads", workload, *series, three_digits(ms)] += 1

    def spread(self, ended_s: float, workload: str, served_ms: float) -> None:
        """What a success that was served in several seconds gave each of them: its share of the time, not all to the
        last."""
        ended, began_s = int(ended_s), ended_s - served_ms / 1000
        for second in range(int(began_s), ended):
            share = (second + 1 - max(second, began_s)) * 1000 / served_ms
            self.facts["seconds", second, "workloads", workload, "carried"] += share
            self.facts["seconds", ended, "workloads", workload, "carried"] -= share

    def tick_forever(self, runner: Any) -> None:
        """Note the users and this process's CPU as each second begins; never returns (Locust patched threading)."""
        cpu_s, clock_s = time.process_time(), time.monotonic()
        while True:
            due_s = int(time.time()) + 1
            time.sleep(due_s - time.time())
            second = int(time.time())
            used_s, elapsed_s = time.process_time() - cpu_s, time.monotonic() - clock_s
            cpu_s, clock_s = cpu_s + used_s, clock_s + elapsed_s
            if self.running_since_s:
                self.facts["seconds", second, "users"] = runner.user_count
            if 0 < self.running_since_s <= second - 1:
                self.facts["generators", self.generator, "cpu_percent", second - 1] = round(100 * used_s / elapsed_s, 3)
                self.facts["generators", self.generator, "lag_ms", second - 1] = round(1000 * (time.time() - due_s), 3)

    def document(self, host: str, load: Load) -> dict[str, Any]:
        """The JSON that docs/timeline.md describes."""
        tree: dict[Any, Any] = {"seconds": {}, "generators": {}, "started_at_s": {}, "stopped_at_s": {}}
        for (*path, last), value in sorted(self.facts.items()):
            node = tree
            for step in path:
                node = node.setdefault(step, {})
            node[f"{last:g}" if isinstance(last, float) else last] = value
        for name in tree["started_at_s"].keys() - {self.generator}:  # also one that ended before its first second did
            tree["generators"].setdefault(name, {"cpu_percent": {}, "lag_ms": {}})
        for name, facts in tree["generators"].items():
            clocks = [tree[mark] for mark in ("started_at_s", "stopped_at_s") if name in tree[mark]]
            ahead_ms = [1000 * (clock[name] - clock.get(self.generator, clock[name])) for clock in clocks]
            if ahead_ms[1:] and ahead_ms[1] < -LEFT_MS <= ahead_ms[0]:
                del ahead_ms[1:]
            facts["ahead_ms"] = min(ahead_ms, default=0.0)
            if name in tree["stopped_at_s"]:
                facts["stopped_at_s"] = tree["stopped_at_s"][name]
        for facts in tree["seconds"].values():
            for workload, series in facts.setdefault("workloads", {}).items():
                facts["workloads"][workload] = {"outcomes": {}, "wait_ms": {}, "query_ms": {}} | series
        return {
            "format": "pooldemo-timeline/1",
            "workload": load.workload,
            **load.lengths,
            "host": host,
            "started_at_s": min(tree["started_at_s"].values(), default=None),
            "stopped_at_s": max(tree["stopped_at_s"].values(), default=None),
            "seconds": [{"second": second, "users": 0} | facts for second, facts in tree["seconds"].items()],
            "generators": tree["generators"],
        }
