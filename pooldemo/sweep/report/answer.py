"""The one sentence that a sweep is run for: which size to use, what it carries, what ended the rise. Pure.

The verdict says it at length, with its reasons; here it is short enough for large type, a list's row and a chart.
"""

import re

from pooldemo.sweep import plan as planning
from pooldemo.sweep.analyse.latency import quantile_ms
from pooldemo.sweep.analyse.saturation import is_users
from pooldemo.sweep.analyse.sizes import carried
from pooldemo.sweep.analyse.statistics import counted, digits
from pooldemo.sweep.facts import Plan, SweepResult, Verdict
from pooldemo.sweep.report.tables import shape_of

ENDED = {
    "generator": "the load generator was full",
    "hub": "a worker's core is full",
    "quota": "the container's CPU quota ran out",
    "steal": "the machine's host gave its CPU to others",
    "neighbour": "another program had the CPU",
    "postgresql-cpu": "PostgreSQL's CPU is full",
    "machine-cpu": "the machine's CPU is full",
    "lock": "a lock inside PostgreSQL is what is waited for",
    "wal": "PostgreSQL's write-ahead log is what is waited for",
    "disk": "PostgreSQL's disk is what is waited for",
    "contention": "PostgreSQL's shared memory is what is waited for",
    "transactions": "transactions that think are what is waited for",
}
"""What ended the rise, by the code of its cause."""

UNKNOWN = {
    "failures": "requests failed at every size",
    "generator": "the load generator ran out before the server did",
    "limit": "this stack opened more connections than it was allowed",
    "slo": "no size meets the SLO at any rate that was tried",
    "sizes": "one size has no knee",
    "repeats": "each size was measured once",
    "noise": "repeats differ too much to tell the sizes apart",
    "level": "it looks level, and may as well rise a little",
}
"""Why nobody can tell, by the code of what made a verdict invalid."""


def headline(sweep: SweepResult) -> str:
    """The answer of the first stack named, which is the one that was asked about; what became of the sweep if it has
    none."""
    if sweep.status == "running":  # also where it goes on, and has a verdict of before
        return "Measuring: the answer comes with the last trial"
    if sweep.verdicts:
        return of_stack(sweep, sweep.verdicts[0])
    if sweep.trials and all(trial.error for trial in sweep.trials):
        return "No answer: every trial failed"
    return _so_far(sweep)


def _so_far(sweep: SweepResult) -> str:
    done, planned = len(sweep.trials), len(planning.order(sweep.plan))
    ended = "failed" if sweep.status == "failed" else f"was {sweep.status}"
    return f"No answer yet: {done} of {planned} trials have ended, then it {ended}"


def unbroken(text: str) -> str:
    """The same for large type: no line ends between a number and its unit, or what it is a number of."""
    return re.sub(r"(?<=\d) (?=(?:ms|s|requests/s|users?|workers?)\b)|(?<=\bp\d\d) (?=\d)", "\N{NO-BREAK SPACE}", text)


def of_stack(sweep: SweepResult, verdict: Verdict) -> str:
    """The same of any of its stacks."""
    if verdict.shape == "invalid":
        own = [trial for trial in sweep.trials if trial.stack == verdict.stack]
        begun = not own or (verdict.cause == "sizes" and not set(sweep.plan.sizes) <= {trial.size for trial in own})
        if begun and sweep.status == "interrupted":
            return _so_far(sweep)
        failed = sum(bool(trial.error) for trial in own)
        if 2 * failed > len(own):
            return f"No answer: {'every trial' if failed == len(own) else 'most trials'} failed"
        if verdict.cause == "failures" and own and not any(trial.requests for trial in own):
            return "No answer: no request was answered while a trial measured"
        met = f"; {verdict.slo.text} is {verdict.slo.state}" if verdict.slo and verdict.checks else ""
        return f"No answer: {UNKNOWN.get(verdict.cause, 'it cannot be told')}{met}"
    if verdict.max_conns is None:
        return "No answer: no measured size fits the connections that PostgreSQL has"
    use, numbers, ended = setting(verdict, sweep.plan), carries(sweep, verdict), reason(sweep.plan, verdict)
    if verdict.shape == "flat":
        said = f"The pool is not the bottleneck: {use} is enough, {numbers}"
    elif verdict.shape == "knee":
        said = f"Use {use}: {numbers}"
    elif asked := _all_asked(verdict, sweep.plan):
        said = f"{use} is enough for {asked}: {numbers}"
    elif end := _end(sweep, verdict):
        said = f"Use {use}: {numbers}; {end}"
    else:
        rises = "It still rises" if verdict.level_from is None else "Nobody can tell yet whether it still rises"
        said = f"{rises} at {use}: {numbers}; measure larger sizes"
    return said + (f"; {ended}" if ended and verdict.shape != "rising" else "") + _slo(verdict)


