"""What the load generator knows beside Locust."""

from pooldemo.sweep.generator.options import WORKLOADS, Load, deal
from pooldemo.sweep.generator.timeline import Timeline


def test_a_load_deals_a_mix_in_the_exact_shares() -> None:
    count = sum(each.weight for each in WORKLOADS)
    mix = deal(WORKLOADS)
    first, second = ([next(mix).name for _ in range(count)] for _ in range(2))
    assert sorted(first) == sorted(second)
    assert first != second, "a new order each time"
    assert (first.count("read"), first.count("slow"), first.count("lock")) == (8, 2, 1)


def test_the_timeline_names_a_generator_whose_first_second_never_ended() -> None:
    timeline = Timeline()
    timeline.start()
    timeline.merge([["started_at_s", "one:1", 5.0], ["started_at_s", "two:2", 5.0]])
    timeline.merge([["generators", "two:2", "cpu_percent", 5, 1.0], ["generators", "two:2", "lag_ms", 5, 1.0]])
    document = timeline.document("", Load("slow", [], {}, {}, iter(())))
    assert sorted(document["generators"].keys() - {timeline.generator}) == ["one:1", "two:2"]
