"""Whatever options and trials come together, a sweep has a document, a row, every report and its pages."""

import io
import itertools
import json
import random
from dataclasses import replace
from typing import Any

import pytest
from django.test import Client
from grid import strict

from pooldemo import models, records
from pooldemo.sweep.analyse import judge, warnings
from pooldemo.sweep.facts import Conditions, Limit, Plan, SweepResult, TrialResult
from pooldemo.sweep.measure import adaptive
from pooldemo.sweep.report import formats
from pooldemo.sweep.report.terminal import Terminal

MANY = 300
INFINITE = ('"inf', '"nan', ",inf", ",nan", ">inf", ">nan", " inf ", " nan ")  # as a report would show it


def any_plan(dice: random.Random) -> Plan:
    return Plan(
        stacks=dice.choice([("pooldemo",), ("pooldemo", "geventpool")]),
        sizes=dice.choice([(1,), (7,), (1, 2), (1, 2, 4, 8, 16), (4, 5), (1, 400)]),
        workload=dice.choice(["slow", "nodb", "mix", "hold", "fast"]),
        ms=dice.choice([0.0, 5.0, 60_000.0]),
        users=dice.choice([1, 2, 64, 10_000]),
        workers=dice.choice([1, 2, 64]),
        duration_s=dice.choice([1.0, 5.0]),
        warmup_s=dice.choice([0.0, 2.0]),
        repeats=dice.choice([1, 2, 3]),
        slo=dice.choice(
            [(), (Limit("p95", 300.0),), (Limit("p50", 0.0), Limit("errors", 0.0)), (Limit("errors", 1.0),)]
        ),
        rate=dice.choice([None, None, 0.1, 50.0, 1e6]),
        adaptive=dice.random() < 0.3,
    )


def any_trial(dice: random.Random, plan: Plan, stack: str, size: int, repeat: int, kind: str) -> TrialResult:
    """One that failed, one without a request, without a success, or a good one, with what a stack may not tell left
    out."""
    if kind == "failed" or dice.random() < 0.05:
        return TrialResult(stack, size, repeat, error="no server came up\n  Traceback: x")
    served = {"idle": 0, "refused": 0, "one": 1, "level": 100, "noisy": dice.randint(1, 1000)}.get(kind, 20 * size)
    refused = dice.choice([0, 1, 500]) if kind in ("refused", "noisy") else 0
    ms = dice.choice([0.0, 0.013, 12.5, 60_000.0])
    told = dice.random() < 0.7
    seconds = max(1, int(plan.duration_s))

    def maybe(value: float) -> float | None:
        return value if served and told else None

    return TrialResult(
        stack, size, repeat, rps=served / seconds, requests=served + refused, failures=refused,
        **(dict.fromkeys(("p50_ms", "p95_ms", "p99_ms", "max_ms", "mean_ms"), ms) if served else {}),  # type: ignore[arg-type]
        failures_by_message={"503 PoolTimeout": refused} if refused else {},
        wait_p50_ms=maybe(0.0), wait_p95_ms=maybe(ms), wait_mean_ms=maybe(ms), hold_mean_ms=maybe(ms),
        query_mean_ms=maybe(0.0 if plan.workload == "nodb" else ms), capped=told,
        peak_connections=dice.choice([None, 0, size, size * plan.workers + 1]), efficiency=maybe(0.9),
        per_second=(served,) + (0,) * (seconds - 1), failures_per_second=(refused,) + (0,) * (seconds - 1),
        latencies=((ms, served),) if served else (), window_s=float(seconds), generator_cpu=None,
        worker_cpu=dice.choice([0.0, 1.0]), server_cpu=dice.choice([0.0, 2.0]),
        postgresql_cpu=dice.choice([None, 0.0]),
        other_cpu=dice.choice([0.0, 2.0]), load_before=0.0, probe_max_ms=ms, target_rps=plan.rate,
        little_residual=dice.choice([None, 0.0, 1.0]) if served + refused else None,
    )  # fmt: skip


def any_sweep(seed: int) -> SweepResult:
    dice = random.Random(seed)
    plan = any_plan(dice)
    kind = dice.choice(["rising", "level", "noisy", "refused", "idle", "one", "failed"])
    conditions = Conditions(cpus=2, room=dice.choice([0, 17, 997]))
    keys = [(stack, size, n) for n in range(1, plan.repeats + 1) for stack in plan.stacks for size in plan.sizes]
    keys = keys[: dice.choice([None, None, 1, 0])]
    trials = [any_trial(dice, plan, *key, kind) for key in keys]
    trials = [replace(each, warnings=warnings.for_trial(each, plan)) for each in trials]
    return SweepResult(plan, conditions, tuple(trials), judge.judge(plan, trials, conditions), id=seed)


@pytest.mark.parametrize("tenth", range(10))
def test_it_ends_with_a_document_whatever_the_trials_show(tenth: int) -> None:
    for seed in range(tenth, MANY, 10):
        sweep = any_sweep(seed)
        assert SweepResult.from_dict(strict(formats.to_json(sweep))) == sweep, seed
        assert strict(formats.to_list([sweep]))[0]["verdicts"] is not None
        for make in (formats.FORMATS["csv"].write, formats.FORMATS["html"].write, formats.FORMATS["markdown"].write):
            text = make(sweep)
            assert not any(bad in text for bad in ('"inf', '"nan', ",inf", ",nan", ">inf", ">nan", " inf ", " nan ")), (
                seed
            )
        terminal = Terminal(io.StringIO())
        terminal.table(sweep.plan, sweep.trials)
        terminal.verdicts(sweep.verdicts)
        terminal.kept(sweep)
        for stack in sweep.plan.stacks:
            own = tuple(each for each in sweep.trials if each.stack == stack)
            adaptive.next_sizes(judge.weigh(sweep.plan, own, sweep.conditions), sweep.plan.sizes, 1000)


def test_its_row_and_its_pages_stand_whatever_the_trials_show(admin_client: Client, db: None) -> None:
    rows: list[int] = []
    for seed in range(0, MANY, 15):
        sweep = any_sweep(seed)
        row = records.store(sweep)
        assert records.result(row).verdicts == sweep.verdicts, seed
        answer = admin_client.get(f"/admin/pooldemo/sweep/{row.pk}/change/")
        assert answer.status_code == 200, seed
        assert not any(bad in answer.content.decode() for bad in ("Infinity", "NaN")), seed
        rows.append(row.pk)
    assert admin_client.get("/admin/pooldemo/sweep/").status_code == 200
    for before, after in itertools.pairwise(rows):
        assert admin_client.get(f"/admin/pooldemo/sweep/compare/?sweeps={before},{after}").status_code == 200


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_its_rows_refuse_what_is_no_json(value: float) -> None:
    field: Any = models.Sweep._meta.get_field("verdicts")
    with pytest.raises(ValueError, match="not JSON compliant"):
        json.dumps([value], cls=field.encoder)
