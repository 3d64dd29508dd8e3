"""The nine metrics of a connection pool as OpenTelemetry publishes them (semantic conventions 1.44, database clients).

And where each is read, of a pool as `snapshots.take` tells it. Prometheus's text and OpenTelemetry's instruments are
made from this.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

PREFIX = "db.client.connection"
POOL_NAME, STATE = f"{PREFIX}.pool.name", f"{PREFIX}.state"
BOUNDS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Metric:
    """One of them: its name after PREFIX, its unit, and what it says."""

    name: str
    unit: str
    text: str

    @property
    def full_name(self) -> str:
        return f"{PREFIX}.{self.name}"


@dataclass(frozen=True)
class Number(Metric):
    """One that is read: the number now, or since the pool was made; `has_states`: one for each STATE, else for ""."""

    read: Callable[[Mapping[str, Any]], Mapping[str, float]]
    has_states: bool = False


@dataclass(frozen=True)
class Duration(Metric):
    """One whose every value counts: which of a pool's histograms has them."""

    histogram: str


def _stat(name: str) -> Callable[[Mapping[str, Any]], Mapping[str, float]]:
    return lambda pool: {"": pool["stats"][name]}


def _states(pool: Mapping[str, Any]) -> Mapping[str, float]:
    idle = pool["stats"]["pool_available"]
    return {"idle": idle, "used": pool["stats"]["pool_size"] - idle}


GAUGES = (
    Number("count", "{connection}", "Connections by state.", _states, has_states=True),
    Number("max", "{connection}", "Connections allowed.", _stat("pool_max")),
    Number("idle.max", "{connection}", "Idle connections allowed.", lambda pool: {"": pool["reuse_conns"]}),
    Number("idle.min", "{connection}", "Idle connections kept open.", _stat("pool_min")),
    Number("pending_requests", "{request}", "Checkouts waiting for a slot.", _stat("requests_waiting")),
)
COUNTER = Number("timeouts", "{timeout}", "Checkouts that got no slot in time.", _stat("requests_timeouts"))
DURATIONS = (
    Duration("create_time", "s", "Time to open a connection.", "connect"),
    Duration("wait_time", "s", "Time that a checkout waited for a slot.", "wait"),
    Duration("use_time", "s", "Time between checkout and checkin.", "hold"),
)
