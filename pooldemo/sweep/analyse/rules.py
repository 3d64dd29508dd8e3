"""The rules of doubt: each looks at one trial and says what makes its number doubtful and what to do, or nothing. Pure.

`warnings` puts what they say into sentences, for a trial and for a whole stack.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from pooldemo.sweep.analyse.doubt import Doubt, Number, cores, count, number, percent
from pooldemo.sweep.analyse.slo import failed_share
from pooldemo.sweep.analyse.statistics import counted, digits, first_against_second_half, two_digits
from pooldemo.sweep.facts import Plan, TrialResult
from pooldemo.sweep.plan import MOST_LAST_S, last_s, warmup_s, window_s

BUSY_CPU = 0.9
"""Cores from which one process counts as saturated: Locust's own threshold for its generator."""

SKEW = 0.10
"""The second half of a window may differ from the first by this before the warm-up counts as too short."""

OTHER_CPU = 0.25
"""Cores that anything else may use during a window."""

STOLEN = 0.1
"""Cores that the machine's host may give to others."""

THROTTLED = 0.1
"""Share of the periods in which a container's quota may run out."""

BEHIND = 0.95
"""Less than this share of a rate carried, beyond chance: the server falls behind."""

LATE_MS = 10.0
"""How late a request of an open loop may be sent, where that is not more than 5% of its response."""

UNEVEN = 0.15
"""By how much the efficiencies of two workers may differ while requests wait."""

UNACCOUNTED = 0.05
"""Share of the users that Little's law may miss."""

NOT_YET = 0.9
"""Less than this share of the users under way: not each of them has been served yet."""

FULL = 0.9
"""The share of the time that slots are held from which the rest of a response is the wait for one."""

HIDDEN_BY_QUEUE = 3.0
"""Wait in units of hold from which a latency tells of the queue and not of the query."""

Rule = Callable[[TrialResult, Plan], Doubt | None]


def failures(trial: TrialResult, _plan: Plan) -> Doubt | None:
    if not trial.failures:
        return None
    worst = max(trial.failures_by_message.items(), key=lambda each: each[1], default=("", 0))[0]
    share = failed_share([trial])
    told = (" failed (", Number(share, f"{two_digits(100 * share)}%"), ")") if share else (" failed",)
    return Doubt(
        (count(trial.failures, "request"), *told, f": {worst}" if worst else ""),
        "only successes are counted, and failing fast makes room for them: cure the failures first",
    )


def generator_saturated(trial: TrialResult, plan: Plan) -> Doubt | None:
    if trial.generator_cpu is None or trial.generator_cpu < BUSY_CPU:
        return None
    return Doubt(
        ("the load generator used ", percent(trial.generator_cpu), " of a core: it was measured, not the server"),
        f"spread it with --processes {plan.processes + 1}, or run it on another machine",
    )


def hub_blocked(trial: TrialResult, plan: Plan) -> Doubt | None:
    if trial.worker_cpu is None or trial.worker_cpu < BUSY_CPU:
        return None
    return Doubt(
        (
            "a worker used ",
            percent(trial.worker_cpu),
            " of a core: its one thread runs all greenlets and has no time left",
        ),
        f"no pool size helps here; add workers (--workers {plan.workers + 1}) or do less in Python",
    )


def warmup_skew(trial: TrialResult, plan: Plan) -> Doubt | None:
    total = sum(trial.per_second)
    skew = first_against_second_half(trial.per_second)
    # Chance alone moves the halves by 2/sqrt(total) (Poisson); equal requests come in waves, and so do counts.
    wave = min(trial.size * plan.workers, plan.users)
    by_chance = (6 * math.sqrt(total) + 2 * wave) / total if total else math.inf
    if abs(skew) <= max(SKEW, by_chance):
        return None
    return Doubt(
        (
            "the second half of the window answered ",
            percent(abs(skew)),
            f" {'more' if skew > 0 else 'less'} than the first",
        ),
        f"not yet steady: warm up longer (--warmup {math.ceil(2 * max(_longest(warmup_s, plan), 1))})",
    )


def peak_above_size(trial: TrialResult, plan: Plan) -> Doubt | None:
    allowed = trial.size * plan.workers
    if not trial.capped or trial.peak_connections is None or trial.peak_connections <= allowed:
        return None
    return Doubt(
        ("PostgreSQL saw ", count(trial.peak_connections, "connection"), " where ", count(allowed), " may be open"),
        "this stack opens more connections than its size allows, so it cannot be compared with one that does not",
    )


def other_load(trial: TrialResult, _plan: Plan) -> Doubt | None:
    if trial.other_cpu is None or trial.other_cpu < OTHER_CPU:
        return None
    return Doubt(
        ("something else on the machine used ", cores(trial.other_cpu, "core"), " meanwhile"),
        "stop it and sweep again; top shows what it is",
    )


def stolen(trial: TrialResult, _plan: Plan) -> Doubt | None:
    if trial.steal_cpu is None or trial.steal_cpu < STOLEN:
        return None
    return Doubt(
        ("the host of this machine gave ", cores(trial.steal_cpu), " of its cores to others meanwhile"),
        "sweep when its other guests are quiet, or on a machine of its own",
    )


