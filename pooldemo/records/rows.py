"""Facts into rows and back: the one place that knows both the sweep's dataclasses and the models."""

import contextlib
import os.path
from collections.abc import Iterable
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from pooldemo import models
from pooldemo.postgresql.aside import aside
from pooldemo.records.turn import settle
from pooldemo.sweep.analyse.compare import SAME
from pooldemo.sweep.analyse.shape import BadDocument, check_rows
from pooldemo.sweep.facts import Conditions, Plan, SweepResult, TrialResult, Verdict
from pooldemo.sweep.report import files

TRIAL = tuple(each.name for each in fields(TrialResult))


class NoSuchSweep(LookupError):
    """There is no sweep of that number; the text names the ones there are."""


class Unreadable(BadDocument):
    """A row that no sweep has written; the text says what is wrong with it."""


def begin(plan: Plan, conditions: Conditions) -> models.Sweep:
    """A new row, running."""
    return models.Sweep.objects.create(**asdict(plan), conditions=asdict(conditions))


def start(sweep: models.Sweep, plan: Plan) -> None:
    """Say that it runs, and that no other does. The caller has the Turn."""
    models.Sweep.objects.filter(status=models.Sweep.Status.RUNNING).exclude(pk=sweep.pk).update(
        status=models.Sweep.Status.INTERRUPTED
    )
    sweep.status, sweep.ended_at = models.Sweep.Status.RUNNING, None
    sweep.save(update_fields=["status", "ended_at"])
    change_plan(sweep, plan)


def save_trial(sweep: models.Sweep, trial: TrialResult) -> None:
    """Save one trial; a failed one of the same place in the plan gives way to it. One that ran stays as it is."""
    with transaction.atomic():
        same = sweep.trials.filter(stack=trial.stack, size=trial.size, repeat=trial.repeat, workers=trial.workers)
        same.exclude(error="").delete()
        # Somebody else may be saving the same one from its file.
        sweep.trials.bulk_create([models.Trial(sweep=sweep, **asdict(trial))], ignore_conflicts=True)


def change_plan(sweep: models.Sweep, plan: Plan) -> None:
    """Write down what an adaptive or a resumed sweep has come to run. The notes are a person's and stay."""
    values = asdict(plan)
    for name, value in values.items():
        setattr(sweep, name, value)
    sweep.save(update_fields=list(values))


def end(sweep: models.Sweep, status: str, verdicts: Iterable[Verdict]) -> None:
    sweep.status, sweep.verdicts = status, [asdict(verdict) for verdict in verdicts]
    sweep.ended_at = timezone.now()
    sweep.save(update_fields=["status", "verdicts", "ended_at"])


def listing() -> list[SweepResult]:
    """Every sweep that is kept and can be read, newest first, without its trials."""
    settle()
    return _curves(models.Sweep.objects.all())


def get(number: int) -> models.Sweep:
    """The sweep of that number. Raises NoSuchSweep."""
    settle()
    try:
        return models.Sweep.objects.get(pk=number)
    except models.Sweep.DoesNotExist:
        known = ", ".join(str(pk) for pk in models.Sweep.objects.values_list("pk", flat=True)[:10]) or "none"
        raise NoSuchSweep(f"there is no sweep {number}: the last ones are {known}") from None


def latest() -> models.Sweep | None:
    """The newest sweep, whatever became of it."""
    settle()
    return models.Sweep.objects.first()


def read(name: str) -> SweepResult:
    """The sweep of that number, or of that file. Raises NoSuchSweep, or BadDocument, which names the file."""
    if name.isdecimal() and len(name) < 19 and not os.path.exists(name):  # noqa: PTH110  it takes a name of any length
        return result(get(int(name)))
    return files.read(name)


def previous(sweep: models.Sweep) -> int | None:
    """The number of the last sweep before it that asked for the same load; None: there is none."""
    before = _same_load(sweep).filter(pk__lt=sweep.pk, status=models.Sweep.Status.DONE)
    return before.values_list("pk", flat=True).first()


def of_load(sweep: models.Sweep, most: int = 60) -> list[SweepResult]:
    """The last sweeps that asked for the same load and can be read, newest first, without their trials."""
    return _curves(_same_load(sweep).defer("conditions", "notes")[:most])


def _curves(rows: QuerySet[models.Sweep]) -> list[SweepResult]:
    found = []
    for row in rows:
        with contextlib.suppress(Unreadable):
            found.append(curve(row, ()))
    return found


def _same_load(sweep: models.Sweep) -> QuerySet[models.Sweep]:
    """Those with a verdict that asked for the same."""
    load = (*SAME, "splits", *(["slo"] if sweep.search else []))
    return models.Sweep.objects.filter(**{name: getattr(sweep, name) for name in load}).exclude(verdicts=[])


def begun_at(sweep: models.Sweep) -> datetime:
    """When it began, with a zone: a project without USE_TZ keeps the time of its own."""
    return sweep.started_at if timezone.is_aware(sweep.started_at) else timezone.make_aware(sweep.started_at)


def result(sweep: models.Sweep) -> SweepResult:
    """A row and its trials as facts, in the order in which they ran. Raises Unreadable."""
    return aside(_facts, sweep, sweep.conditions, list(sweep.trials.values(*TRIAL)))


def alone(trial: models.Trial) -> SweepResult:
    """The same with this one trial."""
    return _facts(trial.sweep, trial.sweep.conditions, [{name: getattr(trial, name) for name in TRIAL}])


def steps(sweep: models.Sweep) -> SweepResult:
    """The same with as much of each trial as its progress shows."""
    names = ("stack", "size", "repeat", "workers", "rps", "p95_ms", "started_at", "error")
    return _facts(sweep, {}, list(sweep.trials.values(*names)))


def plan_of(sweep: models.Sweep) -> Plan:
    """What was asked for. Raises Unreadable."""
    return curve(sweep, ()).plan


def curve(sweep: models.Sweep, trials: Iterable[models.Trial]) -> SweepResult:
    """As much as a list shows: the plan, the verdicts, and of the `trials` how many requests a second; without
    asking the database."""
    names = ("stack", "size", "repeat", "workers", "rps", "error")
    return _facts(sweep, {}, [{name: getattr(trial, name) for name in names} for trial in trials])


def _facts(sweep: models.Sweep, conditions: dict[str, Any], trials: list[dict[str, Any]]) -> SweepResult:
    plan = {each.name: getattr(sweep, each.name) for each in fields(Plan)}
    about = {
        "id": sweep.pk,
        "status": sweep.status,
        "started_at": begun_at(sweep).isoformat(timespec="seconds"),
        "conditions": conditions,
    }
    try:
        check_rows(plan | about, trials, sweep.verdicts)
        return SweepResult.from_dict({"sweep": plan | about, "trials": trials, "verdicts": sweep.verdicts})
    except (BadDocument, TypeError, KeyError, ValueError, AttributeError) as error:
        raise Unreadable(f"sweep {sweep.pk} cannot be read: {error}") from error


def store(sweep: SweepResult) -> models.Sweep:
    """A sweep from elsewhere, as a new row with a number of its own."""
    row = begin(sweep.plan, sweep.conditions)
    for trial in sweep.trials:
        save_trial(row, trial)
    if sweep.started_at:
        row.started_at = datetime.fromisoformat(sweep.started_at)
        row.save(update_fields=["started_at"])
    end(row, sweep.status, sweep.verdicts)
    return row
