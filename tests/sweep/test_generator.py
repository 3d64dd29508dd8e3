"""What the load generator knows beside Locust."""

from argparse import Namespace

import pytest

from pooldemo.sweep.generator import THEIRS
from pooldemo.sweep.generator.options import LENGTHS, WORKLOADS, Load, deal, load_of
from pooldemo.sweep.generator.timeline import Timeline


def test_a_load_deals_a_mix_in_the_exact_shares() -> None:
    count = sum(each.weight for each in WORKLOADS)
    mix = deal(WORKLOADS)
    first, second = ([next(mix).name for _ in range(count)] for _ in range(2))
    assert sorted(first) == sorted(second)
    assert first != second, "a new order each time"
    assert (first.count("read"), first.count("slow"), first.count("lock")) == (8, 2, 1)


def test_tags_beside_a_locustfile_of_ones_own_are_that_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A locust.conf in its folder may name some; they were looked for among our workloads'."""
    options = Namespace(host="", urls="", headers="", workload="slow", tags=["checkout"], exclude_tags=["admin"])
    vars(options).update(dict.fromkeys(LENGTHS, ""))
    with pytest.raises(ValueError, match="is not known, give"):
        load_of(options)
    monkeypatch.setenv(THEIRS, "1")
    assert load_of(options).workload == "slow"


def test_the_timeline_names_a_generator_whose_first_second_never_ended() -> None:
    timeline = Timeline()
    timeline.start()
    timeline.merge([["started_at_s", "one:1", 5.0], ["started_at_s", "two:2", 5.0]])
    timeline.merge([["generators", "two:2", "cpu_percent", 5, 1.0], ["generators", "two:2", "lag_ms", 5, 1.0]])
    document = timeline.document("", Load("slow", [], {}, {}, iter(())))
    assert sorted(document["generators"].keys() - {timeline.generator}) == ["one:1", "two:2"]


@pytest.mark.parametrize(
    ("began_s", "ended_s", "ahead_s"),
    [
        (3.5, 0.05, 0.05),  # it was busy, and heard late that it begins
        (0.05, 2.0, 0.05),
        (-4.0, -3.9, -4.0),  # its clock is behind
        (0.1, -3.0, 0.1),  # it has left
    ],
)
def test_the_timeline_takes_no_generator_that_has_left_for_one_with_another_clock(
    began_s: float, ended_s: float, ahead_s: float
) -> None:
    timeline = Timeline()
    timeline.start()
    timeline.stop()
    own_s = [timeline.facts[mark, timeline.generator] for mark in ("started_at_s", "stopped_at_s")]
    timeline.merge([["started_at_s", "one:1", own_s[0] + began_s]])
    assert timeline.silent() == {"one:1"}
    timeline.merge([["stopped_at_s", "one:1", own_s[1] + ended_s]])
    assert not timeline.silent()
    facts = timeline.document("", Load("slow", [], {}, {}, iter(())))["generators"]["one:1"]
    assert facts["ahead_ms"] == pytest.approx(1000 * ahead_s, abs=1)
    assert facts["stopped_at_s"] == own_s[1] + ended_s
