"""The pools of this process as OpenTelemetry's instruments, on whatever MeterProvider the project has set, or will.

Numbers are read when the provider collects; each duration is recorded when it ends. Each worker tells its own pools:
which worker it is stands in its resource.
"""

from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter

from pooldemo.monitor import snapshots
from pooldemo.monitor.conventions import BOUNDS_S, COUNTER, DURATIONS, GAUGES, POOL_NAME, STATE, Number
from pooldemo.postgresql import usage

Callback = Callable[[CallbackOptions], Iterable[Observation]]


def instrument(provider: MeterProvider | None = None) -> usage.Listener:
    """Make the nine instruments of `db.client.connection`; None: on the global provider. Returns who records the
    durations: it does so until it is taken out of `usage.listeners`."""
    meter = get_meter("pooldemo", meter_provider=provider)
    for each in GAUGES:
        meter.create_observable_up_down_counter(each.full_name, [_reader(each)], each.unit, each.text)
    meter.create_observable_counter(COUNTER.full_name, [_reader(COUNTER)], COUNTER.unit, COUNTER.text)
    histograms = {
        each.histogram: meter.create_histogram(
            each.full_name, each.unit, each.text, explicit_bucket_boundaries_advisory=BOUNDS_S
        )
        for each in DURATIONS
    }

    def record(what: str, pool: str, seconds: float) -> None:
        histograms[what].record(seconds, {POOL_NAME: pool})

    usage.listeners.append(record)
    return record


def _reader(number: Number) -> Callback:
    def read(_: CallbackOptions) -> Iterable[Observation]:
        for alias, pool in snapshots.take()["pools"].items():
            for state, value in number.read(pool).items():
                yield Observation(value, {POOL_NAME: alias} | ({STATE: state} if state else {}))

    return read
