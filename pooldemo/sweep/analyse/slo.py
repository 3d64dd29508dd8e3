"""A service level objective as text: `p95=300,errors=0.1%` in, clauses out, and back. Pure.

Whether a size meets it is tested in `objective`.
"""

import math
from collections.abc import Iterable, Sequence

from pooldemo.sweep.analyse.statistics import digits
from pooldemo.sweep.facts import Check, Limit, TrialResult

METRICS = ("p50", "p95", "p99", "max", "errors")
"""What can be limited: latencies in milliseconds, `errors` as a share of the requests."""

LONGEST_MS = 1e9
"""Days: a document does not take any number."""

TICKS = {"met": "✓", "missed": "✗", "undecided": "?"}
"""How a clause's state looks."""

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


def typed(limits: Iterable[Limit]) -> str:
    """The clauses as somebody would type them: what `parse_slo` reads."""
    return ",".join(
        f"{each.metric}={100 * each.at_most:.10g}%" if each.metric == "errors" else f"{each.metric}={each.at_most:.10g}"
        for each in limits
    )


def describe_limit(limit: Limit) -> str:
    """`p95 <= 300 ms`, `errors <= 0.1%`: to the digit, as it was asked for."""
    value = f"{100 * limit.at_most:.10g}%" if limit.metric == "errors" else f"{limit.at_most:,.10g} ms"
    return f"{limit.metric} <= {value}"


def describe_value(metric: str, value: float | None) -> str:
    """What was seen of this metric, with its unit; a dash for None."""
    if value is None:
        return "-"
    return f"{digits(100 * value)}%" if metric == "errors" else f"{digits(value)} ms"


def describe_check(check: Check) -> str:
    """What was seen, with its interval: `296 ms, 280 ms to 313 ms`; a dash where nobody can say."""
    metric = check.limit.metric
    if check.seen is None:
        return "no answer" if check.state == "missed" else "-"
    seen = describe_value(metric, check.seen)
    if check.low is None or check.high is None:
        return seen
    return f"{seen}, {describe_value(metric, check.low)} to {describe_value(metric, check.high)}"


def failed_share(trials: Sequence[TrialResult]) -> float | None:
    """The share of all requests that failed; None when there was none."""
    requests = sum(trial.requests for trial in trials)
    return sum(trial.failures for trial in trials) / requests if requests else None


def _share(clause: str, value: str) -> float:
    if not value.endswith("%"):
        raise ValueError(f"--slo: {clause!r} needs a percent sign, as in errors=0.1%; {ACCEPTED}")
    percent = _number(clause, value.removesuffix("%"))
    if percent > 100:
        raise ValueError(f"--slo: {clause!r} is more than all requests; give 0% to 100%")
    return percent / 100


def _milliseconds(clause: str, value: str) -> float:
    if value.endswith("ms"):
        found = _number(clause, value.removesuffix("ms"))
    else:
        found = 1000 * _number(clause, value.removesuffix("s")) if value.endswith("s") else _number(clause, value)
    if found > LONGEST_MS:
        raise ValueError(f"--slo: {clause!r} is longer than any answer takes; {ACCEPTED}")
    return found


def _number(clause: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"--slo: {clause!r} has no number of 0 or more after the =; {ACCEPTED}")
    return number
