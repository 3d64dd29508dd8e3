"""Whether a size meets the SLO: each clause a test with three ends, met, missed or undecided. Pure.

What was measured lies beside its limit by luck as well: a size whose p95 is 2% too long looks short enough in every
third sweep. So a clause is met when the whole of its 95% interval keeps the limit, missed when none of it does, and
else undecided. Of several sizes that are tried the luckiest is found, so they share the 5% of doubt (Bonferroni).

A percentile needs requests: with fewer than log(0.05) / log(share) not even the slowest is surely above it (Wilks
1941): 5 for p50, 59 for p95, 299 for p99. Failed requests count as answers that never came. `max`, and `errors=0%`,
are of what was seen: nobody can promise them of other days.
"""

import math
from collections.abc import Sequence
from functools import cached_property
from statistics import NormalDist, fmean

from pooldemo.sweep.analyse.latency import FEW, SHARES, Spread, quantile_ms
from pooldemo.sweep.analyse.rules import falls_behind, longest_window_s, served_once_s
from pooldemo.sweep.analyse.slo import failed_share
from pooldemo.sweep.analyse.statistics import CONFIDENCE
from pooldemo.sweep.facts import Check, Plan, TrialResult
from pooldemo.sweep.plan import MAX_DURATION_S, MAX_REPEATS, MAX_USERS, MAX_WARMUP_S, repeats_of

DOUBT = 1 - CONFIDENCE


