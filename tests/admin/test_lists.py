"""Lists that can be worked with: filtered, compared, deleted on request, and as fast with two hundred rows."""

import json
import re
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from pooldemo import models, records
from pooldemo.admin.sweeps import _has_stack
from pooldemo.sweep.analyse.statistics import digits
from pooldemo.sweep.facts import SweepResult, TrialResult, Verdict
from pooldemo.sweep.report.legend import marker_alone

SWEEPS = "/admin/pooldemo/sweep/"


def small(stack: str, workload: str, shape: str, measured: SweepResult) -> SweepResult:
    """A sweep of one stack with three trials."""
    plan = replace(measured.plan, stacks=(stack,), workload=workload, sizes=(1, 2, 4))
    trials = tuple(TrialResult(stack, size, 1, rps=10.0 * size) for size in plan.sizes)
    verdict = Verdict(stack, shape, 2 if shape == "knee" else None, None, None, None, "because")
    return replace(measured, plan=plan, trials=trials, verdicts=(verdict,))


def numbers(client: Client, query: str) -> set[int]:
    response = client.get(f"{SWEEPS}?{query}")
    assert response.status_code == 200
    return {row.pk for row in response.context["cl"].result_list}


@pytest.fixture
def three(db: None, measured: SweepResult) -> list[models.Sweep]:
    given = (("pooldemo", "cpu", "knee"), ("upool", "slow", "flat"), ("pooldemo", "slow", "rising"))
    return [records.store(small(*each, measured)) for each in given]


def test_it_says_what_to_type_where_no_sweep_is_kept(admin_client: Client, settings: Any) -> None:
    """In a project without our workloads it must say what users ask for, or is refused."""
    assert b"<code>python manage.py sweep</code>" in admin_client.get(SWEEPS).content
    del settings.POOL_STACK
    assert b"<code>python manage.py sweep --url /</code> in the site's folder." in admin_client.get(SWEEPS).content


def test_it_names_our_own_environment_on_our_own_site_alone(
    admin_client: Client, row: models.Sweep, settings: Any
) -> None:
    models.Sweep.objects.filter(pk=row.pk).update(status="interrupted")
    pages = [f"{SWEEPS}{row.pk}/change/", f"{SWEEPS}live/"]
    assert [b".venv/bin/activate" in admin_client.get(page).content for page in pages] == [True, True]
    del settings.POOL_STACK
    assert [b".venv/bin/activate" in admin_client.get(page).content for page in pages] == [False, False]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", {0, 1, 2}),
        ("stack=pooldemo", {0, 2}),
        ("stack=upool", {1}),
        ("workload=slow", {1, 2}),
        ("shape=knee", {0}),
        ("shape=flat", {1}),
        ("stack=pooldemo&workload=slow", {2}),
        ("q=slow", {1, 2}),
        ("q=upool", {1}),
        ("q=Knee", {0}),
        ("q=slow+rising", {2}),
        ("q=%23prod", {1}),
        ("q=slow+%23prod+knee", set()),
    ],
)
def test_it_filters_and_searches_by_stack_load_verdict_and_tag(
    admin_client: Client, three: list[models.Sweep], query: str, wanted: set[int]
) -> None:
    models.Sweep.objects.filter(pk=three[1].pk).update(notes="before the index #prod")
    assert numbers(admin_client, query) == {three[place].pk for place in wanted}


def test_it_filters_by_a_stack_as_each_database_keeps_its_name(admin_client: Client, three: list[models.Sweep]) -> None:
    """SQLite writes a branch's é with an escape: its filter found none."""
    name = "pooldemo@café"
    models.Sweep.objects.filter(pk=three[0].pk).update(stacks=[name])
    assert numbers(admin_client, f"stack={name}") == numbers(admin_client, "q=café") == {three[0].pk}
    texts = str(_has_stack(name))
    assert repr(json.dumps([name])[1:-1]) in texts
    assert repr(json.dumps([name], ensure_ascii=False)[1:-1]) in texts


def test_it_leads_to_the_live_pool_and_to_a_new_sweep(admin_client: Client, three: list[models.Sweep]) -> None:
    """By itself: only on our own site does the admin's header do so."""
    html = admin_client.get(SWEEPS, headers={"host": "localhost:8000"}).content.decode()
    tools = html.partition('<ul class="object-tools">')[2].partition("</ul>")[0]
    assert [f'href="{SWEEPS}{page}/"' in tools for page in ("live", "run")] == [True, True]


