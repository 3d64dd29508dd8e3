"""Charts are honest (axes from zero, units, spread) and can be read without colour, script or sight."""

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import CONDITIONS, trials_of

from benchmarks.verdicts.truth import hinge, power
from pooldemo.sweep import stacks
from pooldemo.sweep.analyse.judge import judge
from pooldemo.sweep.facts import Limit, Plan, SweepResult, TrialResult
from pooldemo.sweep.report import trial_page
from pooldemo.sweep.report.answer import ENDED
from pooldemo.sweep.report.canvas import COLOURS, WIDE, marker, nice_ticks
from pooldemo.sweep.report.figures import (
    KNOWN_BEST,
    connections,
    latency,
    look_of,
    sweep_sparkline,
    throughput,
    tradeoff,
)
from pooldemo.sweep.report.sparkline import sparkline

HINGE = hinge(16)
MANY = tuple(stacks.names())
LONG = "pooldemo@POOL_TIMEOUT=1,MAX_LIFETIME=60,IDLE_TIMEOUT=10,STATEMENT_CACHE=on,MAX_WAITING=100,RETRIES=3"
SVG = "{http://www.w3.org/2000/svg}"


def _sweep(curve=HINGE, stacks=("pooldemo", "geventpool"), **options):
    plan = Plan(stacks=stacks, users=200, slo=(Limit("p95", 300),))
    fields = {"hold_mean_ms": 100.0, "p95_ms": 200.0, "p50_ms": 100.0, "peak_connections": lambda size: size}
    trials = [replace(each, stack=stack) for stack in stacks for each in trials_of(curve, **fields | options)]
    return SweepResult(plan, CONDITIONS, tuple(trials), judge(plan, trials, CONDITIONS))


CHARTS = {
    "throughput": lambda sweep: throughput(sweep).svg,
    "throughput-narrow": lambda sweep: throughput(sweep).narrow,
    "latency": lambda sweep: latency(sweep).svg,
    "tradeoff": lambda sweep: tradeoff(sweep).narrow,
    "connections": lambda sweep: connections(sweep).svg,
    "connections-narrow": lambda sweep: connections(sweep).narrow,
    "sparkline": lambda sweep: sweep_sparkline(sweep, "pooldemo"),
}


def throughput_chart(sweep):
    return throughput(sweep).svg


