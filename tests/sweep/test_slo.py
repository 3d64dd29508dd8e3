"""An SLO is read as typed or refused with what is accepted, and held against all repeats of a size."""

import pytest

from pooldemo.sweep.analyse.slo import describe_check, describe_limit, describe_value, parse_slo, typed
from pooldemo.sweep.facts import Check, Limit


def test_it_reads_latencies_and_errors():
    assert parse_slo("p95=300,errors=0.1%") == (Limit("p95", 300), Limit("errors", pytest.approx(0.001)))
    assert parse_slo(" p50 = 20ms , p99=1.5s, max=2s ") == (Limit("p50", 20), Limit("p99", 1500), Limit("max", 2000))
    assert parse_slo("") == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("p90=300", "'p90=300' is no clause; accepted are p50, p95, p99, max"),
        ("p95", "'p95' is no clause"),
        ("p95=fast", "no number of 0 or more"),
        ("p95=-1", "no number of 0 or more"),
        ("p95=1e300", "is longer than any answer takes"),
        ("max=1e7s", "is longer than any answer takes"),
        ("p95=nan", "no number of 0 or more"),
        ("errors=0.001", "needs a percent sign, as in errors=0.1%"),
        ("errors=101%", "more than all requests"),
        ("p95=1,p95=2", "p95 is given twice"),
    ],
)
def test_it_refuses_what_it_cannot_read_and_says_what_is_accepted(text, said):
    with pytest.raises(ValueError, match="--slo: ") as refused:
        parse_slo(text)
    assert said in str(refused.value)


def test_it_prints_limits_with_their_units():
    assert [describe_limit(each) for each in parse_slo("p95=1.5s,errors=0.1%")] == ["p95 <= 1,500 ms", "errors <= 0.1%"]
    assert describe_value("p95", None) == "-"


def test_it_prints_what_was_seen_with_its_interval_and_says_when_no_answer_came():
    limit = Limit("p95", 300)
    assert describe_check(Check(limit, 296.4, "met", 280.0, 313.0)) == "296 ms, 280 ms to 313 ms"
    assert describe_check(Check(limit, 296.4, "met")) == describe_check(Check(limit, 296.4, "met", 280.0)) == "296 ms"
    assert [describe_check(Check(limit, None, state)) for state in ("missed", "undecided")] == ["no answer", "-"]
    assert describe_check(Check(Limit("errors", 0.001), 0.0004, "met", 0.0001, 0.0009)) == "0.04%, 0.01% to 0.09%"


def test_it_types_limits_as_they_are_read():
    for text in ("p95=1500,max=20,errors=0.1%", "p95=1234.567,max=3600000"):
        assert typed(parse_slo(text)) == text
    assert typed(parse_slo("p95=1.5s")) == "p95=1500"
