"""A timeline is cut to its window."""

from typing import Any

import pytest

from pooldemo.sweep.generator.options import Load
from pooldemo.sweep.generator.timeline import Timeline
from pooldemo.sweep.measure.timeline import Histogram, Window, trouble


def second(number: int, ok: dict[str, int], failed: int = 0) -> dict[str, Any]:
    outcomes = {"ok": ok} | ({"503 PoolTimeout": {"2000": failed}} if failed else {})
    facts = {"outcomes": outcomes, "wait_ms": {"1.5": sum(ok.values())}, "query_ms": {"50": sum(ok.values())}}
    return {"second": number, "users": 4, "workloads": {"slow": facts}}


TIMELINE: dict[str, Any] = {
    "format": "pooldemo-timeline/1",
    "seconds": [
        second(9, {"9000": 9}),
        second(10, {"50": 3, "60": 1}, failed=2),
        second(12, {"50": 4}),
        second(13, {"1": 1}),
    ],
    "generators": {
        "a": {"cpu_percent": {"9": 100, "10": 20, "11": 40}, "lag_ms": {"10": 0.5, "13": 99}},
        "b": {"cpu_percent": {"10": 10}, "lag_ms": {}},
    },
}


def test_it_counts_what_ended_inside_and_nothing_else() -> None:
    window = Window.cut(TIMELINE, 10, 3)
    assert window.per_second == (4, 0, 4)
    assert window.failures_per_second == (2, 0, 0)
    assert window.rps == 8 / 3
    assert window.failures_by_message == {"503 PoolTimeout": 2}


def test_it_counts_what_was_carried_inside_and_not_what_happened_to_end_there() -> None:
    """Four slots whose queries take 0.9 s: in five seconds five waves end, and 5.56 are carried."""
    seconds = []
    for number in range(10, 17):
        waves = [wave for wave in range(1, 20) if int(10 + 0.9 * wave) == number]
        facts = second(number, {"900": 4 * len(waves)})
        facts["workloads"]["slow"]["carried"] = 0.0
        seconds.append(facts)
    for wave in range(1, 20):
        began_s, ended_s = 10 + 0.9 * (wave - 1), 10 + 0.9 * wave
        for facts in seconds:
            inside = max(0.0, min(ended_s, facts["second"] + 1) - max(began_s, facts["second"])) / 0.9
            facts["workloads"]["slow"]["carried"] += 4 * (inside - (int(ended_s) == facts["second"]))
    windows = [Window.cut(TIMELINE | {"seconds": seconds}, start_s, 5) for start_s in (10, 11)]
    assert [window.rps for window in windows] == pytest.approx([4 / 0.9] * 2)
    assert {sum(window.per_second) for window in windows} == {20}, "10% too few"


@pytest.mark.parametrize("tells_its_wait", [True, False])
def test_it_counts_right_what_waits_for_longer_than_the_window(tells_its_wait: bool) -> None:
    """64 users at one slot, 0.1 s each: 10 requests/s. A page of a project does not tell its wait, so its service was
    the whole response of 6.4 s, of which a window of 5 s sees a part; those that end later are not seen: 3.9/s."""
    seen = Timeline()
    for number in range(64, 202):
        ended_s = 100 + 0.1 * number - 0.05
        seen.note(int(ended_s), "slow", "outcomes", "ok", ms=6400.0)
        if tells_its_wait:
            seen.note(int(ended_s), "slow", "wait_ms", ms=6300.0)
        seen.spread(ended_s, "slow", 100.0 if tells_its_wait else 6400.0)
    window = Window.cut(seen.document("", Load("slow", [], {}, {}, iter(()))), 115, 5, after_s=0.12)
    assert window.rps == pytest.approx(10.0)


def test_it_keeps_failures_out_of_the_percentiles() -> None:
    assert Window.cut(TIMELINE, 10, 3).latency == Histogram(((50.0, 7), (60.0, 1)))


def test_it_names_the_busiest_generator_and_adds_up_all() -> None:
    window = Window.cut(TIMELINE, 10, 3)
    assert window.generator_cpu == pytest.approx(0.3)
    assert window.generators_cpu == pytest.approx(0.4)


def test_it_accounts_for_every_user() -> None:
    # Four users who are answered after 50 ms and ask at once again make 80 requests a second.
    timeline = TIMELINE | {"seconds": [second(10, {"50": 80})]}
    assert Window.cut(timeline, 10, 1).little_residual(4) == pytest.approx(0)
    assert Window.cut(timeline, 10, 1).little_residual(8) == pytest.approx(0.5)