def throttled(trial: TrialResult, _plan: Plan) -> Doubt | None:
    if not trial.throttled or trial.throttled < THROTTLED:
        return None
    return Doubt(
        ("the container's CPU quota ran out in ", percent(trial.throttled), " of its periods"),
        "give it more CPU (docker run --cpus), or read the verdict as that of this quota",
    )


def uneven_workers(trial: TrialResult, _plan: Plan) -> Doubt | None:
    waited = trial.wait_mean_ms and trial.wait_mean_ms > 0.1 * (trial.hold_mean_ms or 0.0)
    if not trial.uneven or trial.uneven < UNEVEN or not waited:
        return None
    return Doubt(
        (
            "one worker's slots were held ",
            percent(trial.uneven),
            " more of the time than another's, while requests waited",
        ),
        "a connection stays with the worker that accepted it: more --users spread them; on a site that runs already, "
        "gunicorn --reuse-port",
    )


def users_below_slots(trial: TrialResult, plan: Plan) -> Doubt | None:
    slots = trial.size * plan.workers
    if plan.users >= slots:
        return None
    return Doubt(
        (f"{counted(plan.users, 'user')} cannot fill ", count(slots, "slot")),
        f"slots beyond the users stay empty whatever the pool does: --users {2 * slots}",
    )


def queueing(trial: TrialResult, _plan: Plan) -> Doubt | None:
    if not trial.wait_mean_ms or not trial.hold_mean_ms or trial.wait_mean_ms < HIDDEN_BY_QUEUE * trial.hold_mean_ms:
        return None
    return Doubt(
        (
            "requests waited ",
            number(trial.wait_mean_ms),
            " ms for a slot that they held ",
            number(trial.hold_mean_ms),
            " ms",
        ),
        "the latencies tell of the queue, not of the query: look at query_ms, or drive it with fewer --users",
    )


def falls_behind(rps: float, rate: float, seconds: float, *, at_random: bool) -> bool:
    """Whether less of a rate was carried than came in so many seconds: a longer window would miss any limit."""
    chance = 2 * math.sqrt(rate / seconds) if at_random and seconds else 0.0
    return rps < BEHIND * rate - chance


def rate_missed(trial: TrialResult, plan: Plan) -> Doubt | None:
    rate = trial.target_rps
    if trial.steps:  # a search says itself what was missed; where no rate met the SLO its 0 is not what was answered
        return None
    if rate is None or not falls_behind(trial.rps, rate, trial.window_s, at_random=plan.poisson):
        return None
    return Doubt(
        (number(trial.rps), f" of the {digits(rate)} requests/s that were asked for were answered"),
        "the server or the users ran out; raise --users to tell which, or lower the rate",
    )


def _late_ms(trial: TrialResult) -> float:
    """How late requests of an open loop were sent, where that matters."""
    late_ms = trial.late_p95_ms or 0.0
    return late_ms if late_ms >= max(LATE_MS, 0.05 * (trial.p95_ms or 0.0)) else 0.0


def _users_were_free(trial: TrialResult, plan: Plan) -> bool:
    """Whether fewer requests than users were due while the slowest one was under way: then no request waited for a
    user. Chance makes them 4 standard deviations more (Poisson). The times of those that failed are not known."""
    due = (trial.target_rps or 0.0) * (trial.max_ms or 0.0) / 1000
    return 0 < due + 4 * math.sqrt(due) < plan.users and not trial.failures


def generator_late(trial: TrialResult, plan: Plan) -> Doubt | None:
    if not _late_ms(trial) or not _users_were_free(trial, plan):
        return None
    return Doubt(
        (
            "the load generator sent requests ",
            number(_late_ms(trial)),
            " ms late (p95), and users were free: it stood still, or had no CPU",
        ),
        f"sweep again; where it stays, spread it with --processes {plan.processes + 1}, or run it on another machine",
    )


def late_arrivals(trial: TrialResult, plan: Plan) -> Doubt | None:
    if not _late_ms(trial) or _users_were_free(trial, plan):
        return None
    return Doubt(
        (
            "requests were sent ",
            number(_late_ms(trial)),
            f" ms late (p95): {'all ' if plan.users > 1 else ''}{counted(plan.users, 'user')} waited for answers",
        ),
        "their response times count from when they were due; more --users keep more of them under way",
    )


def generator_stopped(trial: TrialResult) -> float | None:
    """The rate at which a search ended because Locust had no time left; None: it did not."""
    missed = [step for step in trial.steps if step.missed and step.rate is not None]
    lowest = min(missed, key=lambda step: step.rate or 0.0, default=None)
    return lowest.rate if lowest and lowest.missed == "generator" else None


def search_stopped(trial: TrialResult, plan: Plan) -> Doubt | None:
    rate = generator_stopped(trial)
    if rate is None:
        return None
    return Doubt(
        ("the load generator was late at ", number(rate), " requests/s: what the server meets above is not known"),
        f"spread it with --processes {plan.processes + 1}, or run it on another machine",
    )