def test_it_draws_a_curve_in_each_row_and_marks_the_size_to_use(
    admin_client: Client, three: list[models.Sweep]
) -> None:
    html = admin_client.get(SWEEPS).content.decode()
    assert html.count('<svg class="sparkline"') == 3
    assert html.count('r="3.4"') == 1, "the ring of the size to use"
    assert "<strong>MAX_CONNS=2</strong>" in html
    assert html.index("MAX_CONNS=2") < html.index("cpu "), "the verdict stands first"
    assert "pooldemo: 1: 10.0, 2: 20.0, 4: 40.0 requests/s" in html


def test_it_shows_the_number_that_the_page_shows(admin_client: Client, measured: SweepResult, db: None) -> None:
    """With the digits that its interval allows: a list said 612/s of what its page called 610 requests/s."""
    verdict = Verdict("pooldemo", "knee", 2, 612.3, 572.0, 652.6, "2 slots carry 610 requests/s")
    sweep = replace(small("pooldemo", "cpu", "knee", measured), verdicts=(verdict,))
    rows = [records.store(replace(sweep, started_at=f"2026-11-{day:02}T10:00:00+00:00")) for day in (1, 5, 9)]
    assert "610/s" in admin_client.get(SWEEPS).content.decode()
    page = admin_client.get(f"{SWEEPS}{rows[0].pk}/change/").content.decode()
    assert "Use MAX_CONNS=2: 610\N{NO-BREAK SPACE}requests/s" in page
    assert "2026-11-09 10:00 UTC: pooldemo 610 requests/s" in page, "over time"
    assert "612" not in page


def test_it_writes_each_time_with_its_zone_also_without_use_tz(
    admin_client: Client, row: models.Sweep, settings: Any
) -> None:
    settings.USE_TZ, settings.TIME_ZONE = False, "America/New_York"
    models.Sweep.objects.filter(pk=row.pk).update(started_at=datetime(2026, 11, 30, 12, 24))  # noqa: DTZ001
    for page in (SWEEPS, f"{SWEEPS}{row.pk}/change/", f"{SWEEPS}{row.pk}/sweep.html"):
        assert "2026-11-30 17:24 UTC" in admin_client.get(page).content.decode(), page


def test_it_asks_the_database_no_more_often_for_two_hundred_sweeps(
    admin_client: Client, three: list[models.Sweep], measured: SweepResult
) -> None:
    def queries() -> int:
        cache.clear()
        with CaptureQueriesContext(connection) as asked:
            assert admin_client.get(f"{SWEEPS}?all=").status_code == 200
        return len(asked)

    few = queries()
    one = small("pooldemo", "cpu", "knee", measured)
    for _ in range(200):
        records.store(one)
    assert queries() == few


def test_it_compares_two_sweeps_on_one_chart(admin_client: Client, three: list[models.Sweep]) -> None:
    chosen = [three[0].pk, three[2].pk]
    response = admin_client.post(SWEEPS, {"action": "compare", "_selected_action": chosen}, follow=True)
    html = response.content.decode()
    assert response.redirect_chain == [(f"{SWEEPS}compare/?sweeps={chosen[0]},{chosen[1]}", 302)]
    assert html.count('<svg class="plot"') == 1
    for number in chosen:
        assert f"{number} pooldemo" in html
        assert f"Sweep {number}</a>" in html
    assert html.index("They cannot be compared") < html.index('<svg class="plot"'), "they measured different things"


def test_it_says_what_changed_between_two_sweeps_of_the_same_load(
    admin_client: Client, db: None, measured: SweepResult
) -> None:
    faster = tuple(replace(trial, rps=2 * trial.rps) for trial in measured.trials)
    before, after = records.store(measured), records.store(replace(measured, trials=faster))
    html = admin_client.get(f"{SWEEPS}compare/?sweeps={before.pk},{after.pk}").content.decode()
    assert 'class="better"' in html
    assert "+100.0%" in html
    assert f"<h2>Sweep {after.pk} is better than {before.pk}: " in html
    assert html.index("is better than") < html.index('<svg class="plot"')
    swapped = admin_client.get(f"{SWEEPS}compare/?sweeps={after.pk},{before.pk}").content.decode()
    assert f"<h2>Sweep {before.pk} is worse than {after.pk}: " in swapped
    one = admin_client.get(f"{SWEEPS}compare/?sweeps={before.pk},{after.pk}&stack=geventpool").content.decode()
    assert f'data-name="{before.pk} geventpool"' in one
    assert f'data-name="{before.pk} pooldemo"' not in one


