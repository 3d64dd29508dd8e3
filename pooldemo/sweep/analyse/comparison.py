"""What two sweeps show side by side: the changes, and whether B is worse. Facts alone; `compare` draws them."""

import math
from dataclasses import dataclass

from pooldemo.sweep.plan import MAX_REPEATS

NEGLIGIBLE = 0.01
"""A change that A and B of one run may show and be called the same."""


@dataclass(frozen=True)
class Change:
    """One metric of one stack at one size (None: over all sizes): `ratio` is after / before - 1, `low` .. `high` where
    it lies with 95% confidence over all (None: nothing was repeated).

    `metric` is rps, p95_ms or failures (their share; its `ratio` is the difference of shares). `kind` is better, worse,
    same (within what luck and margin allow), unknown (too few repeats) or, of rps, lost: B measured nothing there.
    """

    stack: str
    size: int | None
    metric: str
    before: float
    after: float
    ratio: float
    low: float | None
    high: float | None
    kind: str

    @property
    def is_worse(self) -> bool:
        return self.kind in ("worse", "lost")


@dataclass(frozen=True)
class Moved:
    """A verdict that is another one in B: what it said, says, and whether that is worse."""

    stack: str
    before: str
    after: str
    is_worse: bool


@dataclass(frozen=True)
class Comparison:
    """All changes, the verdicts that moved, and in what the conditions differ (in words).

    Of two sides of one sweep: `finds` is the smallest loss of throughput that it finds in 95% of the cases, `wanted`
    that which it is to find, `repeats` how many it had.
    """

    changes: tuple[Change, ...]
    moved: tuple[Moved, ...]
    differences: tuple[str, ...]
    finds: float | None = None
    wanted: float | None = None
    repeats: int = 0

    @property
    def is_worse(self) -> bool:
        return any(each.is_worse for each in self.changes) or any(each.is_worse for each in self.moved)

    @property
    def is_unjudged(self) -> bool:
        """B is worse for nothing but a verdict that became invalid."""
        worse = [each for each in self.moved if each.is_worse]
        return bool(worse) and not any(each.is_worse for each in self.changes) and all(map(_is_lost, worse))

    @property
    def is_known(self) -> bool:
        """Some comparison had repeats enough to be decided; of two sides of one sweep: so many that it finds what it
        is to find, or that each stack is shown to carry more, whatever a loss would have taken."""
        carried = [change for change in self.changes if change.metric == "rps"]
        over_all = {change.stack for change in carried if change.size is None}  # none of one that has one size
        kinds = {change.kind for change in carried if change.size is None or change.stack not in over_all}
        is_better = kinds == {"better"}
        if self.wanted is not None and not is_better and (self.finds is None or self.finds > self.wanted):
            return False
        return any(change.kind != "unknown" for change in self.changes if change.metric != "failures")

    @property
    def needs(self) -> str:
        """The options with which it would find what it is to find; empty: it does, a side failed throughout, or there
        may be no more repeats."""
        compared = any(change.metric == "rps" and change.kind != "lost" for change in self.changes)
        if self.is_known or self.wanted is None or not compared:
            return ""
        times = 4.0 if self.finds is None else ((self.finds - NEGLIGIBLE) / max(self.wanted - NEGLIGIBLE, 0.001)) ** 2
        if self.repeats >= MAX_REPEATS:
            return ""
        return f"--repeats {min(MAX_REPEATS, max(3, self.repeats + 1, math.ceil(1.05 * times * self.repeats)))}"


def _is_lost(moved: Moved) -> bool:
    return moved.after.startswith("invalid") and not moved.after.endswith("SLO missed")
