"""A service level objective: `p95=300,errors=0.1%` in, clauses out, and whether a size meets them. Pure."""

import math
from collections.abc import Sequence
from statistics import fmean

from pooldemo.sweep.facts import Check, Limit, TrialResult

METRICS = ("p50", "p95", "p99", "max", "errors")
"""What can be limited: latencies in milliseconds, `errors` as a share of the requests."""

ACCEPTED = "accepted are p50, p95, p99, max (milliseconds) and errors (percent), as in p95=300,errors=0.1%"


def parse_slo(text: str) -> tuple[Limit, ...]:
    """The clauses of an SLO as typed: `p95=300`, `p95=300ms`, `p99=1.5s`, `errors=0.1%`, joined by commas.

    Raises ValueError with what was given and what is accepted. An empty text has no clauses.
    """
    limits: dict[str, Limit] = {}
    for clause in filter(None, (each.strip() for each in text.split(","))):
        name, equals, value = (each.strip() for each in clause.partition("="))
        if name not in METRICS or not equals:
            raise ValueError(f"--slo: {clause!r} is no clause; {ACCEPTED}")
        if name in limits:
            raise ValueError(f"--slo: {name} is given twice in {text!r}; give each limit once")
        limits[name] = Limit(name, _share(clause, value) if name == "errors" else _milliseconds(clause, value))
    return tuple(limits.values())


def check_slo(limits: Sequence[Limit], trials: Sequence[TrialResult]) -> tuple[Check, ...]:
    """Each clause held against the repeats of one size: the mean of their percentiles, the share of all their
    requests."""
    checks = []
    for limit in limits:
        seen = _seen(limit.metric, trials)
        checks.append(Check(limit, seen, seen is not None and seen <= limit.at_most))
    return tuple(checks)


def describe_limit(limit: Limit) -> str:
    """`p95 <= 300 ms`, `errors <= 0.1%`."""
    return f"{limit.metric} <= {describe_value(limit.metric, limit.at_most)}"


def describe_value(metric: str, value: float | None) -> str:
    """A value of this metric with its unit; a dash for None."""
    if value is None:
        return "-"
    return f"{100 * value:.3g}%" if metric == "errors" else f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"


def failed_share(trials: Sequence[TrialResult]) -> float | None:
    """The share of all requests that failed; None when there was none."""
    requests = sum(trial.requests for trial in trials)
    return sum(trial.failures for trial in trials) / requests if requests else None


def _seen(metric: str, trials: Sequence[TrialResult]) -> float | None:
    if metric == "errors":
        return failed_share(trials)
    values = [value for trial in trials if (value := getattr(trial, f"{metric}_ms")) is not None]
    if not values:
        return None
    return max(values) if metric == "max" else fmean(values)


def _share(clause: str, value: str) -> float:
    if not value.endswith("%"):
        raise ValueError(f"--slo: {clause!r} needs a percent sign, as in errors=0.1%; {ACCEPTED}")
    percent = _number(clause, value.removesuffix("%"))
    if percent > 100:
        raise ValueError(f"--slo: {clause!r} is more than all requests; give 0% to 100%")
    return percent / 100


def _milliseconds(clause: str, value: str) -> float:
    if value.endswith("ms"):
        return _number(clause, value.removesuffix("ms"))
    return 1000 * _number(clause, value.removesuffix("s")) if value.endswith("s") else _number(clause, value)


def _number(clause: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"--slo: {clause!r} has no number of 0 or more after the =; {ACCEPTED}")
    return number
