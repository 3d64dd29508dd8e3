"""From the trials of a stack to what to set MAX_CONNS to, or why nobody can tell. Pure: the same trials, the same
verdict.

`knee` finds the smallest size that carries the plateau. Here it meets the rest of the world: failures, users, the
SLO, the connections that PostgreSQL has for this many workers. `verdict_text` says it in sentences.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from pooldemo.sweep import plan as planning
from pooldemo.sweep.analyse import split, theory, verdict_text
from pooldemo.sweep.analyse.analysis import Judgement
from pooldemo.sweep.analyse.knee import find_knee, settled
from pooldemo.sweep.analyse.objective import Objective, state_of
from pooldemo.sweep.analyse.observations import observed
from pooldemo.sweep.analyse.rules import peak_above_size
from pooldemo.sweep.analyse.saturation import NOTHING, Saturation, find_saturation, is_hidden, is_users
from pooldemo.sweep.analyse.slo import failed_share, typed
from pooldemo.sweep.analyse.statistics import digits
from pooldemo.sweep.analyse.warnings import brief, for_stack
from pooldemo.sweep.facts import Conditions, Plan, Slo, TrialResult, Verdict

FAILED_SHARE = 0.01
"""Share of failed requests from which a trial is not judged, unless the SLO allows more: what fails fast makes room
for the rest."""


def judge(plan: Plan, trials: Sequence[TrialResult], conditions: Conditions) -> tuple[Verdict, ...]:
    """One verdict for each stack of the plan, in its order; the order of the trials does not matter."""
    return tuple(
        _cheapest(stack, plan, trials, conditions) if plan.splits else judge_stack(stack, plan, trials, conditions)
        for stack in plan.stacks
    )


def undecided_splits(plan: Plan, trials: Sequence[TrialResult], conditions: Conditions) -> set[int]:
    """The sizes of which another repeat would help to tell which split is the cheapest; empty: that is known."""
    if not plan.splits:
        return set()
    found = (_splits(stack, plan, trials, conditions) for stack in plan.stacks)
    return {size for _, _, each in found for size in each.sizes}


def _splits(
    stack: str, plan: Plan, trials: Sequence[TrialResult], conditions: Conditions
) -> tuple[dict[int, list[TrialResult]], list[Verdict], split.Split]:
    """The trials and the verdicts of each number of workers, and which of them is the cheapest."""
    own = {workers: [t for t in trials if (t.stack, t.workers) == (stack, workers)] for workers in plan.splits}
    verdicts = [judge_stack(stack, plan.at(workers), own[workers], conditions) for workers in plan.splits]
    every = [trial for each in own.values() for trial in each]
    return own, verdicts, split.cheapest(every, verdicts, plan.margin, planning.more_repeats(plan, len(every)))


def _cheapest(stack: str, plan: Plan, trials: Sequence[TrialResult], conditions: Conditions) -> Verdict:
    """Of the verdicts at each number of workers the one that names the cheapest split, and why it does."""
    own, verdicts, found = _splits(stack, plan, trials, conditions)
    verdict = next(each for each in verdicts if each.workers == found.workers)
    beyond = ""
    if level := split.level(verdict, verdicts, plan.margin):
        ended = Saturation(level.cause if level.saturated else "", level.saturated)
        verdict = judge_stack(stack, plan.at(found.workers), own[found.workers], conditions, ended)
        beyond = f" Nor do {level.workers} x {max(level.plateau)} carry more."
    copy = verdict_text.copy_with_workers(verdict.copy, found.workers)
    more = f" More repeats: {found.needs}." if found.needs and not verdict.needs else ""
    because = f"{found.text}{more} {verdict.because}{beyond}".strip()
    return replace(verdict, because=because, copy=copy, needs=verdict.needs or found.needs)


def judge_stack(
    stack: str, plan: Plan, trials: Sequence[TrialResult], conditions: Conditions, ended: Saturation | None = None
) -> Verdict:
    """The verdict on one stack, from those of `trials` that are its own. Never names a size that was not measured.
    `ended`: it rises no more beyond these, by what ran out."""
    own = tuple(sorted((t for t in trials if t.stack == stack), key=lambda t: (t.size, t.repeat)))
    judgement = weigh(plan, own, conditions)
    if ended is not None:
        judgement = replace(judgement, shape="knee", saturation=ended)
    interval = judgement.knee.intervals.get(judgement.size) if judgement.size else None
    known = interval is not None and math.isfinite(interval.half_width)  # one repeat has a mean alone
    return Verdict(
        stack=stack,
        shape=judgement.shape,
        max_conns=judgement.size,
        rps=interval.mean if interval else None,
        rps_low=interval.low if interval and known else None,
        rps_high=interval.high if interval and known else None,
        because=verdict_text.because(judgement),
        copy=verdict_text.copy(judgement),
        saturated=judgement.saturation.text,
        checks=judgement.checks,
        warnings=for_stack(own, plan, conditions),
        needs=verdict_text.needs(judgement),
        plateau=judgement.knee.plateau,
        cause=judgement.saturation.code or judgement.knee.reason,
        slo=Slo(typed(plan.slo), judgement.slo) if plan.slo else None,
        workers=plan.workers,
        level_from=judgement.knee.level_from if judgement.shape == "rising" else None,
    )


def weigh(plan: Plan, trials: tuple[TrialResult, ...], conditions: Conditions) -> Judgement:
    """Everything but the words, from the trials of one stack."""
    ran = [trial for trial in trials if not trial.error]
    allowed = max([FAILED_SHARE, *(limit.at_most for limit in plan.slo if limit.metric == "errors")])

    def is_sound(trial: TrialResult) -> bool:
        return trial.rps > 0 and (failed_share([trial]) or 0.0) <= allowed

    sound = list(filter(is_sound, ran))
    judged = {trial.size for trial in sound} - _mostly_unsound(trials, ran, sound)
    accidents = {
        size: [trial for trial in ran if trial.size == size and not is_sound(trial)] for size in sorted(judged)
    }
    sound = [trial for trial in sound if trial.size in judged]
    failing = {
        size: _failure([trial for trial in trials if trial.size == size])
        for size in sorted({trial.size for trial in trials} - judged)
    }
    knee = find_knee(observed(sound), plan.margin)
    judgement = Judgement(plan, knee, knee.shape, knee.size, NOTHING, failing, conditions.room, (), "undecided", trials)
    left_out = {size: f"{len(each)} of its repeats ({_failure(each)})" for size, each in accidents.items() if each}
    judgement = replace(judgement, left_out=left_out, hidden=is_hidden(plan, conditions), limit=conditions.room_limit)
    if plan.search and not sound and any(trial.steps for trial in ran):
        return _invalid(replace(judgement, slo="missed"), "slo")
    if not sound or len(ran) * 2 < len(trials):
        return _invalid(judgement, "failures")
    if all(trial.query_mean_ms == 0 for trial in sound):
        knee = replace(knee, shape="flat", size=min(knee.intervals), plateau=tuple(sorted(knee.intervals)))
        judgement = replace(judgement, knee=knee, unasked=True)
    if knee.level_from is not None:  # one thread that is full there carries no more with more slots
        there = find_saturation(sound, knee.level_from, (knee.level_from,), plan, conditions)
        knee = settled(knee) if there.code == "hub" else knee
        judgement = replace(judgement, knee=knee)
    least = planning.more_repeats(plan, len(trials))
    objective = Objective(plan, [trial for trial in ran if trial.size in judged], least)
    if knee.size is None:
        return _at_one_size(judgement, objective)
    saturation = find_saturation(sound, knee.size, knee.plateau, plan, conditions)
    if saturation.code == "generator":
        return _invalid(judgement, "generator")
    if any(peak_above_size(trial, plan) for trial in sound if trial.size == knee.size):
        return _invalid(judgement, "limit")
    shape = "rising" if knee.shape == "knee" and is_users(knee.size, plan) else knee.shape
    if shape == "flat" and judgement.failing_below and not judgement.unasked:
        shape = "knee"  # below it nothing is flat: requests fail there
    size = _within(judgement, objective)
    if plan.search:  # what each size carries is what meets the SLO
        judgement = replace(judgement, slo="met")
    elif size is not None:
        checks = objective.checks(size)
        judgement = replace(
            judgement, checks=checks, slo=state_of(checks), slo_needs=objective.needs(size),
            slo_why=objective.why(size), knee_slo=objective.state(knee.size),
        )  # fmt: skip
    if shape == "rising" and saturation.code != "rate" and not is_users(knee.size, plan):
        saturation = NOTHING
    return replace(judgement, shape=shape, size=size, saturation=saturation)


def _mostly_unsound(
    trials: Sequence[TrialResult], ran: Sequence[TrialResult], sound: Sequence[TrialResult]
) -> set[int]:
    """Sizes of which most trials did not run, or no more than half of those that did can be judged: the repeat that
    went well is not the rule there."""
    every, ended, good = (Counter(trial.size for trial in each) for each in (trials, ran, sound))
    return {size for size in every if 2 * ended[size] < every[size] or 2 * good[size] <= ended[size]}


def _failure(trials: Sequence[TrialResult]) -> str:
    """How many requests of these trials failed, and why; or why the trials did."""
    if errors := [trial.error for trial in trials if trial.error]:
        return brief(errors[0])
    if lowest := [trial.target_rps for trial in trials if trial.steps and trial.target_rps]:
        return f"missed the SLO at {digits(min(lowest))} requests/s still"
    messages = Counter[str]()
    for trial in trials:
        messages.update(trial.failures_by_message)
    share = failed_share(trials)
    return ": ".join(
        filter(None, [f"{share:.0%} failed" if share else "no answer", *(each for each, _ in messages.most_common(1))])
    )


def _within(judgement: Judgement, objective: Objective) -> int | None:
    """The size of the knee if SLO and budget permit it, else the one that costs least throughput, of those that might
    meet the SLO if none surely does; None: none fits the budget."""
    knee, plan = judgement.knee, judgement.plan
    affordable = theory.sizes_within(knee.intervals, plan.workers, judgement.budget)
    states = {size: "met" if plan.search else objective.state(size) for size in affordable}
    meeting, hopeful = ([size for size in affordable if states[size] == state] for state in ("met", "undecided"))
    for sizes in (meeting, hopeful, affordable):
        if knee.size in sizes:
            return knee.size
        if on_plateau := [size for size in sizes if size in knee.plateau]:
            return min(on_plateau)
        if sizes:
            return max(sizes, key=lambda size: (knee.intervals[size].mean, -size))
    return None


def _at_one_size(judgement: Judgement, objective: Objective) -> Judgement:
    """Whether the only size meets the SLO, which is known without a knee."""
    if len(judgement.knee.intervals) != 1 or judgement.plan.search or not judgement.plan.slo:
        return judgement
    (size,) = judgement.knee.intervals
    checks = objective.checks(size)
    return replace(
        judgement, checks=checks, slo=state_of(checks), slo_needs=objective.needs(size), slo_why=objective.why(size)
    )


def _invalid(judgement: Judgement, reason: str) -> Judgement:
    knee = replace(judgement.knee, shape="invalid", size=None, reason=reason)
    return replace(judgement, knee=knee, shape="invalid", size=None)
