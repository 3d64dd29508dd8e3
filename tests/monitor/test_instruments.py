"""OpenTelemetry's instruments, held against the names, kinds, units and attributes that OpenTelemetry publishes."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.semconv._incubating.attributes import db_attributes
from opentelemetry.semconv._incubating.metrics import db_metrics

from pooldemo.monitor.conventions import BOUNDS_S
from pooldemo.monitor.instruments import instrument
from pooldemo.postgresql import usage

PUBLISHED = [
    create for name, create in vars(db_metrics).items() if name.startswith("create_db_client_connection_")
]  # the deprecated ones, of `connections`, are named create_db_client_connections_


@pytest.fixture
def reader(django_db_setup: None, django_db_blocker: Any) -> Iterator[InMemoryMetricReader]:
    """Of a project that has the SDK; connections come and go, in no test's transaction."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    listener = instrument(provider)
    with django_db_blocker.unblock():
        yield reader
        connection.close()
    usage.listeners.remove(listener)
    provider.shutdown()


def metrics(reader: InMemoryMetricReader) -> dict[str, Any]:
    data = reader.get_metrics_data()
    assert data is not None
    return {
        each.name: each for scope in data.resource_metrics for inner in scope.scope_metrics for each in inner.metrics
    }


def test_its_names_kinds_and_units_are_the_published_ones(reader: InMemoryMetricReader) -> None:
    published = InMemoryMetricReader()
    meter = MeterProvider([published]).get_meter("published")
    for create in PUBLISHED:
        made = create(meter)
        made.record(1) if isinstance(made, Histogram) else made.add(1)
    connection.close()
    connection.pool.drain()  # type: ignore[attr-defined]
    connection.ensure_connection()
    connection.close()
    ours, theirs = metrics(reader), metrics(published)
    assert len(theirs) == 9
    assert {name: shape(each) for name, each in ours.items()} == {name: shape(each) for name, each in theirs.items()}


def shape(metric: Any) -> tuple[Any, ...]:
    return metric.unit, type(metric.data), getattr(metric.data, "is_monotonic", None)


def test_its_attributes_are_the_published_ones(reader: InMemoryMetricReader) -> None:
    connection.ensure_connection()
    found = metrics(reader)
    pool: Any = connection.pool  # type: ignore[attr-defined]
    stats, idle = pool.get_stats(), db_attributes.DbClientConnectionStateValues
    states = {
        point.attributes[db_attributes.DB_CLIENT_CONNECTION_STATE]: point.value
        for point in found[db_metrics.DB_CLIENT_CONNECTION_COUNT].data.data_points
    }
    expected = {idle.IDLE.value: stats["pool_available"], idle.USED.value: 1}
    assert states == expected
    for metric in found.values():
        for point in metric.data.data_points:
            assert point.attributes[db_attributes.DB_CLIENT_CONNECTION_POOL_NAME] == "default"


def test_it_records_each_duration_in_bounds_for_seconds(reader: InMemoryMetricReader) -> None:
    for _ in range(3):
        connection.close()
        connection.ensure_connection()
    (wait,) = metrics(reader)[db_metrics.DB_CLIENT_CONNECTION_WAIT_TIME].data.data_points
    assert wait.count == 3
    assert wait.explicit_bounds == BOUNDS_S


def test_the_app_makes_them_where_the_sdk_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "listeners", [])
    app = apps.get_app_config("pooldemo")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.metrics", None)
    app.ready()
    assert usage.listeners == []
    monkeypatch.undo()
    before = list(usage.listeners)
    app.ready()
    assert len(usage.listeners) == len(before) + 1
    usage.listeners[:] = before
