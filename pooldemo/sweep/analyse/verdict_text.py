"""A verdict in sentences that somebody understands who has never sized a pool: what to do, the numbers beside it, and
why. Pure.

Every number stands with its neighbours', so that a reader can check the claim by eye. The shape decides which
sentences come; `judge` decides the shape.
"""

import math
from statistics import fmean

from pooldemo.sweep import plan as planning
from pooldemo.sweep.analyse.analysis import Judgement
from pooldemo.sweep.analyse.rules import longest_window_s
from pooldemo.sweep.analyse.saturation import hold_of, is_users
from pooldemo.sweep.analyse.slo import describe_check, describe_limit
from pooldemo.sweep.analyse.statistics import counted, digits, two_digits
from pooldemo.sweep.analyse.warnings import brief
from pooldemo.sweep.facts import OWN


def because(judgement: Judgement) -> str:
    """The whole explanation: shape, neighbours, what ran out, what SLO and budget changed."""
    if judgement.shape == "invalid":
        return " ".join(filter(None, (_invalid(judgement), _slo(judgement) if judgement.checks else "")))
    if judgement.size is None:
        return _over_budget(judgement)
    shape = {"knee": _knee, "flat": _flat, "rising": _rising}[judgement.shape]
    return " ".join(filter(None, (shape(judgement), _moved(judgement), _failing(judgement), _slo(judgement))))


def copy(judgement: Judgement) -> str:
    """The line to paste, into a shell or into a project's settings; empty when no size can be named."""
    if judgement.size is None or judgement.shape == "invalid":
        return ""
    line = f"export MAX_CONNS={judgement.size}"
    if judgement.plan.workload in OWN:  # whether such a project reads its environment nobody knows
        options = 'DATABASES["default"]["OPTIONS"]'
        line = f'{options}["MAX_CONNS"] = {judgement.size}'
        if {trial.stack for trial in judgement.trials} == {"psycopg-pool"}:
            least = min(4, judgement.size)  # psycopg_pool's own default, where there is room for it
            line = f'{options}["pool"] = {{"min_size": {least}, "max_size": {judgement.size}}}'
    return line + ("  # the best so far, not yet the knee" if judgement.shape == "rising" else "")


def copy_with_workers(line: str, workers: int) -> str:
    """The line where so many workers were chosen as well."""
    if line.startswith("export "):
        return line.replace("export ", f"export WEB_CONCURRENCY={workers} ")
    told = f"with {counted(workers, 'worker')}"
    return f"{line}{', ' if '#' in line else '  # '}{told}" if line else ""