def test_it_draws_a_line_for_each_of_six_sweeps_under_what_they_say(
    admin_client: Client, db: None, measured: SweepResult
) -> None:
    """Not six lines of two of them, and no two labels on each other."""
    slow = [replace(measured, plan=replace(measured.plan, users=users)) for users in range(1, 7)]
    numbers = [records.store(each).pk for each in slow]
    html = admin_client.get(f"{SWEEPS}compare/?sweeps={','.join(map(str, numbers))}").content.decode()
    wide = html.partition('<svg class="plot"')[2].partition("</svg>")[0]
    assert [f'data-name="{number} pooldemo"' in wide for number in numbers] == [True] * 6
    assert "geventpool" not in wide
    every = ", ".join(map(str, numbers))
    assert wide.count(f"{every}: MAX_CONNS=2") == 1
    assert f"<h2>MAX_CONNS=2 in sweeps {every}</h2>" in html


def test_it_marks_a_compared_verdict_as_its_line_is_drawn(
    admin_client: Client, db: None, measured: SweepResult
) -> None:
    rows = [records.store(measured) for _ in range(2)]
    compare = f"{SWEEPS}compare/?sweeps={rows[0].pk},{rows[1].pk}"
    html = admin_client.get(compare).content.decode()
    assert re.findall(r'<h3>(<svg class="swatch".*?</svg>) ', html) == [marker_alone(look) for look in range(4)]
    html = admin_client.get(f"{compare}&stack=geventpool").content.decode()
    assert html.count('<svg class="swatch"') == 2, "none where no line is drawn"


def test_it_calls_a_sweep_failed_that_has_failed(admin_client: Client, db: None, measured: SweepResult) -> None:
    trials = tuple(replace(trial, error="no server came up") for trial in measured.trials)
    row = records.store(replace(measured, status="failed", trials=trials, verdicts=()))
    html = admin_client.get(SWEEPS).content.decode()
    assert html.count('<div class="found invalid"><strong>no answer</strong>') == 2
    assert 'class="answer invalid"' in admin_client.get(f"{SWEEPS}{row.pk}/change/").content.decode()


@pytest.mark.parametrize("count", [1, 7])
def test_it_says_how_many_sweeps_fit_on_a_chart(
    admin_client: Client, db: None, measured: SweepResult, count: int
) -> None:
    one = small("pooldemo", "cpu", "knee", measured)
    chosen = [records.store(one).pk for _ in range(count)]
    response = admin_client.post(SWEEPS, {"action": "compare", "_selected_action": chosen}, follow=True)
    assert f"{count} chosen: two to 6 sweeps fit on one chart" in response.content.decode()


@pytest.mark.parametrize("query", ["", "sweeps=", "sweeps=1", "sweeps=x,y", "sweeps=999999998,999999999"])
def test_it_compares_nothing_with_nothing(admin_client: Client, query: str) -> None:
    assert admin_client.get(f"{SWEEPS}compare/?{query}").status_code == 404


def test_a_viewer_may_compare_and_not_delete(viewer: Client, three: list[models.Sweep]) -> None:
    html = viewer.get(SWEEPS).content.decode()
    assert '<option value="compare">' in html
    assert '<option value="delete_selected">' not in html


def test_its_trials_are_read_only_even_for_the_superuser(admin_client: Client, row: models.Sweep) -> None:
    trial = row.trials.all()[0]
    base = f"/admin/pooldemo/trial/{trial.pk}"
    assert admin_client.get("/admin/pooldemo/trial/").status_code == 200
    shown = admin_client.get(f"{base}/change/")
    assert shown.status_code == 200
    assert 'name="_save"' not in shown.content.decode()
    assert admin_client.post(f"{base}/change/", {"rps": "1"}).status_code == 403
    assert admin_client.post(f"{base}/delete/", {"post": "yes"}).status_code == 403
    assert admin_client.get("/admin/pooldemo/trial/add/").status_code == 403
    assert admin_client.get(f"{SWEEPS}add/").status_code == 403


