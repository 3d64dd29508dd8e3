"""Charts are honest (axes from zero, units, spread) and can be read without colour, script or sight."""

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import CONDITIONS, hinge, power, trials_of

from pooldemo.sweep.analyse.judge import judge
from pooldemo.sweep.facts import Limit, Plan, SweepResult
from pooldemo.sweep.report.charts import HEIGHT, LEFT, RIGHT, TOP, WIDTH, nice_ticks, sparkline
from pooldemo.sweep.report.figures import connections, latency, sweep_sparkline, throughput

HINGE = hinge(16)
SVG = "{http://www.w3.org/2000/svg}"


def _sweep(curve=HINGE, stacks=("pooldemo", "geventpool"), **options):
    plan = Plan(stacks=stacks, users=200, slo=(Limit("p95", 300),))
    fields = {"hold_mean_ms": 100.0, "p95_ms": 200.0, "p50_ms": 100.0, "peak_connections": lambda size: size}
    trials = [replace(each, stack=stack) for stack in stacks for each in trials_of(curve, **fields | options)]
    return SweepResult(plan, CONDITIONS, tuple(trials), judge(plan, trials, CONDITIONS))


CHARTS = {
    "throughput": lambda sweep: throughput(sweep).svg,
    "latency": lambda sweep: latency(sweep, "pooldemo").svg,
    "connections": lambda sweep: connections(sweep).svg,
    "sparkline": lambda sweep: sweep_sparkline(sweep, "pooldemo"),
}


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


@pytest.mark.parametrize("draw", list(CHARTS.values())[:3], ids=list(CHARTS)[:3])
def test_it_starts_its_axis_at_zero_and_names_its_units(draw):
    texts = _texts(draw(_sweep()))
    assert "0" in texts
    assert {"requests/s", "milliseconds", "connections"} & set(texts)
    assert "MAX_CONNS of one worker" in texts


@pytest.mark.parametrize("draw", CHARTS.values(), ids=CHARTS)
def test_it_has_only_the_texts_colour_and_colours_for_colour_blind_eyes(draw):
    fills = set(re.findall(r'(?:fill|stroke)="([^"]+)"', draw(_sweep())))
    assert fills <= {"none", "currentColor", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"}


def test_it_labels_each_line_and_marks_the_size_to_use():
    texts = _texts(throughput(_sweep()).svg)
    assert {"pooldemo", "geventpool", "bound", "MAX_CONNS=16"} <= set(texts)
    assert "still rising" in _texts(throughput(_sweep(power(1))).svg)


def test_it_gives_each_stack_a_marker_of_its_own_shape():
    root = ET.fromstring(throughput(_sweep()).svg)
    groups = list(root.iter(f"{SVG}g"))
    shapes = {group.find(f"{SVG}title").text.split()[0]: group[-1].tag for group in groups}
    assert shapes["pooldemo"] != shapes["geventpool"]


def test_it_shows_the_interval_of_repeats_and_none_for_a_single_one():
    assert re.search(r"pooldemo at 16: 1\d\d requests/s \(1\d\d to 1\d\d\)", throughput(_sweep()).svg)
    once = throughput(_sweep(repeats=1)).svg
    assert "(one repeat)" in once
    assert "inf" not in once


@pytest.mark.parametrize("draw", CHARTS.values(), ids=CHARTS)
@pytest.mark.parametrize(
    "options", [{"sizes": (8,)}, {"sizes": (1, 2, 3)}, {"sizes": tuple(range(1, 65))}, {"repeats": 1}]
)
def test_it_stays_inside_its_frame(draw, options):
    svg = draw(_sweep(**options))
    assert "nan" not in svg
    root = ET.fromstring(svg)
    _, _, width, height = map(float, root.get("viewBox").split())
    for each in root.iter():
        for name, limit in (("x", width), ("cx", width), ("x1", width), ("y", height), ("cy", height), ("y2", height)):
            assert 0 <= float(each.get(name, 0)) <= limit


def test_it_cuts_the_bound_where_it_leaves_the_picture():
    root = ET.fromstring(throughput(_sweep()).svg)
    dashed = next(each for each in root.iter(f"{SVG}polyline") if each.get("stroke-dasharray"))
    points = [tuple(map(float, pair.split(","))) for pair in dashed.get("points").split()]
    assert all(TOP <= y <= HEIGHT and LEFT <= x <= WIDTH - RIGHT for x, y in points)
    assert points[-1][1] == TOP


def test_it_says_that_nothing_was_measured():
    empty = SweepResult(Plan(), CONDITIONS)
    assert "nothing measured yet" in throughput(empty).svg
    assert "nothing measured yet" in connections(empty).svg
    assert sparkline([]) == ""


@given(st.floats(1e-3, 1e9))
def test_it_takes_round_ticks_from_zero_to_above_the_data(top):
    ticks = nice_ticks(top)
    assert ticks[0] == 0
    assert ticks[-1] >= top * (1 - 1e-6)
    assert 3 <= len(ticks) <= 8