def _all_asked(verdict: Verdict, plan: Plan) -> str:
    """What was asked for, where throughput rises up to a size that serves all of it; empty: it does not."""
    if verdict.cause == "rate":
        return f"{plan.rate:g} requests/s"
    return counted(plan.users, "user") if is_users(verdict.max_conns or 1, plan.at(verdict.workers)) else ""


def _end(sweep: SweepResult, verdict: Verdict) -> str:
    """Why no larger size helps although throughput rises up to this one; empty: one may."""
    size, conditions = verdict.max_conns or 0, sweep.conditions
    room = conditions.room // verdict.workers
    is_full = "it still rises, and PostgreSQL has no more connections to give"
    if verdict.plateau and max(verdict.plateau) > size:
        return is_full if 0 < room < max(verdict.plateau) else "larger ones do not surely meet the SLO"
    own = [each for each in sweep.trials if (each.stack, each.workers) == (verdict.stack, verdict.workers)]
    if larger := [each for each in own if each.size > size]:
        if any(each.error for each in larger):
            return "at larger ones trials fail"
        if sweep.plan.search:
            return "larger ones miss the SLO"
        return f"at larger ones {'requests fail' if any(each.failures for each in larger) else 'none is answered'}"
    return is_full if 0 < room <= size else ""


def tone(verdict: Verdict) -> str:
    """The shape, by which a page colours it; `missed` where the SLO is not met, which no size is good enough for."""
    return "missed" if verdict.slo is not None and verdict.slo.state == "missed" else verdict.shape


def short(verdict: Verdict, plan: Plan) -> str:
    """A few words for the row of a list, the size first."""
    if verdict.max_conns is None or verdict.shape == "invalid":
        return "no answer"
    missed = ", SLO missed" if tone(verdict) == "missed" else ""
    asked = _all_asked(verdict, plan)
    rising = f", enough for {asked}" if asked else f", {shape_of(verdict)}"
    return setting(verdict, plan) + {"rising": rising, "flat": ", flat"}.get(verdict.shape, "") + missed


def setting(verdict: Verdict, plan: Plan) -> str:
    """What to set, as one reads it: `MAX_CONNS=4`, with the number of workers where several were measured."""
    workers = f"{counted(verdict.workers, 'worker')} with " if plan.splits else ""
    return f"{workers}MAX_CONNS={verdict.max_conns}"


def reason(plan: Plan, verdict: Verdict) -> str:
    """What ended the rise, in a few words; empty where it does not show."""
    if verdict.cause == "users":
        return f"your {counted(plan.users, 'user')} {'is' if plan.users == 1 else 'are'} served at once"
    if verdict.cause == "rate":
        return f"that is all of the {plan.rate:g}/s asked for"
    return ENDED.get(verdict.cause, "")


def carries(sweep: SweepResult, verdict: Verdict) -> str:
    """`130 requests/s, p95 240 ms` at the size that the verdict names: the first as its sentence below says it, which
    leaves out repeats whose requests failed."""
    named = verdict.stack, verdict.workers, verdict.max_conns
    own = [trial for trial in sweep.trials if (trial.stack, trial.workers, trial.size) == named and not trial.error]
    p95 = f", p95 {digits(quantile_ms(own, 'p95_ms'))} ms" if own else ""  # a list has no trials at hand
    return f"{carried(verdict)} requests/s{p95}"


def _slo(verdict: Verdict) -> str:
    if verdict.slo is None or verdict.slo.state == "met":
        return ""
    return f"; {verdict.slo.text} is {verdict.slo.state}"
