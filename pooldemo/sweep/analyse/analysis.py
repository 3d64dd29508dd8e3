"""What `judge` weighed and `verdict_text` puts into sentences: facts alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pooldemo.sweep.analyse.knee import Knee
from pooldemo.sweep.analyse.saturation import Saturation
from pooldemo.sweep.facts import Check, Plan, TrialResult


@dataclass(frozen=True)
class Judgement:
    """All that a verdict is worded from.

    `knee` is what the curve says, `size` what is recommended after SLO and budget (None: nothing), `saturation` what
    ran out, `failing` the sizes that were left out because their requests or trials failed, each with how and why,
    `budget` the connections that PostgreSQL has to give (0: not known) by its `limit`, `checks` and `slo` whether
    `size`, or the only one that was measured, meets each clause and the whole SLO, `knee_slo` whether the knee's size
    does, `slo_needs` the options that would decide it, `slo_why` what keeps it undecided beside its interval, `unasked`
    that no request took a connection, `left_out` in how many repeats of a size that is judged requests failed, and why:
    it is judged by the others. `hidden`: a CPU that may be full is not seen from here.
    """

    plan: Plan
    knee: Knee
    shape: str
    size: int | None
    saturation: Saturation
    failing: Mapping[int, str]
    budget: int
    checks: tuple[Check, ...]
    slo: str
    trials: tuple[TrialResult, ...]
    unasked: bool = False
    slo_needs: str = ""
    slo_why: str = ""
    knee_slo: str = ""
    left_out: Mapping[int, str] = field(default_factory=dict)
    hidden: bool = False
    limit: str = "max_connections"

    @property
    def failing_below(self) -> int | None:
        """The next smaller size, if it failed."""
        below = max((each for each in self._tried if self.knee.size and each < self.knee.size), default=None)
        return below if below in self.failing else None

    @property
    def failing_above(self) -> int | None:
        """The next larger size, if it failed."""
        above = min((each for each in self._tried if self.knee.size and each > self.knee.size), default=None)
        return above if above in self.failing else None

    @property
    def _tried(self) -> set[int]:
        return {*self.knee.intervals, *self.failing}