def needs(judgement: Judgement) -> str:
    """The options with which a sweep that is invalid or undecided would find its answer, as typed; empty where no
    option does. Whoever gives advice has it from here."""
    knee = judgement.knee
    if judgement.shape != "invalid":
        return judgement.slo_needs
    if knee.reason == "generator":
        return f"--processes {judgement.plan.processes + 1}"
    if knee.reason == "sizes" and knee.intervals and not _has_more(judgement):
        (size,) = knee.intervals
        larger = judgement.failing and min(judgement.failing) < size
        wanted = {size, 2 * size, 4 * size if larger else max(1, size // 2)}
        room = judgement.budget // judgement.plan.workers or 4 * size
        fitting = sorted(each for each in wanted if each <= room or each == size)
        return f"--sizes {','.join(map(str, fitting))}" if len(fitting) > 1 else ""
    if knee.reason not in ("repeats", "level", "noise"):
        return ""
    least = planning.more_repeats(judgement.plan, len(judgement.trials))
    needed = max(3 if knee.reason == "repeats" else knee.repeats_needed, least)
    return f"--repeats {needed}" if needed <= planning.MAX_REPEATS else ""


def next_size(judgement: Judgement) -> int | None:
    """The size to try next: twice the largest while it rises, or where the straight line meets the plateau; None:
    enough is known."""
    knee = judgement.knee
    if judgement.failing_above or (judgement.shape == "knee" and judgement.failing_below):
        return None
    if judgement.shape == "rising" and not is_users(knee.size or 1, judgement.plan):
        doubled = 2 * max(knee.intervals)
        affordable = judgement.budget // judgement.plan.workers if judgement.budget else doubled
        return min(doubled, affordable) if affordable > max(knee.intervals) else None
    if judgement.shape == "knee" and knee.size and knee.below:
        straight = knee.below * knee.plateau_rps / knee.intervals[knee.below].mean
        between = math.ceil(straight - 0.25)
        return between if knee.below < between < knee.size and straight * 1.1 < knee.size else None
    return None


def _knee(judgement: Judgement) -> str:
    knee, size, workers = judgement.knee, judgement.knee.size, judgement.plan.workers
    per_worker = f" per worker ({workers} workers)" if workers > 1 else ""
    text = f"{_slots(size)}{per_worker} carry {_rps(judgement, size)}: {_smaller(judgement)}, and {_larger(judgement)}."
    if between := next_size(judgement):
        text += f" The knee lies between {knee.below} and {size}: try {between} to save connections."
    return text + (f" The bottleneck is {judgement.saturation.text}." if judgement.saturation.text else "")


def _flat(judgement: Judgement) -> str:
    knee, cause = judgement.knee, judgement.saturation.text
    first, last = min(knee.intervals), max(knee.intervals)
    if judgement.unasked:
        text = "No request took a connection, whatever the size"
    elif last not in knee.plateau and knee.intervals[last].mean < (1 - _margin(judgement)) * knee.intervals[first].mean:
        text = f"More slots make it slower: {_rps(judgement, first)} at {first}, {_rps(judgement, last)} at {last}"
    else:
        text = _level(judgement)
    seen = " that can be seen from here" if judgement.hidden else ""
    held = ", and slots were not held longer" if hold_of(judgement.trials) else ""
    unknown = f"It cannot be seen: no CPU{seen} was full{held}."
    text += ": the pool is not your bottleneck. " + (f"The bottleneck is {cause}." if cause else unknown)
    return text if first == 1 or judgement.unasked else f"{text} Fewer than {first} were not measured."


def _level(judgement: Judgement) -> str:
    """How level a flat curve is, held against each of its numbers."""
    knee, margin = judgement.knee, _margin(judgement)
    apart = {size: each.mean / knee.plateau_rps - 1 for size, each in knee.intervals.items()}
    less = [size for size in apart if apart[size] < -margin and size not in (*knee.plateau, knee.size)]
    level = [size for size in apart if size not in less]
    text = f"From {min(level)} to {max(level)} slots throughput "
    if all(abs(apart[size]) <= margin for size in level):
        text += f"stays within {judgement.plan.margin:g}% of {digits(knee.plateau_rps)} requests/s"
    else:
        low, high = (most(level, key=lambda size: apart[size]) for most in (min, max))
        text += f"differs by no more than luck, from {_rps(judgement, low, unit='')} to {_rps(judgement, high)}"
    return text + "".join(f", but for {_rps(judgement, size, unit='')} at {size}" for size in less)


def _rising(judgement: Judgement) -> str:
    knee, plan = judgement.knee, judgement.plan
    sizes = sorted(knee.intervals)
    size = knee.size or sizes[-1]
    carries = f"{_slots(size)} carry {_rps(judgement, size)}, {_smaller(judgement)}"
    if is_users(size, plan):
        rises = "Throughput rises" if knee.level_from is None else "Nobody can tell yet whether throughput rises"
        each = f"each of the {plan.users} users" if plan.users > 1 else "the only user"
        text = f"{rises} until {each} has a slot: {carries}."
        if judgement.saturation.code not in ("users", ""):
            return f"{text} The bottleneck there is {judgement.saturation.text}."
        more = f"--users {2 * size * plan.workers}"
        return f"{text} That end is the users', not the pool's: repeat with {more} to find the pool's own."
    if judgement.saturation.code == "rate":
        return f"{carries}. That is all of the {plan.rate:g}/s asked for: ask for more to find the pool's own end."
    if failing := judgement.failing_above:
        return f"{carries}, and throughput rises up to there; {_fails(judgement, failing)}. Cure that to go on."
    if further := next_size(judgement):
        extend = f"Extend it: --sizes {','.join(map(str, [*sizes, further]))}."
    else:
        extend = (
            f"PostgreSQL has no more than {judgement.budget} connections to give: raise {judgement.limit} to go on."
        )
    if knee.level_from is not None:
        return f"Whether throughput still rises at the end nobody can tell yet: {carries}. {extend}"
    return f"Throughput still rises at the end: {carries}, and no knee was seen. {extend}"


def _moved(judgement: Judgement) -> str:
    """Why the recommended size is not the knee."""
    knee, size = judgement.knee, judgement.size
    if size is None or size == knee.size or knee.size is None:
        return ""
    needed = knee.size * judgement.plan.workers
    lost = 1 - knee.intervals[size].mean / knee.intervals[knee.size].mean
    cost = f", at {digits(lost * 100, at_most=2)}% less throughput" if lost > 0.005 else ""
    if judgement.budget and needed > judgement.budget:
        reason = f"{knee.size} would take {needed} of the {judgement.budget} connections that PostgreSQL has"
    elif judgement.knee_slo == "undecided":
        reason = f"whether {knee.size} meets the SLO is undecided"
    else:
        reason = f"{knee.size} misses the SLO"
    return f"But {reason}: use {size}{cost}."


def _failing(judgement: Judgement) -> str:
    told = [f"size {size} ({why})" for size, why in judgement.failing.items()]
    if judgement.size is not None and judgement.size in judgement.left_out:
        told.append(f"size {judgement.size} in {judgement.left_out[judgement.size]}")
    return f"Left out: {', '.join(told)}." if told else ""


def _fails(judgement: Judgement, size: int) -> str:
    """What is wrong at a size that was left out."""
    own = [trial for trial in judgement.trials if trial.size == size]
    if any(trial.error for trial in own):
        return f"at {size} trials fail"
    if judgement.plan.search:
        return f"{size} misses the SLO"
    return f"at {size} requests fail" if any(trial.failures for trial in own) else f"at {size} none is answered"


def _slo(judgement: Judgement) -> str:
    if judgement.plan.search and judgement.plan.slo:
        return f"Each carries the highest rate, at random, at which {_limits(judgement)} is met{_closed(judgement)}."
    if judgement.slo == "met":
        return ""
    clauses = [check for check in judgement.checks if check.state == judgement.slo]
    seen = ", ".join(f"{describe_limit(each.limit)} (measured {describe_check(each)})" for each in clauses)
    if judgement.slo == "missed":
        fits = judgement.budget and max(judgement.knee.intervals) * judgement.plan.workers > judgement.budget
        which = "No size that PostgreSQL has connections for" if fits else "No measured size"
        return f"{which} meets the SLO {seen}: it takes fewer users or faster queries."
    if not clauses:
        return ""
    more = f": {judgement.slo_needs}" if judgement.slo_needs else ""
    why = f", since {judgement.slo_why}" if judgement.slo_why else ""
    size = judgement.size or min(judgement.knee.intervals)
    return f"Whether MAX_CONNS={size} meets the SLO {seen} is undecided{why}{more}."


def _limits(judgement: Judgement) -> str:
    return " and ".join(map(describe_limit, judgement.plan.slo))


def _closed(judgement: Judgement) -> str:
    """What the recommended size carries where nobody asks before the last answer: the most that it can."""
    own = [trial for trial in judgement.trials if trial.size == judgement.size]
    closed = [step.rps for trial in own for step in trial.steps if step.rate is None]
    return f"; in a closed loop {judgement.size} carries {digits(fmean(closed))} whatever it takes" if closed else ""


def _over_budget(judgement: Judgement) -> str:
    smallest = min(judgement.knee.intervals)
    workers = judgement.plan.workers
    return (
        f"No measured size fits: {counted(workers, 'worker')} x {_slots(smallest)} take "
        f"{counted(smallest * workers, 'connection')}, and "
        f"PostgreSQL has {judgement.budget}. Use fewer workers, smaller --sizes, or raise {judgement.limit}."
    )


def _invalid(judgement: Judgement) -> str:
    knee = judgement.knee
    if not judgement.trials:
        return "Interrupted before a trial of this stack ended, so there is nothing to judge."
    if knee.reason == "failures":
        failed = [trial.error for trial in judgement.trials if trial.error]
        if 2 * len(failed) > len(judgement.trials):
            first, which = brief(failed[0]), "Every trial" if len(failed) == len(judgement.trials) else "Most trials"
            return f"{which} failed, so there is nothing to judge: {first}. Cure that first, then sweep again."
        if not any(trial.requests for trial in judgement.trials):
            return (
                "No request was answered while a trial measured, so there is nothing to judge. Measure for longer than "
                f"an answer takes: --duration {10 * longest_window_s(judgement.plan, judgement.trials):g}."
            )
        told = "; ".join(f"at {size} {why}" for size, why in judgement.failing.items())
        return (
            f"Requests failed at every size, so there is nothing to judge: {told}. Cure that first, then sweep again."
        )
    if knee.reason == "slo":
        told = "; ".join(f"{size} {why}" for size, why in judgement.failing.items())
        return f"No measured size meets {_limits(judgement)} at any rate that was tried: {told}."
    if knee.reason == "generator":
        return (
            "The load generator ran out before the server did: this measures Locust. Give it more processes "
            f"({needs(judgement)}) or a machine of its own."
        )
    if knee.reason == "limit":
        worst = max(judgement.trials, key=lambda trial: (trial.peak_connections or 0) / trial.size)
        return (
            f"This stack does not keep its limit: PostgreSQL saw {worst.peak_connections} connections at size "
            f"{worst.size}. What it carried, it carried with those, so nobody can tell what a size is worth."
        )
    if knee.reason == "sizes":
        if not knee.intervals:
            return "No trial succeeded, so there is nothing to judge. The trials say why."
        ((size, only),) = knee.intervals.items()
        if judgement.failing:
            return (
                f"Only size {size} carries the load without failures ({digits(only.mean)} requests/s), and one point "
                f"has no knee. {_failing(judgement)}{_compare(judgement)}"
            )
        return f"Only size {size} was measured ({digits(only.mean)} requests/s): one point has no knee." + _compare(
            judgement
        )
    best = max(each.mean for each in knee.intervals.values())
    guess = min(size for size, each in knee.intervals.items() if each.mean >= (1 - _margin(judgement)) * best)
    if knee.reason == "repeats":
        return (
            "Each size was measured once, so nobody can tell a difference from luck. Repeat it: "
            f"{needs(judgement)}. At face value {guess} would do ({digits(knee.intervals[guess].mean)} requests/s)."
        )
    advised, most = needs(judgement), planning.MAX_REPEATS
    more = f"More repeats: {advised}" if advised else f"Nor could {most} repeats tell: it takes a wider --margin"
    if knee.reason == "level":
        start = min(knee.plateau)
        return (
            f"From {_slots(start)} on throughput looks level ({knee.intervals[start].text} requests/s), but it may "
            f"as well rise a little with each doubling: repeats differ by {knee.noise.relative:.1%}. {more}."
        )
    if knee.noise.freedom < len(knee.intervals) and knee.noise.relative < 0.03:
        return f"Too few trials were repeated to know how far repeats differ. {more}."
    if knee.restless:
        told = " and ".join(
            f"size {size} differ by {two_digits(100 * n.relative)}%" for size, n in knee.restless.items()
        )
        others = f"those of the others by {two_digits(100 * knee.noise.relative)}%"
        return f"Repeats of {told} (standard deviation), {others}: nobody can tell what it carries. {more}."
    return (
        f"Repeats of one size differ by {two_digits(100 * knee.noise.relative)}% (standard deviation): too much to "
        f"tell {judgement.plan.margin:g}% apart. {more}, {_calmer(judgement, 'on' if advised else 'or')}."
    )


def _calmer(judgement: Judgement, joined: str) -> str:
    """What would make repeats differ less: where users come at random, the machine is the smaller part of it."""
    plan = judgement.plan
    window_s = longest_window_s(plan, judgement.trials)
    by_chance = 1 / math.sqrt(plan.rate * window_s) if plan.rate and plan.poisson else 0.0
    if 2 * by_chance < judgement.knee.noise.relative:
        return f"{joined} a quieter machine"
    percent = two_digits(100 * by_chance)
    return f"or a longer --duration: in {window_s:g} s the arrivals at random differ by {percent}% themselves"


def _has_more(judgement: Judgement) -> bool:
    """Whether sizes are to come that were asked for, as in a sweep that was interrupted."""
    return not set(judgement.plan.sizes) <= {trial.size for trial in judgement.trials}


def _compare(judgement: Judgement) -> str:
    if _has_more(judgement):
        return " The rest of this sweep measures others."
    return f" Compare it with others: {advised}." if (advised := needs(judgement)) else ""


def _smaller(judgement: Judgement) -> str:
    below = judgement.knee.below
    if failing := judgement.failing_below:
        return _fails(judgement, failing)
    if below is None:
        return "no smaller one was measured"
    lost = 1 - judgement.knee.intervals[below].mean / judgement.knee.intervals[judgement.knee.size or below].mean
    if lost < 0.01:
        return f"{below} gives no less ({_rps(judgement, below, unit='')})"
    return f"{below} gives {100 * lost:.0f}% less ({_rps(judgement, below, unit='')})"


def _larger(judgement: Judgement) -> str:
    above, size = judgement.knee.above, judgement.knee.size
    if failing := judgement.failing_above:
        return _fails(judgement, failing)
    if above is None or size is None:
        return "no larger one was measured"
    intervals = judgement.knee.intervals
    gain = intervals[above].mean / intervals[size].mean - 1
    figure = _rps(judgement, above, unit="")
    most = 1 / (1 - _margin(judgement)) - 1  # what a size gains over one that carries less by the margin
    if gain > most:  # by luck, or it would not be called the knee
        mean = fmean(intervals[each].mean for each in judgement.knee.plateau if each > size)
        gain = mean / intervals[size].mean - 1
        told = f"({digits(mean)}, {100 * gain:.0f}%)"
        if gain > most:
            return f"that the larger ones carry more on average {told} may be luck"
        return f"the larger ones hardly more on average {told}"
    if gain < -_margin(judgement):
        return f"{above} already {-100 * gain:.0f}% less ({figure})"
    return f"{above} gives no more ({figure})" if gain < 0.02 else f"{above} hardly more ({figure}, {100 * gain:.0f}%)"


def _rps(judgement: Judgement, size: int | None, unit: str = " requests/s") -> str:
    return f"{judgement.knee.intervals[size].text}{unit}" if size is not None else "-"


def _margin(judgement: Judgement) -> float:
    return judgement.plan.margin / 100


def _slots(size: int | None) -> str:
    return counted(size or 0, "slot")
