"""How far a sweep has come: each trial with its state, and the time left. Pure: from the plan and what is saved."""

from dataclasses import dataclass
from datetime import UTC, datetime

from pooldemo.sweep import plan as planning
from pooldemo.sweep.analyse.statistics import digits
from pooldemo.sweep.analyse.warnings import brief
from pooldemo.sweep.facts import SweepResult, TrialPlan, TrialResult

BEFORE, AFTER = 60, 60
"""Of a long sweep so many trials are shown before the one that runs, and after it; and those that failed, as many."""


@dataclass(frozen=True)
class Step:
    """One trial: `state` is ended, failed, running or waiting, `words` what there is to say of it."""

    trial: TrialPlan
    state: str
    words: str


@dataclass(frozen=True)
class Progress:
    """`done` of `planned` trials; `left` says for how long it goes on (empty: it does not). `steps` are those of a long
    sweep that matter now, `others` how many that leaves out."""

    done: int
    planned: int
    left: str
    steps: tuple[Step, ...]
    others: int = 0

    @property
    def percent(self) -> int:
        return round(100 * self.done / self.planned) if self.planned else 0

    @property
    def told(self) -> str:
        """The same for who hears it: it changes with each tenth of the sweep, not with each second."""
        return f"{self.percent // 10 * 10}% of {self.planned} trials have ended"


def progress_of(sweep: SweepResult, now: datetime) -> Progress:
    """The trials in the order in which they run. While the sweep runs, the first that is missing does."""
    ended = {trial.key: trial for trial in sweep.trials}
    planned = planning.order(sweep.plan)
    steps: list[Step] = []
    runs = sweep.status == "running"
    for trial in planned:
        if (found := ended.get(trial)) is not None:
            steps.append(_ended(trial, found))
            continue
        steps.append(Step(trial, "running" if runs else "waiting", "runs now" if runs else ""))
        runs = False
    missing = sum(each not in ended for each in planned)
    left = _left(sweep, missing, now) if sweep.status == "running" else ""
    shown = _shown(steps)
    return Progress(len(planned) - missing, len(planned), left, shown, len(planned) - len(shown))


def _shown(steps: list[Step]) -> tuple[Step, ...]:
    now = next((place for place, step in enumerate(steps) if step.state in ("running", "waiting")), len(steps))
    failed = [step for step in steps[: max(0, now - BEFORE)] if step.state == "failed"]
    return (*failed[-BEFORE:], *steps[max(0, now - BEFORE) : now + AFTER])


def _ended(trial: TrialPlan, found: TrialResult) -> Step:
    if found.error:
        return Step(trial, "failed", brief(found.error))
    return Step(trial, "ended", f"{digits(found.rps)} requests/s, p95 {digits(found.p95_ms)} ms")


def _left(sweep: SweepResult, missing: int, now: datetime) -> str:
    """The trials that are missing, less what has passed since the last one ended."""
    each_s = planning.total_s(sweep.plan, 1)
    begun = [trial.started_at for trial in sweep.trials if trial.started_at] or [sweep.started_at]
    since_s = (now - datetime.fromisoformat(begun[-1]).astimezone(UTC)).total_seconds() if begun[-1] else 0.0
    passed_s = max(0.0, since_s - (each_s if sweep.trials else 0.0))
    left_s = max(1.0, missing * each_s - min(passed_s, each_s))
    return f"about {left_s / 60:.0f} min left" if left_s >= 90 else f"about {left_s:.0f} s left"
