"""The pools' state for Prometheus, in OpenTelemetry's names (`conventions.py`).

Made from the workers' snapshots, each with its `pid`: a counter that is added up over workers would seem to fall when
one of them ends.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, cast

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from pooldemo.monitor import conventions
from pooldemo.monitor.snapshots import Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = conventions.PREFIX.replace(".", "_")
LABELS = (conventions.POOL_NAME.replace(".", "_"), "pid")
STATE = conventions.STATE.replace(".", "_")
AGE = "pooldemo_snapshot_age_seconds"


def exposition(snapshots: Iterable[Snapshot]) -> bytes:
    """The metrics of these workers in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Pools(list(snapshots)))
    return generate_latest(registry)


class _Pools(Collector):
    def __init__(self, snapshots: list[Snapshot]) -> None:
        self.pools = [
            ((alias, str(snapshot["pid"])), {"age_s": snapshot.get("age_s", 0.0), **pool})
            for snapshot in snapshots
            for alias, pool in sorted({**snapshot.get("unopened_pools", {}), **snapshot["pools"]}.items())
        ]

    def collect(self) -> Iterator[Metric]:
        for number in conventions.GAUGES:
            yield self._filled(GaugeMetricFamily, number)
        yield self._filled(CounterMetricFamily, conventions.COUNTER)
        refusals = CounterMetricFamily(
            f"{PREFIX}_refusals",
            "Checkouts and queries that were refused or given up, by reason.",
            labels=(*LABELS, "reason"),
        )
        age = GaugeMetricFamily(
            AGE, "Age of the worker's numbers: a second at most, unless the worker is stuck.", labels=LABELS
        )
        for labels, pool in self.pools:
            age.add_metric(labels, pool["age_s"])
            for reason, times in _refusals(pool["stats"]).items():
                refusals.add_metric((*labels, reason), times)
        yield refusals
        yield age
        for duration in conventions.DURATIONS:
            family = HistogramMetricFamily(f"{_name(duration)}_seconds", duration.text, labels=LABELS)
            for labels, pool in self.pools:
                if histogram := pool.get("histograms", {}).get(duration.histogram):  # an unopened pool has none
                    family.add_metric(labels, buckets=_buckets(histogram), sum_value=histogram["total_s"])
            yield family
        yield from self._views()

    def _filled(self, kind: Any, number: conventions.Number) -> Metric:
        state_label = [STATE] * number.has_states
        family = kind(_name(number), number.text, labels=(*LABELS, *state_label))
        for labels, pool in self.pools:
            for state, value in number.read(pool).items():
                family.add_metric((*labels, *[state][: len(state_label)]), value)
        return cast(Metric, family)

    def _views(self) -> Iterator[Metric]:
        held, idle, refusals = (
            CounterMetricFamily(f"{PREFIX}_view_{name}", text, labels=(*LABELS, "view", *more))
            for name, text, *more in (
                ("held_seconds", "Seconds that a view held slots."),
                ("idle_seconds", "Seconds that a view held slots without asking PostgreSQL for anything."),
                ("refusals", "A view's checkouts and queries that were refused or given up, by reason.", "reason"),
            )
        )
        for labels, pool in self.pools:
            for name, view in sorted(pool.get("views", {}).items()):
                held.add_metric((*labels, name), view["held_s"])
                idle.add_metric((*labels, name), view["idle_s"])
                for reason, number in view["refusals"].items():
                    refusals.add_metric((*labels, name, reason), number)
        yield from (held, idle, refusals)


def _name(metric: conventions.Metric) -> str:
    return metric.full_name.replace(".", "_")


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
    buckets = [
        (f"{bound:g}", float(at_most[bisect_right(histogram["bounds_s"], bound)])) for bound in conventions.BOUNDS_S
    ]
    return [*buckets, ("+Inf", float(at_most[-1]))]
