"""Workers as a second axis: the cheapest split is named, and each number of workers is judged by its own sizes."""

import io
import itertools
import json
import random
import re
from collections import Counter
from dataclasses import replace

import pytest
from django.core.management import CommandError, call_command
from synthetic import CONDITIONS

from pooldemo import records
from pooldemo.sweep import judge
from pooldemo.sweep import plan as planning
from pooldemo.sweep.analyse import split
from pooldemo.sweep.analyse.compare import compare_sweeps
from pooldemo.sweep.analyse.document import document_of, judged
from pooldemo.sweep.analyse.slo import parse_slo
from pooldemo.sweep.analyse.verdict_text import copy_with_workers
from pooldemo.sweep.facts import Plan, SweepResult, TrialResult, Verdict
from pooldemo.sweep.report import formats, heatmap, rerun, sweep_page, tables
from pooldemo.sweep.report.canvas import NARROW, WIDE, width_of
from pooldemo.sweep.report.terminal import Terminal

PLAN = Plan(sizes=(1, 2, 4, 8), workers=4, splits=(1, 2, 4), users=1000)


def sweep_of(carries, *, plan=PLAN, noise=0.01, seed=0, **fields):
    """`carries(workers, size)` requests a second; a field may be a function of both as well."""
    chance = random.Random(seed)
    trials = tuple(
        TrialResult(
            each.stack, each.size, each.repeat, each.workers, place, requests=1000,
            rps=carries(each.workers, each.size) * chance.gauss(1, noise),
            **{name: value(each.workers, each.size) for name, value in fields.items()},
        )
        for place, each in enumerate(planning.order(plan), start=1)
    )  # fmt: skip
    return judged(SweepResult(plan, CONDITIONS, trials, id=3))


def hub(workers, size):
    """Each worker's Python carries 40 requests a second; a slot 10."""
    return workers * min(10 * size, 40)


def database(workers, size):
    """PostgreSQL carries 80, however they are split."""
    return min(10 * workers * size, 80)


def test_it_names_the_split_that_carries_the_most_where_workers_are_what_runs_out():
    verdict = sweep_of(hub).verdicts[0]
    assert (verdict.workers, verdict.max_conns, verdict.shape) == (4, 4, "knee")
    assert verdict.because.startswith("The cheapest split is 4 workers x 4 slots (16 connections, 1")
    assert verdict.copy == "export WEB_CONCURRENCY=4 MAX_CONNS=4"
    assert copy_with_workers("OPTIONS = 4", 2) == "OPTIONS = 4  # with 2 workers"
    assert copy_with_workers("OPTIONS = 4", 1) == "OPTIONS = 4  # with 1 worker"
    assert copy_with_workers("OPTIONS = 4  # the best so far", 2) == "OPTIONS = 4  # the best so far, with 2 workers"
    assert "1 x 4 carries 75% less (" in verdict.because


def test_it_takes_the_fewest_connections_and_says_how_much_more_or_less_the_others_carry():
    """What the verdicts name, in any order; a number of workers for which nothing fits names nothing."""

    def told(*carried):
        trials, verdicts = [], []
        for (workers, size), rps in zip(((1, 8), (2, 2), (2, 3)), carried, strict=True):
            verdicts.append(Verdict("a", "knee", size, rps, rps, rps, "", workers=workers))
            trials += [TrialResult("a", size, n, workers, rps=rps + n / 100) for n in (1, 2, 3)]
        none = Verdict("a", "knee", None, None, None, None, "", workers=8)
        return split.cheapest(trials, [none, *verdicts], 5.0)

    found = told(100.0, 100.0, 100.0)
    assert found.workers == 2
    assert found.text.startswith("The cheapest split is 2 workers x 2 slots (4 connections")
    assert "2 x 3 carries 0% more (" in found.text
    assert "1 x 8 carries 3% more (" in told(103.0, 100.0, 98.0).text
    assert "2 x 3 carries 2% less (" in told(103.0, 100.0, 98.0).text
    assert told(100.0, 50.0, 50.0).text.startswith("The cheapest split is 1 worker x 8 slots (8 connections")


def test_it_names_the_fewest_workers_of_splits_that_cost_as_much():
    verdict = sweep_of(database).verdicts[0]
    assert (verdict.workers, verdict.max_conns) == (1, 8)
    assert (verdict.shape, verdict.copy) == ("knee", "export WEB_CONCURRENCY=1 MAX_CONNS=8"), "4 x 8 carry no more"
    assert "still rises" not in verdict.because
    assert verdict.because.endswith(" Nor do 2 x 8 carry more.")
    assert "1 worker x 8 slots (8 connections" in verdict.because
    wasteful = sweep_of(lambda workers, size: min(10 * size, 40)).verdicts[0]
    assert (wasteful.workers, wasteful.max_conns) == (1, 4), "more workers bring nothing"


def test_splits_that_carry_less_do_not_end_the_rise_of_the_one_that_is_named():
    """Their workers end there, and not what is behind them: it was called a knee where each doubling carried twice."""
    verdict = sweep_of(lambda workers, size: 10 * size if workers == 1 else min(10 * workers * size, 50)).verdicts[0]
    assert (verdict.workers, verdict.max_conns, verdict.shape) == (1, 8, "rising")
    assert "carry more" not in verdict.because


