"""What a pool counts about itself. Plain numbers, changed under the pool's lock, read without it."""

from bisect import bisect_left
from dataclasses import dataclass, field

# Seconds. Prometheus' usual bounds for connection pools (0.001 ... 10) with steps between them, so that
# percentiles read from the counts are good to about a quarter.
BOUNDS_S = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.007, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04,
    0.05, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0, 2.5, 4.0, 5.0, 7.5, 10.0,
    15.0, 30.0, 60.0,
)  # fmt: skip


class Histogram:
    """Durations counted in buckets: `counts[i]` of them were at most `bounds_s[i]`, the last lay above every bound."""

    __slots__ = ("counts", "total_s")
    bounds_s = BOUNDS_S

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds


@dataclass(slots=True)
class Stats:
    """The counters of one pool since it was made."""

    queued: int = 0  # checkouts that had to wait for a slot
    errors: int = 0  # checkouts that got no connection
    timeouts: int = 0  # of the errors, how many were PoolTimeout
    refused: int = 0  # of the errors, how many were PoolFull
    returns_bad: int = 0  # checkins of a connection that could not be used again
    connects: int = 0  # attempts to connect
    connect_errors: int = 0  # attempts that failed
    lost: int = 0  # idle connections found dead
    orphans: int = 0  # slots taken back from holders that ended without checkin
    wait: Histogram = field(default_factory=Histogram)
    hold: Histogram = field(default_factory=Histogram)
    connect: Histogram = field(default_factory=Histogram)