def test_it_asks_before_it_deletes_a_sweep_with_its_trials(editor: Client, row: models.Sweep) -> None:
    path = f"{SWEEPS}{row.pk}/delete/"
    asked = editor.get(path).content.decode()
    assert "Are you sure" in asked
    assert models.Sweep.objects.filter(pk=row.pk).exists()
    assert editor.post(path, {"post": "yes"}).status_code == 302
    assert not models.Sweep.objects.filter(pk=row.pk).exists()
    assert not models.Trial.objects.filter(sweep=row.pk).exists()


def test_it_asks_before_it_deletes_many_and_names_no_trial(
    editor: Client, three: list[models.Sweep], measured: SweepResult
) -> None:
    chosen = [row.pk for row in three]
    models.Sweep.objects.filter(pk=three[2].pk).update(status="running")
    with records.Turn():
        asked = editor.post(SWEEPS, {"action": "delete_selected", "_selected_action": chosen}).content.decode()
    assert "<li>Sweeps: 3</li>" in asked
    assert "<li>Trials: 9</li>" in asked
    assert "at 2, repeat 1" not in asked
    rows = models.Sweep.objects.in_bulk(chosen)
    assert [f"{rows[pk]}</a>, which runs now" in asked for pk in chosen] == [False, False, True]
    gone = {"action": "delete_selected", "_selected_action": chosen, "post": "yes"}
    assert "deleted 3 sweeps" in editor.post(SWEEPS, gone, follow=True).content.decode()
    assert not models.Trial.objects.filter(sweep__in=chosen).exists()


def test_it_has_an_empty_list(admin_client: Client, db: None) -> None:
    assert "0 sweeps" in admin_client.get(SWEEPS).content.decode()


def test_a_sweeps_page_shows_its_load_over_time(viewer: Client, measured: SweepResult) -> None:
    rows = [records.store(replace(measured, started_at=f"2026-11-{day:02}T10:00:00+00:00")) for day in (1, 5, 9)]
    page = viewer.get(f"{SWEEPS}{rows[0].pk}/change/").content.decode()
    assert 'data-figure="trend"' in page
    carried = digits(measured.verdicts[0].rps or 0)
    assert f"sweep {rows[2].pk}, 2026-11-09 10:00 UTC: pooldemo {carried} requests/s" in page
    records.store(other := replace(measured, plan=replace(measured.plan, users=7)))
    assert other.plan.users == 7
    alone = models.Sweep.objects.get(users=7)
    assert 'data-figure="trend"' not in viewer.get(f"{SWEEPS}{alone.pk}/change/").content.decode()


def test_a_trials_page_tells_its_course_and_its_latencies_in_words(viewer: Client, measured: SweepResult) -> None:
    row = records.store(measured)
    trial = row.trials.filter(stack="pooldemo", size=2).first()
    assert trial
    html = viewer.get(f"/admin/pooldemo/trial/{trial.pk}/change/").content.decode()
    assert 'data-figure="course"' in html
    assert 'data-figure="latencies"' in html
    assert f"{trial.requests:,} requests in" in html
    assert "2 at most, 2 allowed" in html
    assert f'href="{SWEEPS}{row.pk}/change/"' in html
    failed = replace(measured, trials=(TrialResult("pooldemo", 2, 1, error="no server <came> up"),), verdicts=())
    broken = records.store(failed).trials.get()
    assert (
        "It failed: no server &lt;came&gt; up"
        in viewer.get(f"/admin/pooldemo/trial/{broken.pk}/change/").content.decode()
    )