def test_it_is_right_in_95_percent_of_the_sweeps():
    said = [sweep_of(hub, noise=0.03, seed=seed).verdicts[0] for seed in range(40)]
    assert sum((each.workers, each.max_conns) == (4, 4) for each in said) >= 38


def test_it_puts_a_split_that_meets_the_slo_before_one_that_carries_more():
    plan = replace(PLAN, slo=parse_slo("p95=300"))
    verdict = sweep_of(hub, plan=plan, p95_ms=lambda workers, _: 400.0 if workers == 4 else 100.0).verdicts[0]
    assert (verdict.workers, verdict.slo.state) == (2, "met")


def test_it_shows_each_trial_with_its_own_workers() -> None:
    sweep, out = sweep_of(hub, peak_connections=lambda workers, size: workers * size), io.StringIO()
    terminal = Terminal(out)
    for each in sweep.trials:
        terminal.trial(each, sweep.plan, each.order, len(sweep.trials))
    lines = [line for line in out.getvalue().splitlines() if "size   4 x 2 workers " in line]
    assert len(lines) == 3
    assert all("connections   8 of 8" in line for line in lines), "not of the 16 that four workers may open"


def test_it_says_when_nobody_can_tell():
    verdict = sweep_of(hub, noise=0.3).verdicts[0]
    assert (verdict.shape, verdict.max_conns) == ("invalid", None)
    assert verdict.needs.startswith("--repeats ")


def test_a_split_that_may_carry_more_is_not_passed_over_since_its_repeats_differ():
    """Seen: the kernel gave all connections to one of two workers in one repeat of three; 1 x 8 was called cheapest."""

    seen = Counter()

    def carries(workers, size):
        seen[workers, size] += 1
        unlucky = workers > 1 and seen[workers, size] == size.bit_length() % 3 + 1
        return 10 * size * (1 if unlucky else workers)

    verdict = sweep_of(carries).verdicts[0]
    assert (verdict.shape, verdict.max_conns, verdict.copy) == ("invalid", None, "")
    assert verdict.workers > 1
    assert "nobody can tell: 2 workers carried up to 13" in verdict.because, "2 x 8: 160, 160 and 80"
    assert "1 worker x 8 slots (8 connections, 8" in verdict.because
    assert verdict.needs.startswith("--repeats ")


def test_it_runs_every_split_in_each_repeat():
    trials = planning.order(PLAN)
    assert len(trials) == 3 * 3 * 4
    second = {(each.workers, each.size) for each in trials if each.repeat == 2}
    assert second == {(workers, size) for workers in (1, 2, 4) for size in PLAN.sizes}
    assert planning.parse_workers("1,2,4") == {"workers": 4, "splits": (1, 2, 4)}
    assert planning.parse_workers("2") == {"workers": 2, "splits": ()}


def test_every_report_shows_each_number_of_workers():
    sweep = sweep_of(hub, p95_ms=lambda workers, size: 100.0 / size)
    made = document_of(sweep)
    assert judge(json.loads(json.dumps(made))) == made
    assert [(each["workers"], each["size"]) for each in made["sizes"]][3:6] == [(1, 8), (2, 1), (2, 2)]
    markdown, html = formats.to_markdown(sweep), formats.FORMATS["html"].write(sweep)
    counts = ("1 worker", "2 workers", "4 workers")
    for workers in counts:
        assert f"pooldemo x {workers}:" in markdown
        assert f"<caption>pooldemo x {workers}</caption>" in html
    assert markdown.count("| **4** |") == 1
    throughput, p95 = heatmap.maps(sweep)
    assert (len(throughput.values), throughput.chosen, p95.values[2, 4]) == (12, (4, 4), 25.0)
    assert html.count(throughput.svg) == 1
    assert viewed(throughput.svg) == WIDE.width, "as wide as the other charts, so that its letters are as large"
    assert (viewed(throughput.narrow), viewed(p95.narrow)) == (NARROW.width, NARROW.width)
    stream = io.StringIO()
    Terminal(stream).tables(sweep)
    assert "2 workers, all repeats together" in stream.getvalue()
    assert "--workers 1,2,4" in rerun.command(sweep.plan)
    assert [table.stack for table in sweep_page.tables_of(sweep)] == [f"pooldemo x {n}" for n in counts]


def test_it_compares_each_number_of_workers_with_itself():
    before, after = sweep_of(hub), sweep_of(lambda workers, size: hub(workers, size) * (0.7 if workers == 2 else 1))
    assert {each.stack for each in compare_sweeps(before, after).changes if each.is_worse} == {"pooldemo x 2 workers"}


def viewed(svg: str) -> float:
    """How wide a picture is before it is scaled."""
    return float(svg.partition('viewBox="0 0 ')[2].split()[0])