def served_once_s(trial: TrialResult, plan: Plan) -> float | None:
    """How long it takes to serve each user of a closed loop once, where the window began before that was done: the line
    has not its length yet, and answers come faster than they will. None: it began in time, or is another loop."""
    if plan.rate is not None or trial.target_rps is not None or plan.locustfile or not trial.rps or not trial.mean_ms:
        return None
    answered = trial.requests - trial.failures
    under_way = trial.rps * trial.mean_ms / 1000 * (trial.requests / answered if answered else 1)
    cycle_s = plan.users / trial.rps
    return cycle_s if under_way < NOT_YET * plan.users and cycle_s > warmup_s(plan, trial.size) else None


def unaccounted_users(trial: TrialResult, plan: Plan) -> Doubt | None:
    if (cycle_s := served_once_s(trial, plan)) is not None:
        longer_s = math.ceil(max(1.2 * cycle_s, _longest(warmup_s, plan)))
        return Doubt(
            (
                "the window began before each user had been served, which takes ",
                number(cycle_s),
                " s: the latencies are shorter than they will be",
            ),
            f"warm up longer (--warmup {longer_s}), or take fewer --users",
        )
    if trial.little_residual is None or trial.little_residual <= UNACCOUNTED or trial.failures or plan.rate is not None:
        return None
    if plan.locustfile:  # its users may pause as long as they like
        return None
    if short_window(trial, plan):
        return None
    return Doubt(
        ("throughput x response time accounts for all but ", percent(trial.little_residual), " of the users"),
        "users lose time outside their requests: the generator is slow, or the window too short for the response",
    )


def short_window(trial: TrialResult, plan: Plan) -> Doubt | None:
    """Shorter than five services, or than one response.

    A request belongs to a window by the share of its service (the response without the wait for a slot) that lies
    inside. In a saturated closed loop nearly all of a response is wait: a slot serves many requests during one, and
    throughput is right in a much shorter window. The latencies want each user once, which is one response. Where the
    wait is not told, a service is a hold if the slots are always held: the rest is wait. Else it may be the whole
    response.

    Pages whose answers last for longer than the load goes on behind the window are counted as they end, and they end in
    waves: 5 s hold five or six of 0.9 s. Twenty tell it to 5%; five answers do where the load goes on for one.
    """
    if not trial.mean_ms or not trial.window_s:
        return None
    wait_ms, hold_ms, p95_ms = trial.wait_mean_ms, trial.hold_mean_ms, trial.p95_ms or trial.mean_ms
    served_ms = max(0.0, trial.mean_ms - (wait_ms or 0.0))
    if wait_ms is None and hold_ms is not None and (trial.efficiency or 0.0) >= FULL:
        served_ms = hold_ms
    after_s = last_s(replace(plan, duration_s=trial.window_s), trial.size, hold_ms)
    in_waves = bool(plan.urls) and wait_ms is None and p95_ms > 1000 * after_s
    times, word = (20, "twenty") if in_waves else (5, "five")
    needed_ms, what = times * served_ms, (f"{word} times the ", number(served_ms), " ms that a request is served")
    if served_ms == trial.mean_ms:
        what = (f"{word} responses of ", number(trial.mean_ms), " ms")
    if in_waves and 5 * p95_ms < min(needed_ms, 5000 * MOST_LAST_S):
        needed_ms, what = 5 * p95_ms, ("five responses of ", number(p95_ms), " ms")
    if needed_ms < trial.mean_ms:
        needed_ms, what = trial.mean_ms, ("one response of ", number(trial.mean_ms), " ms")
    if trial.window_s * 1000 >= needed_ms:
        return None
    return Doubt(
        ("the window of ", Number(trial.window_s, f"{trial.window_s:g}"), " s is shorter than ", *what),
        f"measure longer: --duration {math.ceil(max(needed_ms / 500, _longest(window_s, plan))):g}",
    )


def _longest(seconds: Callable[[Plan, int], float], plan: Plan) -> float:
    """What the trials of any size have already: an option is for all of them."""
    return max(seconds(plan, size) for size in plan.sizes)


def longest_window_s(plan: Plan, trials: Sequence[TrialResult]) -> float:
    """Those of the trials, where they were longer than the plan's least."""
    return max([plan.duration_s, *(each.window_s for each in trials)])


RULES: dict[str, Rule] = {
    "failures": failures,
    "generator-saturated": generator_saturated,
    "hub-blocked": hub_blocked,
    "warmup-skew": warmup_skew,
    "peak-above-size": peak_above_size,
    "other-load": other_load,
    "stolen": stolen,
    "throttled": throttled,
    "uneven-workers": uneven_workers,
    "users-below-slots": users_below_slots,
    "queueing": queueing,
    "rate-missed": rate_missed,
    "late-arrivals": late_arrivals,
    "generator-late": generator_late,
    "search-stopped": search_stopped,
    "unaccounted-users": unaccounted_users,
    "short-window": short_window,
}
"""Every rule by its code. A code is a promise to programs: it does not change."""