def _texts(svg):
    return [each.text for each in ET.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("draw", CHARTS.values(), ids=CHARTS)
def test_it_is_a_picture_with_a_name_and_without_script_style_or_reference(draw):
    root = ET.fromstring(draw(_sweep()))
    assert root.get("role") == "img"
    assert root.get("aria-label") == root.find(f"{SVG}title").text
    for each in root.iter():
        assert each.tag.removeprefix(SVG) not in ("script", "style", "image", "use", "foreignObject")
        assert not {name for name in each.attrib if name == "style" or name.startswith("on") or "href" in name}


@pytest.mark.parametrize("draw", list(CHARTS.values())[:-1], ids=list(CHARTS)[:-1])
def test_it_starts_its_axis_at_zero_and_names_its_units(draw):
    texts = _texts(draw(_sweep()))
    assert "0" in texts
    assert {"requests/s", "milliseconds", "p95, milliseconds", "connections"} & set(texts)
    assert {"MAX_CONNS of one worker", "requests/s"} & set(texts)


@pytest.mark.parametrize("draw", CHARTS.values(), ids=CHARTS)
def test_it_has_only_the_texts_colour_and_colours_for_colour_blind_eyes(draw):
    fills = set(re.findall(r'(?:fill|stroke)="([^"]+)"', draw(_sweep())))
    assert fills <= {"none", "currentColor", *COLOURS}


def _luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (each / 12.92 if each <= 0.03928 else ((each + 0.055) / 1.055) ** 2.4 for each in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("page", ["#ffffff", "#121212"])
@pytest.mark.parametrize("colour", COLOURS)
def test_its_colours_stand_out_from_a_light_and_a_dark_page(colour, page):
    """3 to 1, which WCAG asks of what is drawn; text has the page's own colour."""
    dark, light = sorted((_luminance(colour), _luminance(page)))
    assert (light + 0.05) / (dark + 0.05) >= 3


@pytest.mark.parametrize("draw", CHARTS.values(), ids=CHARTS)
def test_it_writes_in_the_texts_own_colour_alone(draw):
    assert {each.get("fill") for each in ET.fromstring(draw(_sweep())).iter(f"{SVG}text")} <= {None}


def test_it_gives_a_stack_one_colour_and_shape_whatever_stands_beside_it():
    colour = COLOURS[look_of("geventpool") % len(COLOURS)]
    assert len({look_of(stack) % len(COLOURS) for stack in KNOWN_BEST}) == len(KNOWN_BEST)
    for sweep in (_sweep(), _sweep(stacks=("geventpool", "upool"))):
        for draw in (throughput, latency, tradeoff):
            line = next(each for each in draw(sweep).series if each.name == "geventpool")
            assert line.look == look_of("geventpool")
        assert colour in sweep_sparkline(sweep, "geventpool")
    assert len({marker(0, 0, look) for look in range(36)}) == 36


def test_it_labels_each_line_and_marks_the_size_to_use():
    texts = _texts(throughput_chart(_sweep()))
    assert {"pooldemo", "geventpool", "bound", "MAX_CONNS=16"} <= set(texts)
    assert {"MAX_CONNS=64, the best so far", "still rising"} <= set(_texts(throughput_chart(_sweep(power(1)))))


@pytest.mark.parametrize(
    ("loop", "said"),
    [({}, ""), ({"rate": 40.0}, ", open loop at 40/s"), ({"search": True}, ", open loop at its highest rate")],
)
def test_it_says_of_an_open_loop_that_it_is_one(loop, said):
    sweep = _sweep()
    sweep = replace(sweep, plan=replace(sweep.plan, **loop))
    assert f"slow 100 ms, 200 users{said}" in " ".join(_texts(throughput_chart(sweep))[:2])


def test_it_says_on_the_chart_what_ended_the_rise():
    """Not "rising" over a line that is flat because all users are served at once."""
    plan = Plan(stacks=("pooldemo",), users=16)
    trials = trials_of(hinge(16), hold_mean_ms=100.0, p95_ms=200.0)
    texts = _texts(throughput_chart(SweepResult(plan, CONDITIONS, tuple(trials), judge(plan, trials, CONDITIONS))))
    assert "your 16 users are served at once" in texts
    assert "still rising" not in texts


@pytest.mark.parametrize("draw", ["svg", "narrow"])
def test_it_leaves_room_for_the_numbers_of_its_grid(draw):
    """On a phone 100,000 was 00,000."""
    svg = getattr(latency(_sweep(p95_ms=4_000_000.0)), draw)
    numbers = [each for each in ET.fromstring(svg).iter(f"{SVG}text") if each.get("text-anchor") == "end"]
    assert "5,000,000" in [each.text for each in numbers]
    assert min(float(each.get("x")) - 6.8 * len(each.text) for each in numbers) >= 0


@pytest.mark.parametrize("cause", ENDED)
@pytest.mark.parametrize("draw", ["svg", "narrow"])
def test_what_ended_the_rise_does_not_stand_on_what_y_is(cause, draw):
    sweep = _sweep(stacks=("pooldemo",))
    sweep = replace(sweep, verdicts=tuple(replace(each, cause=cause) for each in sweep.verdicts))
    texts = {each.text: each for each in ET.fromstring(getattr(throughput(sweep), draw)).iter(f"{SVG}text")}
    reason, unit = texts[ENDED[cause]], texts["requests/s"]
    begins = float(reason.get("x")) - 6.9 * len(ENDED[cause]) / 2
    assert reason.get("y") != unit.get("y") or begins > float(unit.get("x")) + 7 * len("requests/s")


def test_it_gives_each_stack_a_marker_of_its_own_shape():
    root = ET.fromstring(throughput_chart(_sweep()))
    groups = [each for each in root.iter(f"{SVG}g") if each.get("class") == "point"]
    shapes = {group.find(f"{SVG}title").text.split()[0]: group[-1].tag for group in groups}
    assert shapes["pooldemo"] != shapes["geventpool"]


def test_it_shows_the_interval_of_repeats_and_none_for_a_single_one():
    assert re.search(r"pooldemo at 16: 1\d\d requests/s \(1\d\d to 1\d\d\)", throughput_chart(_sweep()))
    once = throughput_chart(_sweep(repeats=1))
    assert "(one repeat)" in once
    assert "inf" not in once


@pytest.mark.parametrize("draw", CHARTS.values(), ids=CHARTS)
@pytest.mark.parametrize(
    "options",
    [
        {"sizes": (8,)},
        {"sizes": (1, 2, 3)},
        {"sizes": tuple(range(1, 65))},
        {"repeats": 1},
        {"stacks": ("pooldemo", LONG)},
        {"stacks": MANY},
    ],
)
def test_it_stays_inside_its_frame(draw, options):
    svg = draw(_sweep(**options))
    assert "nan" not in svg
    root = ET.fromstring(svg)
    _, _, width, height = map(float, root.get("viewBox").split())
    for each in root.iter():
        for name, limit in (("x", width), ("cx", width), ("x1", width), ("y", height), ("cy", height), ("y2", height)):
            assert 0 <= float(each.get(name, 0)) <= limit
        if each.tag == f"{SVG}polyline":
            assert all(0 <= float(pair.split(",")[0]) <= width for pair in each.get("points").split())


def test_it_cuts_the_bound_where_it_leaves_the_picture():
    root = ET.fromstring(throughput_chart(_sweep()))
    dashed = next(each for each in root.iter(f"{SVG}polyline") if each.get("stroke-dasharray"))
    points = [tuple(map(float, pair.split(","))) for pair in dashed.get("points").split()]
    assert all(WIDE.top <= y <= WIDE.height and WIDE.left <= x <= WIDE.end for x, y in points)
    assert points[-1][1] == WIDE.top


def test_it_says_that_nothing_was_measured():
    empty = SweepResult(Plan(), CONDITIONS)
    assert "nothing measured yet" in throughput_chart(empty)
    assert "nothing measured yet" in connections(empty).narrow
    assert sparkline([]) == ""


@given(st.floats(1e-3, 1e9))
def test_it_takes_round_ticks_from_zero_to_above_the_data(top):
    ticks = nice_ticks(top)
    assert ticks[0] == 0
    assert ticks[-1] >= top * (1 - 1e-6)
    assert 3 <= len(ticks) <= 8


@pytest.mark.parametrize("counts", [(10, 2, 7), (4,)])
def test_a_trials_steps_stand_where_they_were_counted(counts: tuple[int, ...]) -> None:
    """Each second was drawn a second late, and the slowest requests nowhere."""
    latencies = ((10.0, 5), (25.0, 1), (80.0, 3))
    drawn = trial_page.figures_of(TrialResult("pooldemo", 2, 1, per_second=counts, latencies=latencies))

    def at(name: str, x: float) -> float:
        return [point.y for point in drawn[name].series[0].points if point.x <= x][-1]

    assert [at("course", second + 0.5) for second in range(len(counts))] == list(counts)
    assert drawn["course"].series[0].points[-1].x == len(counts)
    assert [at("latencies", ms) for ms in (10.1, 25.0, 79.9, 80.1)] == [5, 1, 3, 0]
    ticks = {tick for each in drawn.values() for tick in each.y_axis.ticks}
    assert all(tick == int(tick) for tick in ticks), "requests are whole"