@pytest.mark.parametrize(("counts", "is_wider"), [((1, 2, 4), False), (tuple(range(1, 10)), True)])
def test_a_map_with_more_sizes_than_have_room_is_turned_and_writes_no_number_over_another(counts, is_wider):
    """As wide as a phone as long as it can be: its letters were of six pixels there."""
    plan = replace(PLAN, sizes=tuple(range(1, 13)), splits=counts, workers=counts[-1])
    (throughput, *_) = heatmap.maps(sweep_of(lambda *_: 12_300.0, plan=plan))
    columns = sorted({float(x) for x in re.findall(r'<rect x="([\d.]+)"', throughput.narrow)})
    assert len(columns) == len(counts)
    assert min(b - a for a, b in itertools.pairwise(columns)) > width_of("12,300")
    assert viewed(throughput.narrow) > columns[-1] + width_of("12,300")
    assert (viewed(throughput.narrow) > NARROW.width) == is_wider
    assert ">12 slots<" in throughput.narrow
    assert ">2 workers<" in throughput.svg


@pytest.mark.django_db
def test_its_row_keeps_a_trial_for_each_split(admin_client):
    sweep = sweep_of(hub)
    row = records.store(sweep)
    kept = records.result(row)
    assert (kept.plan, len(kept.trials)) == (PLAN, 36)
    assert kept.verdicts == sweep.verdicts
    page = admin_client.get(f"/admin/pooldemo/sweep/{row.pk}/change/").content.decode()
    assert "pooldemo x 2 workers" in page
    assert admin_client.get("/admin/pooldemo/sweep/").status_code == 200


@pytest.mark.django_db
def test_it_reads_workers_as_typed(capsys):
    call_command("sweep", "--workers", "1,2", "--sizes", "1,2", "--repeats", "1", "--dry-run")
    assert "4 trials, about" in capsys.readouterr().out
    with pytest.raises(CommandError, match="'x' is no number of workers"):
        call_command("sweep", "--workers", "1,x", "--dry-run")


def test_it_names_a_trial_with_its_number_of_workers(db, capsys):
    sweep = sweep_of(hub)
    failed = replace(sweep, trials=tuple(replace(trial, error="it broke") for trial in sweep.trials))
    ((_, named),) = tables.reasons_of_failure(failed)
    assert len(set(named)) == len(sweep.trials)
    assert "pooldemo at 2 x 4 workers, repeat 1" in named
    assert "pooldemo at 2, repeat 1" in named
    assert sorted(map(str, records.store(sweep).trials.all())) == sorted(named)
    call_command("sweep", "--sizes", "1,2", "--workers", "1,4", "--repeats", "1", "--dry-run")
    assert " pooldemo at 2 x 4 workers, repeat 1" in capsys.readouterr().out


@pytest.mark.parametrize(("more", "workers"), [(1.04, 1), (1.07, 2)])
def test_a_split_that_may_carry_more_by_less_than_the_margin_is_passed_over(more, workers):
    rps = {1: 100.0, 2: 100.0 * more}
    trials = [TrialResult("a", 8, n, count, rps=rps[count] + n, requests=99) for n in (1, 2, 3) for count in rps]
    verdicts = [
        Verdict("a", "knee", 8, 100.0, None, None, ""),
        Verdict("a", "invalid", None, *[None] * 3, "", workers=2),
    ]
    found = split.cheapest(trials, verdicts, 5.0)
    assert found.workers == workers
    assert found.text.startswith(
        "The cheapest split is 1 worker x 8" if workers == 1 else "Which split is cheapest nobody"
    )


def test_it_says_how_many_repeats_would_tell_which_split_is_cheapest():
    apart = {1: (100.0, 100.5, 99.8), 2: (88.0, 124.0, 101.0)}
    trials = [TrialResult("a", 8, n, count, rps=rps[n - 1]) for n in (1, 2, 3) for count, rps in apart.items()]
    found = split.cheapest(trials, [Verdict("a", "knee", 8, 100.0, None, None, "", workers=n) for n in (1, 2)], 5.0)
    assert found.text.startswith("Which split is cheapest nobody can tell, repeats differ too much: ")
    assert 3 < int(found.needs.removeprefix("--repeats ")) <= 100


def test_it_asks_for_more_repeats_than_there_are_also_where_a_trial_failed():
    """It counted those that ran, and asked for the three that the sweep had, which --resume refuses."""
    apart = {8: {1: (95.0, 95.0, 95.0), 2: (98.0, 102.0, 0.0)}, 4: {1: (50.0, 50.0, 50.0), 2: (50.0, 52.0, 50.0)}}
    sweep = sweep_of(lambda workers, size: 1.0, plan=replace(PLAN, sizes=(4, 8), splits=(1, 2), workers=2))
    trials = tuple(
        replace(each, rps=(rps := apart[each.size][each.workers][each.repeat - 1]), error="" if rps else "it broke")
        for each in sweep.trials
    )
    for measured, least in ((trials, 4), (trials[:-1], 3)):
        (verdict,) = judged(replace(sweep, trials=measured)).verdicts
        assert "Which split is cheapest nobody can tell" in verdict.because, verdict
        assert verdict.needs == f"--repeats {least}"