ODD_SWEEPS: tuple[dict[str, Any], ...] = (  # what no sweep writes, by column
    {"stacks": 7}, {"stacks": [1, None]}, {"sizes": []}, {"sizes": "all"}, {"splits": ["two"]}, {"slo": [{}]},
    {"slo": [7]}, {"blocks": [[]]}, {"repeats": 2_000_000_000}, {"conditions": [1]}, {"conditions": {"versions": 3}},
    {"verdicts": {"stack": 1}}, {"verdicts": [{}]}, {"verdicts": [{"stack": "pooldemo", "shape": "odd"}]},
    {"verdicts": [7]}, {"rate": 0.0}, {"users": 2_147_483_647}, {"ms": -1.0}, {"duration_s": float("nan")},
    {"ms": float("inf")}, {"urls": {"a": 1}},
)  # fmt: skip
ODD_TRIALS: tuple[dict[str, Any], ...] = (
    {"rps": float("nan")}, {"rps": -1.0}, {"rps": float("inf")}, {"p95_ms": float("nan")}, {"latencies": [[1]]},
    {"latencies": [["a", 1]]}, {"latencies": {"a": 1}}, {"per_second": ["x"]}, {"warnings": [3]},
    {"warnings": [{}]}, {"size": 0}, {"size": 2_147_483_647}, {"failures_by_message": [1]}, {"waits": {"CPU": "x"}},
    {"started_at": "yesterday"}, {"steps": [{}]}, {"workers": 0}, {"window_s": float("nan")},
)  # fmt: skip


def test_a_row_that_no_sweep_wrote_takes_no_page_down(
    admin_client: Client, measured: SweepResult, row: models.Sweep
) -> None:
    one = records.store(small("pooldemo", "cpu", "knee", measured))
    for odd in ODD_SWEEPS:
        models.Sweep.objects.filter(pk=row.pk).update(**odd)
        for path in (SWEEPS, f"{SWEEPS}{row.pk}/change/", "/"):
            assert admin_client.get(path).status_code == 200, odd
        models.Sweep.objects.filter(pk=row.pk).update(**{name: getattr(row, name) for name in odd})
    models.Sweep.objects.filter(pk=row.pk).update(stacks=7, sizes=[])
    assert "cannot be read: the sweep has stacks 7" in admin_client.get(f"{SWEEPS}{row.pk}/change/").content.decode()
    assert admin_client.get(f"{SWEEPS}{row.pk}/delete/").status_code == 200
    rest = (f"compare/?sweeps={row.pk},{one.pk}", f"{row.pk}/sweep.html", f"{row.pk}/throughput.svg")
    for path in (*rest, f"{row.pk}/progress/", f"run/?again={row.pk}"):
        assert admin_client.get(f"{SWEEPS}{path}", headers={"host": "localhost"}).status_code in (200, 404)


def test_a_trial_that_no_sweep_wrote_takes_no_page_down(admin_client: Client, measured: SweepResult, db: None) -> None:
    row = records.store(replace(measured, trials=measured.trials[:4]))
    trial = row.trials.all()[0]
    for odd in ODD_TRIALS:
        row.trials.filter(pk=trial.pk).update(**odd)
        for path in ("sweep/", f"sweep/{row.pk}/change/", "trial/", f"trial/{trial.pk}/change/"):
            assert admin_client.get(f"/admin/pooldemo/{path}").status_code == 200, odd
        row.trials.filter(pk=trial.pk).update(**{name: getattr(trial, name) for name in odd})


ODD_QUERIES = (
    "q=%00",
    f"q={'9' * 5000}",
    "q=%25_%27%22",
    "stack=%00",
    "shape=%27",
    "p=x",
    "o=99",
    "status=%00",
    "workload=%00&workload=slow",
)


def test_it_takes_odd_queries_and_numbers_for_no_error_of_its_own(admin_client: Client, db: None) -> None:
    for query in ODD_QUERIES:
        assert admin_client.get(f"{SWEEPS}?{query}").status_code in (200, 302), query
    large = "9" * 30
    numbered = (f"{large}/sweep.json", f"{large}/x.svg", f"{large}/progress/", f"shared/{large}/x/")
    for path in (f"compare/?sweeps={'9' * 5000},1", *numbered, "shared/1/%C3%A4%00/"):
        assert admin_client.get(f"{SWEEPS}{path}").status_code == 404, path


def test_it_lists_trials_in_a_few_queries(admin_client: Client, row: models.Sweep) -> None:
    with CaptureQueriesContext(connection) as asked:
        html = admin_client.get(f"/admin/pooldemo/trial/?sweep__id__exact={row.pk}").content.decode()
    assert len(asked) < 12
    assert "pooldemo at 2, repeat 1" in html
    assert "latencies" not in " ".join(each["sql"] for each in asked.captured_queries)
