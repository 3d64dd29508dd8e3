"""What the load generator saw: the timeline that `locustfile.py --timeline` writes, cut to a window. Pure.

docs/timeline.md tells the format. A request belongs to the second in which it ended; what it carried belongs to every
second in which it was served, by its share of that time. Queries of 0.9 s end in waves: five seconds hold five or six.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

SILENT_S = 3  # generators send what they noted so often, and one that waits for its core misses a second
BEHIND_MS, AHEAD_MS = 1000.0, 3000.0  # a busy generator hears late that it begins, which looks as if it were ahead


def trouble(timeline: Mapping[str, Any], start_s: int, seconds: int, generators: int) -> str:
    """Why these seconds are not those of one load of so many generators: one ended meanwhile, one never came, one came
    late or unasked, one stood still, or one's clock is another. Empty: they are."""
    found: Mapping[str, Any] = timeline["generators"]
    names = ", ".join(sorted(found)) or "nobody"
    counted = f"{generators} load generators were expected and {len(found)} made load: {names}"
    if len(found) < generators > 1:  # one alone may have noted nothing yet in a second
        return counted
    for name, facts in sorted(found.items()):
        if not -BEHIND_MS <= (ahead_ms := facts.get("ahead_ms", 0.0)) <= AHEAD_MS:
            return (
                f"the clock of the load generator {name} is {abs(ahead_ms):.0f} ms "
                f"{'ahead of' if ahead_ms > 0 else 'behind'} its master's: set both by one time server"
            )
        ticks = sorted(map(int, facts["cpu_percent"])) or [start_s]
        first, last = ticks[0], ticks[-1]
        if first > start_s + SILENT_S:
            return (
                f"the load generator {name} came late, or in the place of one that had ended: nothing came from it "
                f"before second {first - start_s}"
            )
        ended_s = facts.get("stopped_at_s", 0.0) - ahead_ms / 1000  # by its master's clock; 0: nothing came of its end
        if last < start_s + seconds - 1 and ended_s < start_s + seconds:
            return f"the load generator {name} ended meanwhile: nothing came from it after second {last - start_s + 1}"
        for before, after in pairwise(ticks):
            if after - before > SILENT_S and before < start_s + seconds - 1 and after > start_s:
                return (
                    f"the load generator {name} stood still, or its clock was set: nothing came from it for "
                    f"{after - before - 1} s after second {before - start_s + 1}"
                )
    return counted if len(found) > generators else ""  # each has its share of users, and its arrivals


@dataclass(frozen=True)
class Histogram:
    """How often each number of milliseconds came, rising; to three significant digits."""

    pairs: tuple[tuple[float, int], ...] = ()

    @property
    def count(self) -> int:
        return sum(count for _, count in self.pairs)

    @property
    def mean_ms(self) -> float | None:
        return sum(ms * count for ms, count in self.pairs) / self.count if self.pairs else None

    def quantile_ms(self, share: float) -> float | None:
        """The smallest value that at least `share` of all do not exceed (nearest rank); None of an empty histogram."""
        rank = max(1, math.ceil(share * self.count))
        for ms, count in self.pairs:
            rank -= count
            if rank <= 0:
                return ms
        return None


@dataclass(frozen=True)
class Window:
    """The requests that ended in whole seconds of the load: `seconds` of them from `start_s`, of the epoch.

    `carried` are the successes by the share of their service that lies inside, whenever they ended. Where they do not
    tell their wait it would be the whole response, and of those that last for longer than the load goes on after the
    window many are never seen to end: then they are those that ended inside.
    `*_cpu` in cores, averaged over the window: of the busiest generator, and of all.
    """

    start_s: int
    seconds: int
    per_second: tuple[int, ...]
    carried: float
    failures_per_second: tuple[int, ...]
    latency: Histogram
    latency_of_failures: Histogram
    wait: Histogram
    query: Histogram
    late: Histogram
    failures_by_message: Mapping[str, int]
    generator_cpu: float | None
    generators_cpu: float

    @classmethod
    def cut(cls, timeline: Mapping[str, Any], start_s: int, seconds: int, after_s: float = math.inf) -> Self:
        """The window of a timeline document, of a load that went on for `after_s` seconds after it.

        Raises ValueError when the document is of another format.
        """
        if timeline.get("format") != "pooldemo-timeline/1":
            raise ValueError(f"a timeline of the format {timeline.get('format')!r}: pooldemo-timeline/1 is accepted")
        inside = range(start_s, start_s + seconds)
        good, bad = Counter[int](), Counter[int]()
        messages = Counter[str]()
        carried = 0.0
        series = {name: Counter[float]() for name in ("ok", "failed", "wait_ms", "query_ms", "late_ms")}
        for entry in timeline["seconds"]:
            if (second := entry["second"]) not in inside:
                continue
            for facts in entry["workloads"].values():
                carried += facts.get("carried", 0.0)
                for outcome, buckets in facts["outcomes"].items():
                    count = sum(buckets.values())
                    (good if outcome == "ok" else bad)[second] += count
                    _add(series["ok" if outcome == "ok" else "failed"], buckets)
                    if outcome != "ok":
                        messages[outcome] += count
                for name in ("wait_ms", "query_ms", "late_ms"):
                    _add(series[name], facts.get(name, {}))
        latency, wait = _histogram(series["ok"]), _histogram(series["wait_ms"])
        if wait.count < latency.count and (latency.quantile_ms(0.95) or 0.0) > 1000 * after_s:
            carried = 0.0
        used = [
            [percent for second, percent in each["cpu_percent"].items() if int(second) in inside]
            for each in timeline["generators"].values()
        ]
        cpus = [sum(percents) / len(percents) / 100 for percents in used if percents]
        return cls(
            start_s,
            seconds,
            tuple(good[second] for second in inside),
            max(0.0, good.total() + carried),
            tuple(bad[second] for second in inside),
            latency,
            _histogram(series["failed"]),
            wait,
            _histogram(series["query_ms"]),
            _histogram(series["late_ms"]),
            dict(messages.most_common()),
            max(cpus, default=None),
            sum(cpus),
        )

    @property
    def rps(self) -> float:
        """Successes a second, each by the share of its service that lies inside the window."""
        return self.carried / self.seconds

    def little_residual(self, users: int) -> float | None:
        """|users - rate x response| / users: near 0 when every user is accounted for, waiting. None without a
        request."""
        good_ms, bad_ms = self.latency.mean_ms, self.latency_of_failures.mean_ms
        if good_ms is None and bad_ms is None:
            return None
        busy_ms = self.carried * (good_ms or 0.0) + self.latency_of_failures.count * (bad_ms or 0.0)
        return abs(users - busy_ms / 1000 / self.seconds) / users


def _add(total: Counter[float], buckets: Mapping[str, int]) -> None:
    for ms, count in buckets.items():
        total[float(ms)] += count


def _histogram(counts: Counter[float]) -> Histogram:
    return Histogram(tuple(sorted(counts.items())))