class Objective:
    """The SLO of a plan, held against the sizes of one stack. `trials` ran, all of that stack; where these do not
    decide it, it asks for no fewer repeats than `least`."""

    def __init__(self, plan: Plan, trials: Sequence[TrialResult], least: int = 0) -> None:
        self._plan, self._least = plan, least
        self._trials: dict[int, list[TrialResult]] = {}
        for trial in trials:
            self._trials.setdefault(trial.size, []).append(trial)
        self._spreads = {
            f"{limit.metric}_ms": Spread(trials, f"{limit.metric}_ms")
            for limit in plan.slo
            if limit.metric not in ("errors", "max")
        }

    @cached_property
    def _among(self) -> int:
        """Sizes that might meet it: as many tries has luck."""
        return max(1, sum(state_of(self._checks(size, DOUBT)) != "missed" for size in self._trials))

    def checks(self, size: int) -> tuple[Check, ...]:
        """Every clause of the SLO, held against `size`."""
        return self._checks(size, DOUBT / self._among)

    def state(self, size: int) -> str:
        return state_of(self.checks(size))

    def needs(self, size: int) -> str:
        """The options with which the first clause that is undecided at `size` would be decided; empty: none is, or
        another one is missed."""
        return self._needs(size, check)[0] if (check := self._open(size)) else ""

    def why(self, size: int) -> str:
        """Why that clause is undecided, where its interval does not show it; empty: it does."""
        return self._needs(size, check)[1] if (check := self._open(size)) else ""

    def _open(self, size: int) -> Check | None:
        checks = self.checks(size)
        return next((check for check in checks if state_of(checks) == check.state == "undecided"), None)

    def _checks(self, size: int, doubt: float) -> tuple[Check, ...]:
        trials = self._trials.get(size, [])
        return tuple(
            _errors(limit.at_most, Check(limit, None, "undecided"), trials, doubt)
            if limit.metric == "errors"
            else self._latency(Check(limit, None, "undecided"), trials, size, doubt)
            for limit in self._plan.slo
        )

    def _latency(self, check: Check, trials: Sequence[TrialResult], size: int, doubt: float) -> Check:
        metric, at_most = f"{check.limit.metric}_ms", check.limit.at_most
        seen = quantile_ms(trials, metric, failures_count=True)
        if seen is None:
            return check
        if math.isinf(seen):
            return Check(check.limit, None, "missed")
        if metric == "max_ms":
            state = "missed" if seen > at_most else "met"
            return Check(check.limit, seen, self._unless_late(state, trials))
        spread, above, sure = self._spreads[metric], _ratio(seen, at_most), _sure(doubt)
        half = spread.half_width(size, sure)
        few = -above >= half and _few_above(trials, metric, at_most, doubt)
        state = "missed" if above > half else "met" if few else "undecided"
        return Check(check.limit, seen, self._unless_late(state, trials), *spread.interval(size, seen, sure))

    def _unless_late(self, state: str, trials: Sequence[TrialResult]) -> str:
        """Where less was carried than came, the line grows, and so would each latency. Older sweeps fed a rate by a
        closed loop: it sent late what a stall held up, and missed the waits. Short enough or not, nobody can tell,
        unless each user was in time for its next request. Nor where a closed loop was looked at before its line had its
        length."""
        rate, users = self._plan.rate, self._plan.users
        if state == "met" and self._served_once_s(trials):
            return "undecided"
        if state != "met" or rate is None:
            return state
        seconds = sum(each.window_s for each in trials)
        late = any(each.late_p95_ms is None and (each.max_ms or 0) > 1000 * users / rate for each in trials)
        behind = falls_behind(fmean(each.rps for each in trials), rate, seconds, at_random=self._plan.poisson)
        return "undecided" if late or behind else state

    def _served_once_s(self, trials: Sequence[TrialResult]) -> float:
        """How long it takes to serve each user once, where a window began before; 0: none did."""
        return max((served_once_s(each, self._plan) or 0.0 for each in trials), default=0.0)

    def _needs(self, size: int, check: Check) -> tuple[str, str]:
        """The options that would decide it, and why it is undecided where its interval does not show that."""
        plan, trials, metric = self._plan, self._trials.get(size, []), f"{check.limit.metric}_ms"
        requests = sum(each.requests for each in trials)
        repeats, doubt = len(trials), DOUBT / self._among
        if check.seen is None:
            return "", ""
        if check.limit.metric == "errors":
            at_most = check.limit.at_most
            least = math.log(doubt) / math.log1p(-at_most) if 0 < at_most < 1 else requests
            return self._more(least / requests, trials) if least > requests else self._repeats(2 * repeats), ""
        if cycle_s := self._served_once_s(trials):
            needed = math.ceil(1.2 * cycle_s)
            option = f"--warmup {needed}" if needed <= MAX_WARMUP_S else f"--users {max(1, plan.users // 2)}"
            return option, "the window began before each user had been served"
        few = f"{requests:,} requests are too few to tell"
        if metric != "max_ms" and requests < least_requests(metric):
            return self._more(least_requests(metric) / requests, trials), few
        half = self._spreads[metric].half_width(size, _sure(doubt)) if metric in self._spreads else 0.0
        if math.isinf(half):
            return self._repeats(max(FEW, repeats + 1)), "it was not repeated"
        gap = abs(_ratio(check.seen, check.limit.at_most)) if check.seen else 0.0
        if metric != "max_ms" and half <= gap and not _few_above(trials, metric, check.limit.at_most, doubt):
            return self._more(2.0, trials), few
        if half <= gap:
            option = f"--users {2 * plan.users}" if 2 * plan.users <= MAX_USERS else ""
            return option, "requests were sent late, or answered more slowly than they came"
        return self._repeats(max(self._spreads[metric].repeats_for(size, _sure(doubt), gap), repeats + 1)), ""

    def _more(self, times: float, trials: Sequence[TrialResult]) -> str:
        """So many times the requests, by longer trials, or by more of them where none may last so long; empty: by no
        option that there is."""
        times *= 1.1
        needed_s = times * longest_window_s(self._plan, trials)
        return (
            f"--duration {math.ceil(needed_s)}"
            if needed_s <= MAX_DURATION_S
            else self._repeats(math.ceil(times * len(trials)))
        )

    def _repeats(self, needed: int) -> str:
        """No fewer than were planned: a sweep that was interrupted has not had these yet. Empty: no more may be."""
        needed = max(needed, repeats_of(self._plan), self._least)
        return f"--repeats {needed}" if needed <= MAX_REPEATS else ""


