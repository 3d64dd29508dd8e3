"""Has something grown? A line through blocks of samples, its slope per hour, and the interval of that. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median

from pooldemo.sweep.analyse.statistics import student_t

BLOCKS = 12  # neighbours in time are alike; medians of five minutes are nearly strangers


@dataclass(frozen=True)
class Trend:
    """What a quantity does in an hour: `per_hour`, with a 95% interval, from a level of `level`."""

    level: float
    per_hour: float
    low: float
    high: float

    def grows(self, allowed: float) -> bool:
        """Whether it is shown to grow by more than `allowed` in an hour: the interval lies above that."""
        return self.low > allowed

    def __str__(self) -> str:
        return f"{self.level:.1f}, {self.per_hour:+.2f} an hour ({self.low:+.2f} to {self.high:+.2f})"


def trend(samples: Sequence[tuple[float, float]], blocks: int = BLOCKS) -> Trend:
    """Least squares through the blocks' medians; `samples` are (seconds, value).

    Raises ValueError when there are too few.
    """
    if len(samples) < 3 * 2:
        raise ValueError(f"{len(samples)} samples are too few for a trend")
    blocks = min(blocks, len(samples) // 2)
    cut = [len(samples) * block // blocks for block in range(blocks + 1)]
    points = [
        (fmean(at_s for at_s, _ in part) / 3600, median(value for _, value in part))
        for part in (samples[a:b] for a, b in pairwise(cut))
    ]
    mean_x, mean_y = fmean(x for x, _ in points), fmean(y for _, y in points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    rest = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points)
    half = student_t(0.975, blocks - 2) * (rest / (blocks - 2) / spread) ** 0.5
    return Trend(mean_y, slope, slope - half, slope + half)
