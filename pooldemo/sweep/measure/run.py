"""A sweep as it runs: trial after trial in the plan's order, each judged for its warnings, until done or told to stop.

Nothing is saved or printed here: whoever iterates does that between two trials, when no window is open.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from pooldemo.sweep import plan as planning
from pooldemo.sweep import stacks
from pooldemo.sweep.analyse import judge, warnings
from pooldemo.sweep.analyse.analysis import Judgement
from pooldemo.sweep.analyse.compare import compare_sides
from pooldemo.sweep.facts import Conditions, Plan, SweepResult, TrialPlan, TrialResult, Verdict
from pooldemo.sweep.measure import adaptive
from pooldemo.sweep.measure import trial as trials

# A trial, what it begins to do, and how many seconds that will take.
Announce = Callable[[TrialPlan, str, float], None]

MAX_SIZE = 1000  # of an adaptive sweep without a known limit of connections
ROUNDS = 8  # of an adaptive sweep; it ends by itself in three or four


class Run:
    """The trials of `plan` that are not `done` yet; iterate to run them. `stopping` is asked before each.

    An adaptive plan grows when its trials are through, and any plan does until `until_s` (of the monotonic clock), and
    up to MAX_REPEATS, while its verdicts, or whether B is worse than A, cannot be told: look at `plan` again after each
    result.
    """

    def __init__(
        self,
        plan: Plan,
        conditions: Conditions,
        bench: trials.Bench,
        done: Iterable[TrialResult] = (),
        stopping: Callable[[], bool] = lambda: False,
        announce: Announce | None = None,
        until_s: float | None = None,
    ) -> None:
        self.plan, self.conditions = plan, conditions
        # What failed runs again when a sweep is resumed, but not twice in one run.
        self.results = [result for result in done if not result.error]
        self._bench, self._stopping, self._announce = bench, stopping, announce
        self._rounds = ROUNDS if plan.adaptive else 0
        self._repeats = planning.repeats_of(plan)
        self._until_s = until_s

    @property
    def left(self) -> int:
        """Trials still to run, as far as is known."""
        return len(planning.order(self.plan, {result.key for result in self.results}))

    def __iter__(self) -> Iterator[TrialResult]:
        while True:
            for planned in planning.order(self.plan, {result.key for result in self.results}):
                if self._stopping():
                    return
                stack = stacks.get(planned.stack)
                plan = self.plan.at(planned.workers)
                result = trials.run(planned, plan, stack, self._bench, self._tell(planned))
                place = 1 + max((each.order for each in self.results), default=0)
                result = replace(result, order=place, warnings=warnings.for_trial(result, plan))
                self.results.append(result)
                yield result
            if not self._refine() and not self._repeat():
                return

    def verdicts(self) -> tuple[Verdict, ...]:
        """One for each stack, of what has been measured so far."""
        return judge.judge(self.plan, self.results, self.conditions)

    def _tell(self, planned: TrialPlan) -> trials.Announce:
        def tell(what: str, seconds: float) -> None:
            if self._announce is not None:
                self._announce(planned, what, seconds)

        return tell

    def _refine(self) -> bool:
        """Whether an adaptive plan found sizes to add."""
        if not self._rounds:
            return False
        self._rounds -= 1
        added: set[int] = set()
        for judgement in self._judgements():
            added.update(adaptive.next_sizes(judgement, self.plan.sizes, MAX_SIZE))
        if added:
            # In repeats of their own, with the neighbours again: else a drift would look like a size's doing.
            self.plan = planning.with_blocks(self.plan, (planning.linked(self.plan.sizes, added),) * self._repeats)
        return bool(added)

    def _repeat(self) -> bool:
        """Whether there is time for one more repeat, of the sizes on which a verdict hangs that cannot be told yet."""
        if self._until_s is None:
            return False
        sizes = {size for judgement in self._judgements() for size in adaptive.deciding_sizes(judgement)}
        sizes |= judge.undecided_splits(self.plan, self.results, self.conditions)
        sides = compare_sides(SweepResult(self.plan, self.conditions, tuple(self.results), self.verdicts()))
        if sides and not sides.is_known:  # nor ends it with the first look that B is worse: one of many may be luck
            sizes.update(self.plan.sizes)
        needed_s = planning.total_s(self.plan, len(sizes) * len(self.plan.stacks) * len(self.plan.worker_counts))
        if not sizes or time.monotonic() + needed_s > self._until_s:
            return False
        if planning.repeats_of(self.plan, sizes) >= planning.MAX_REPEATS:
            return False
        self.plan = planning.with_blocks(self.plan, (tuple(sorted(sizes)),))
        return True

    def _judgements(self) -> Iterator[Judgement]:
        for stack, workers in itertools.product(self.plan.stacks, self.plan.worker_counts):
            view = (each for each in self.results if not self.plan.splits or each.workers == workers)
            own = tuple(each for each in view if each.stack == stack)
            yield judge.weigh(self.plan.at(workers), own, self.conditions)