def state_of(checks: Sequence[Check]) -> str:
    """Of the whole SLO: missed when one clause is, met when all are."""
    states = {check.state for check in checks}
    return "missed" if "missed" in states else "undecided" if "undecided" in states else "met"


def least_requests(metric: str) -> int:
    """So many requests it takes before one of them lies above the percentile with 95% confidence."""
    return math.ceil(math.log(DOUBT) / math.log(SHARES[metric]))


def _few_above(trials: Sequence[TrialResult], metric: str, at_most: float, doubt: float) -> bool:
    """Whether no more requests than the percentile leaves out take longer than the limit: of some dozens hardly the
    slowest tells, and percentiles of few lie too low."""
    requests = sum(each.requests for each in trials)
    if requests < least_requests(metric):
        return False
    if not all(each.latencies for each in trials if each.requests > each.failures):
        return True  # another program's, which tells no more
    over = [(each.failures + sum(n for ms, n in each.latencies if ms > at_most), each.requests) for each in trials]
    return share_bounds(over, 1 - doubt, burst=1.0)[1] <= 1 - SHARES[metric] + 1e-9


def _sure(doubt: float) -> float:
    """How sure each end of an interval is, that both together leave 5% of doubt and each of them no more than this."""
    return 1 - min(doubt, DOUBT / 2)


def _ratio(seen: float, at_most: float) -> float:
    """How far `seen` lies above the limit, as a logarithm; a microsecond is as little as there is."""
    return math.log(max(seen, 0.001) / max(at_most, 0.001))


def _errors(at_most: float, check: Check, trials: Sequence[TrialResult], doubt: float) -> Check:
    seen = failed_share(trials)
    if seen is None:
        return check
    if at_most in (0, 1):
        return Check(check.limit, seen, "met" if seen <= at_most else "missed")
    counts = [(each.failures, each.requests) for each in trials]
    low, high = share_bounds(counts, _sure(doubt) if seen else 1 - doubt)  # of none the lower end is no guess
    state = "missed" if low > at_most else "met" if high <= at_most else "undecided"
    return Check(check.limit, seen, state, low, high)


def bursts(counts: Sequence[tuple[int, int]]) -> tuple[float, int]:
    """Pearson's chi-squared of the failures of each repeat, and its degrees of freedom; (0, 0) where nothing failed."""
    failed, requests = (sum(column) for column in zip(*counts, strict=True))
    if not 0 < failed < requests:
        return 0.0, 0
    share = failed / requests
    return sum((bad - of * share) ** 2 / (of * share * (1 - share)) for bad, of in counts if of), len(counts) - 1


def share_bounds(
    counts: Sequence[tuple[int, int]], probability: float, burst: float | None = None
) -> tuple[float, float]:
    """Below and above which the share of failures lies with this probability each, from (failed, of so many requests)
    of each repeat: Wilson 1927; none seen: exact.

    Failures come in bursts, so that repeats differ by more than chance: as often as they do, fewer requests count
    (Pearson's chi-squared over its degrees of freedom; `burst`, where more than these repeats tell of it).
    """
    failed, requests = (sum(column) for column in zip(*counts, strict=True))
    if not requests:
        return 0.0, 1.0
    share = failed / requests
    if not failed:
        return 0.0, 1 - (1 - probability) ** (max(1.0, burst or 1.0) / requests)
    variance = share * (1 - share)
    squares, freedom = bursts(counts)
    count = requests / max(1.0, squares / max(1, freedom) if burst is None else burst)
    z = NormalDist().inv_cdf(probability)
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(variance / count + (z / (2 * count)) ** 2) / (1 + z * z / count)
    return max(0.0, middle - half), min(1.0, middle + half)