def test_it_accounts_for_users_whose_answers_end_in_waves() -> None:
    """8 users of 1.8 s each end at 2.7, 4.5 and 6.3 s: of three waves five seconds hold two, or three."""
    seen = Timeline()
    for ended_s in (100.9, 102.7, 104.5, 106.3, 108.1):
        for _ in range(8):
            seen.note(int(ended_s), "/", "outcomes", "ok", ms=1800.0)
            seen.spread(ended_s, "/", 1800.0)
    window = Window.cut(seen.document("", Load("urls", [], {}, {}, iter(()))), 101, 5, after_s=2.0)
    assert window.little_residual(8) == pytest.approx(0)


def test_it_gives_the_nearest_rank() -> None:
    histogram = Histogram(((1.0, 50), (2.0, 45), (3.0, 4), (9.0, 1)))
    assert [histogram.quantile_ms(share) for share in (0.5, 0.95, 0.99, 1.0)] == [1.0, 2.0, 3.0, 9.0]
    assert Histogram().quantile_ms(0.5) is None


def test_it_refuses_a_timeline_of_another_format() -> None:
    with pytest.raises(ValueError, match="pooldemo-timeline/1 is accepted"):
        Window.cut({"format": "other"}, 10, 3)


def generators(**last: int) -> dict[str, Any]:
    """A timeline's generators, each with the second from which on nothing came of it."""
    return {
        "generators": {
            name: {
                "cpu_percent": {str(number): 1.0 for number in range(100, end)},
                "ahead_ms": 90.0,
            }
            for name, end in last.items()
        }
    }


def test_it_names_a_generator_that_ended_meanwhile() -> None:
    text = trouble(generators(a=111, b=104), 100, 10, 2)
    assert text == "the load generator b ended meanwhile: nothing came from it after second 4"


@pytest.mark.parametrize(("stopped_at_s", "is_whole"), [(None, False), (108.5, False), (110.1, True)])
def test_a_generator_that_misses_the_last_seconds_must_have_said_that_it_was_there(
    stopped_at_s: float | None, is_whole: bool
) -> None:
    """One that waits for its core misses a second. One that has left, or whose last report was lost, made less load."""
    document = generators(a=111, b=108)
    if stopped_at_s is not None:
        document["generators"]["b"]["stopped_at_s"] = stopped_at_s
    assert (trouble(document, 100, 10, 2) == "") is is_whole


def test_it_names_a_generator_that_stood_still_inside_the_window() -> None:
    def without(*missing: int) -> str:
        document = generators(a=111, b=111)
        for second in missing:
            del document["generators"]["b"]["cpu_percent"][str(second)]
        return trouble(document, 102, 8, 2)

    assert without(103, 104) == "", "it waited for its core"
    assert without(100, 101) == "", "that was the warm-up"
    expected = "the load generator b stood still, or its clock was set: nothing came from it for 3 s after second 2"
    assert without(104, 105, 106) == expected


def test_it_names_a_generator_that_took_the_place_of_another() -> None:
    document = generators(a=111, b=111)
    document["generators"]["b"]["cpu_percent"] = {"108": 1.0, "109": 1.0}
    text = trouble(document, 100, 10, 2)
    assert text.startswith("the load generator b came late, or in the place of one that had ended: ")
    assert text.endswith("nothing came from it before second 8")


@pytest.mark.parametrize(
    ("came", "expected", "told"),
    [
        ({"a": 111}, 2, "2 load generators were expected and 1 made load: a"),
        ({"a": 111, "b": 111}, 1, "1 load generators were expected and 2 made load: a, b"),  # twice the arrivals
        ({"a": 111}, 1, ""),
        ({}, 1, ""),  # it has noted nothing yet
    ],
)
def test_it_names_those_that_came_where_others_were_expected(came: dict[str, int], expected: int, told: str) -> None:
    assert trouble(generators(**came), 100, 10, expected) == told


@pytest.mark.parametrize(("ahead_ms", "word"), [(4000.0, "ahead of"), (-4000.0, "behind")])
def test_it_names_a_generator_whose_clock_is_another(ahead_ms: float, word: str) -> None:
    document = generators(a=111, b=111)
    ticks = range(100 + round(ahead_ms / 1000), 111 + round(ahead_ms / 1000))
    document["generators"]["b"] = {"cpu_percent": {str(second): 1.0 for second in ticks}, "ahead_ms": ahead_ms}
    text = trouble(document, 100, 10, 2)
    assert text.startswith(f"the clock of the load generator b is 4000 ms {word} its master's")
