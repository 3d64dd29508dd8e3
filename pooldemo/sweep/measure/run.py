"""A sweep as it runs: trial after trial in the plan's order, each judged for its warnings, until done or told to stop.

Nothing is saved or printed here: whoever iterates does that between two trials, when no window is open.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from pooldemo.sweep import plan as planning
from pooldemo.sweep import stacks
from pooldemo.sweep.analyse import judge, warnings
from pooldemo.sweep.facts import Conditions, Plan, TrialPlan, TrialResult, Verdict
from pooldemo.sweep.measure import adaptive
from pooldemo.sweep.measure import trial as trials

# A trial, what it begins to do, and how many seconds that will take.
Announce = Callable[[TrialPlan, str, float], None]

MAX_SIZE = 1000  # of an adaptive sweep without a known limit of connections
ROUNDS = 8  # of an adaptive sweep; it ends by itself in three or four


class Run:
    """The trials of `plan` that are not `done` yet; iterate to run them. `stopping` is asked before each.

    An adaptive plan grows when its trials are through: look at `plan` again after each result.
    """

    def __init__(
        self,
        plan: Plan,
        conditions: Conditions,
        bench: trials.Bench,
        done: Iterable[TrialResult] = (),
        stopping: Callable[[], bool] = lambda: False,
        announce: Announce | None = None,
    ) -> None:
        self.plan, self.conditions = plan, conditions
        # What failed runs again when a sweep is resumed, but not twice in one run.
        self.results = [result for result in done if not result.error]
        self._bench, self._stopping, self._announce = bench, stopping, announce
        self._rounds = ROUNDS if plan.adaptive else 0

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
                result = trials.run(planned, self.plan, stack, self._bench, self._tell(planned))
                place = 1 + max((each.order for each in self.results), default=0)
                result = replace(result, order=place, warnings=warnings.for_trial(result, self.plan))
                self.results.append(result)
                yield result
            if not self._refine():
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
        sizes = set(self.plan.sizes)
        for stack in self.plan.stacks:
            own = tuple(result for result in self.results if result.stack == stack)
            judgement = judge.weigh(self.plan, own, self.conditions)
            sizes.update(adaptive.next_sizes(judgement, self.plan.sizes, MAX_SIZE))
        grown = sizes > set(self.plan.sizes)
        self.plan = replace(self.plan, sizes=tuple(sorted(sizes)))
        return grown
