"""The pools' state for Prometheus, in OpenTelemetry's names (semantic conventions 1.44, database client metrics).

Made from the workers' snapshots, each with its `pid`: a counter that is added up over workers would seem to fall when
one of them ends.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from pooldemo.monitor.snapshots import Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "db_client_connection"
LABELS = (f"{PREFIX}_pool_name", "pid")
BOUNDS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
HISTOGRAMS = (
    ("connect", "create_time_seconds", "Time to open a connection."),
    ("wait", "wait_time_seconds", "Time that a checkout waited for a slot."),
    ("hold", "use_time_seconds", "Time between checkout and checkin."),
)


def exposition(snapshots: Iterable[Snapshot]) -> bytes:
    """The metrics of these workers in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Pools(list(snapshots)))
    return generate_latest(registry)


class _Pools(Collector):
    def __init__(self, snapshots: list[Snapshot]) -> None:
        self.pools = [
            ((alias, str(snapshot["pid"])), pool)
            for snapshot in snapshots
            for alias, pool in sorted(snapshot["pools"].items())
        ]

    def collect(self) -> Iterator[Metric]:
        count = GaugeMetricFamily(f"{PREFIX}_count", "Connections by state.", labels=(*LABELS, f"{PREFIX}_state"))
        gauges = {
            "max": GaugeMetricFamily(f"{PREFIX}_max", "Connections allowed.", labels=LABELS),
            "idle_max": GaugeMetricFamily(f"{PREFIX}_idle_max", "Idle connections allowed.", labels=LABELS),
            "idle_min": GaugeMetricFamily(f"{PREFIX}_idle_min", "Idle connections kept open.", labels=LABELS),
            "pending": GaugeMetricFamily(f"{PREFIX}_pending_requests", "Checkouts waiting for a slot.", labels=LABELS),
        }
        timeouts = CounterMetricFamily(f"{PREFIX}_timeouts", "Checkouts that got no slot in time.", labels=LABELS)
        refusals = CounterMetricFamily(
            f"{PREFIX}_refusals", "Checkouts and queries that were not to be, by reason.", labels=(*LABELS, "reason")
        )
        for labels, pool in self.pools:
            stats = pool["stats"]
            for reason, number in _refusals(stats).items():
                refusals.add_metric((*labels, reason), number)
            count.add_metric((*labels, "idle"), stats["pool_available"])
            count.add_metric((*labels, "used"), stats["pool_size"] - stats["pool_available"])
            gauges["max"].add_metric(labels, stats["pool_max"])
            gauges["idle_max"].add_metric(labels, pool["reuse_conns"])
            gauges["idle_min"].add_metric(labels, stats["pool_min"])
            gauges["pending"].add_metric(labels, stats["requests_waiting"])
            timeouts.add_metric(labels, stats["requests_timeouts"])
        yield count
        yield from gauges.values()
        yield timeouts
        yield refusals
        for name, suffix, text in HISTOGRAMS:
            family = HistogramMetricFamily(f"{PREFIX}_{suffix}", text, labels=LABELS)
            for labels, pool in self.pools:
                histogram = pool["histograms"][name]
                family.add_metric(labels, buckets=_buckets(histogram), sum_value=histogram["total_s"])
            yield family
        yield from self._views()

    def _views(self) -> Iterator[Metric]:
        held, idle, refusals = (
            CounterMetricFamily(f"{PREFIX}_view_{name}", text, labels=(*LABELS, "view", *more))
            for name, text, *more in (
                ("held_seconds", "Seconds that a view held slots."),
                ("idle_seconds", "Of them, those in which it asked nothing of PostgreSQL."),
                ("refusals", "A view's checkouts and queries that were not to be, by reason.", "reason"),
            )
        )
        for labels, pool in self.pools:
            for name, view in sorted(pool.get("views", {}).items()):
                held.add_metric((*labels, name), view["held_s"])
                idle.add_metric((*labels, name), view["idle_s"])
                for reason, number in view["refusals"].items():
                    refusals.add_metric((*labels, name, reason), number)
        yield from (held, idle, refusals)


def _refusals(stats: dict[str, Any]) -> dict[str, float]:
    """Numbers by reason; a stack other than ours counts fewer."""
    shed = stats.get("requests_shed", 0)
    return {
        "timeout": stats["requests_timeouts"],
        "full": stats.get("requests_refused", 0) - shed,
        "shed": shed,
        "deadline": stats.get("deadlines_exceeded", 0),
        "client_gone": stats.get("clients_gone", 0),
    }


def _buckets(histogram: dict[str, Any]) -> list[tuple[str, float]]:
    """OpenTelemetry's buckets, cumulative; the pool's finer bounds contain each of them."""
    at_most = [0, *accumulate(histogram["counts"])]
    buckets = [(f"{bound:g}", float(at_most[bisect_right(histogram["bounds_s"], bound)])) for bound in BOUNDS_S]
    return [*buckets, ("+Inf", float(at_most[-1]))]
