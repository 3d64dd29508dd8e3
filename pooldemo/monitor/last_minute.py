"""The last minute of a pool: what its histograms counted meanwhile, and percentiles of that. Pure but for a memory."""

from collections import deque
from collections.abc import Mapping, Sequence

SPAN_S = 60.0

Counts = dict[str, list[int]]


class Recent:
    """What the histograms of one pool stood at, a minute back; told once a second or so."""

    def __init__(self) -> None:
        self._history: deque[tuple[float, Counts]] = deque()

    def note(self, at_s: float, counts: Counts) -> None:
        """Remember `counts` as of `at_s`, and forget what is no longer needed to look back a minute."""
        if not self._history:  # what a pool did before the first look at it belongs to its first minute
            counts = {name: [0] * len(each) for name, each in counts.items()}
        self._history.append((at_s, counts))
        while len(self._history) > 1 and self._history[1][0] <= at_s - SPAN_S:
            self._history.popleft()

    def since(self, counts: Counts) -> Counts:
        """How many of `counts` came in the last minute, bucket by bucket; all of them for a pool that is younger."""
        before: Mapping[str, Sequence[int]] = self._history[0][1] if self._history else {}
        found = {}
        for name, now in counts.items():
            change = [a - b for a, b in zip(now, before[name], strict=True)] if name in before else now
            found[name] = change if min(change) >= 0 else now  # a pool that was closed and made again begins at zero
        return found


def percentile_ms(bounds_s: Sequence[float], counts: Sequence[int], fraction: float) -> float | None:
    """Milliseconds that `fraction` of the counted durations stayed below, read off straight inside a bucket; None: none
    was counted. What lies above the last bound is said to be at it."""
    total = sum(counts)
    if not total:
        return None
    wanted, seen = fraction * total, 0
    for place, bound_s in enumerate(bounds_s):
        if counts[place] and seen + counts[place] >= wanted:
            low_s = bounds_s[place - 1] if place else 0.0
            return 1000 * (low_s + (bound_s - low_s) * (wanted - seen) / counts[place])
        seen += counts[place]
    return 1000 * bounds_s[-1]
