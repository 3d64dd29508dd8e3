"""What a sweep's page weighs, with all that it loads."""

import random
import re
from dataclasses import asdict, replace

from django.test import Client
from django.urls import reverse

from pooldemo import models, records
from pooldemo.sweep.facts import SweepResult, TrialResult
from pooldemo.sweep.plan import order


def test_it_weighs_less_than_250_kib_and_15_requests(admin_client: Client, row: models.Sweep) -> None:
    def weigh(path: str) -> int:
        answer = admin_client.get(path, headers={"Accept-Encoding": "gzip"})
        assert answer.status_code == 200
        return len(answer.getvalue())

    path = reverse("admin:pooldemo_sweep_change", args=[row.pk])
    files = set(re.findall(r'(?:href|src)="(/static/[^"]+)"', admin_client.get(path).content.decode()))
    assert 5 < len(files) < 15
    assert sum(map(weigh, [path, *files])) < 250 * 1024


def test_it_weighs_no_more_for_thousands_of_trials_or_as_many_reasons_to_fail(
    admin_client: Client, db: None, measured: SweepResult
) -> None:
    stacks, chance = ("pooldemo", "geventpool", "upool"), random.Random(1)
    plan = replace(measured.plan, stacks=stacks, repeats=100)
    trials = tuple(
        replace(measured.trials[0], stack=each.stack, size=each.size, repeat=each.repeat, latencies=())
        if place % 6
        else TrialResult(each.stack, each.size, each.repeat, error=chance.randbytes(2000).hex())
        for place, each in enumerate(order(plan))
    )
    row = records.begin(plan, measured.conditions)
    models.Trial.objects.bulk_create(models.Trial(sweep=row, **asdict(each)) for each in trials)
    records.end(row, "done", measured.verdicts)
    failed = sum(bool(each.error) for each in trials)
    html = admin_client.get(reverse("admin:pooldemo_sweep_change", args=[row.pk])).content.decode()
    assert len(html.encode()) < 250 * 1024, "before it is compressed"
    assert html.count('<details class="failed"') == 10
    assert f"{failed - 10} more failed for other reasons" in html
