"""What the words of the pages mean, in a sentence that needs no other. Pure.

The pages show these texts. docs/design.md has some of the words as well, with the same meaning (a test compares them).
"""

from collections.abc import Iterator, Mapping

from pooldemo.sweep.facts import Plan, SweepResult

_SWEEP: Mapping[str, str] = {
    "slot": "the right to hold one server connection; a pool has MAX_CONNS of them, each empty or holding a connection",
    "size": "MAX_CONNS of one worker process",
    "stack": "one server under test: an application and the way in which it gets connections",
    "trial": "one stack at one size under one load for a fixed time",
    "repeat": "each stack at each size once; a sweep has several repeats",
    "knee": "the smallest size that carries at most {margin} less than the best (--margin): more slots bring nothing",
    "rising": "throughput still grows at the largest size that the load can fill",
    "flat": "more slots change nothing: the pool is not the bottleneck",
    "invalid": "the measurement cannot be trusted; the verdict says why",
    "bottleneck": "what limits the throughput: PostgreSQL's CPU, the worker's core, a lock, the demand ...",
    "bound": "the dashed line: the most that any pool could carry if requests hold their slots for so long",
    "±": "the true value is no farther away, with 95% confidence; so far go the lines above and below a point",
    "p50, p95, p99": "half of the requests, 95 of 100 and 99 of 100 took no longer",
    "wait": "the time in the queue for a slot",
    "hold": "the time from getting a slot to giving it back",
    "efficiency": "the share of the time in which slots are held, which is throughput x mean hold time / slots: 1.0 "
    "means that no slot was ever idle",
    "SLO": "service level objective: the latency and the share of failures that you accept",
    "in doubt": "there are reasons not to trust the number; an exclamation mark stands beside its point",
}

DOUBTS: Mapping[str, str] = {
    "failures": "requests failed; only the others are counted",
    "generator-saturated": "the program that sends the requests was at its limit, so it was measured, not the server",
    "hub-blocked": "a worker's one core was full, so its greenlets had to wait for each other",
    "warmup-skew": "the second half of the window was faster or slower than the first",
    "peak-above-size": "PostgreSQL saw more connections than the size allows",
    "other-load": "another program used the machine's CPU at the same time",
    "stolen": "the host of this virtual machine gave its CPU to others",
    "throttled": "the container's CPU quota ran out",
    "uneven-workers": "one worker was busier than another while requests waited",
    "users-below-slots": "fewer users than slots, so some slots stayed empty",
    "queueing": "requests waited for a slot much longer than they held it, so the latencies tell of the queue",
    "rate-missed": "fewer requests were answered than were asked for",
    "late-arrivals": "requests were sent late, since all users waited for answers",
    "generator-late": "the program that sends the requests sent some late, though users were free",
    "search-stopped": "the program that sends the requests was late, so higher rates were not tried",
    "unaccounted-users": "users were not served yet when the window began, or lost time outside their requests",
    "short-window": "the window was too short for requests of this length",
    "outlier": "one trial is far from the others, and is left out of the verdict",
    "unstable-repeats": "the repeats of a size differ much",
    "drift": "whole repeats differ: the machine was not equally fast all the time",
    "one-repeat": "each size was measured once, so nobody knows how far repeats differ",
    "loaded-before": "the machine was busy before the sweep began",
    "trial-failed": "a trial did not run; it is left out",
}
"""Each reason to doubt a number, by its code."""

COMPARED: Mapping[str, str] = {
    "better, worse": "the change is larger than luck and the margin",
    "same": "no such change was shown, which is not to say that there is none",
    "unknown": "too few repeats to tell",
    "lost": "this size carried requests before, and carries none after",
}

LIVE: Mapping[str, str] = {
    "Active": "connections in use",
    "Idle": "connections that are open and not in use",
    "Pending": "requests that wait for a slot",
    "Max": "slots: so many connections may be open",
    "timeouts": "requests that got no slot in time, since the worker began",
    "errors": "requests that got no connection, whatever the reason; timeouts are counted here too",
    "wait": _SWEEP["wait"],
    "hold": _SWEEP["hold"],
    "p50, p95, p99": _SWEEP["p50, p95, p99"],
    "without work": "seconds in which requests of the view held a slot and asked PostgreSQL for nothing",
}


def of_plans(*plans: Plan) -> dict[str, str]:
    """Those that each page of sweeps has, with the margins of these."""
    margin = " or ".join(f"{each:g}%" for each in sorted({plan.margin for plan in plans}))
    return {word: meaning.format(margin=margin) for word, meaning in _SWEEP.items()}


def of_sweep(sweep: SweepResult) -> Iterator[tuple[str, str]]:
    """Those of its page, and of the doubts those that there are."""
    yield from of_plans(sweep.plan).items()
    warnings = (*(each.warnings for each in sweep.trials), *(each.warnings for each in sweep.verdicts))
    found = {each.code for some in warnings for each in some}
    yield from ((code, meaning) for code, meaning in DOUBTS.items() if code in found)
