"""Facts into rows and back: the one place that knows both the sweep's dataclasses and the models."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from django.db import connection
from django.utils import timezone

from pooldemo import models
from pooldemo.sweep.result import Conditions, Plan, SweepResult, TrialResult, Verdict

SWEEP_LOCK = 0x5357_4545_50  # "SWEEP": any number that nobody else locks


class Busy(Exception):
    """Another sweep runs on this database."""


class NoSuchSweep(LookupError):
    """There is no sweep of that number; the text names the ones there are."""


def begin(plan: Plan, conditions: Conditions) -> models.Sweep:
    """A new row, running."""
    return models.Sweep.objects.create(**asdict(plan), conditions=asdict(conditions))


def save_trial(sweep: models.Sweep, trial: TrialResult) -> None:
    """Save one trial; a failed one of the same stack, size and repeat gives way to it."""
    sweep.trials.filter(stack=trial.stack, size=trial.size, repeat=trial.repeat).exclude(error="").delete()
    sweep.trials.create(**asdict(trial))


def change_plan(sweep: models.Sweep, plan: Plan, status: str) -> None:
    """Write down what an adaptive or a resumed sweep has come to run."""
    for name, value in (asdict(plan) | {"status": status}).items():
        setattr(sweep, name, value)
    sweep.save()


def end(sweep: models.Sweep, status: str, verdicts: Iterable[Verdict]) -> None:
    sweep.status, sweep.verdicts = status, [asdict(verdict) for verdict in verdicts]
    sweep.ended_at = timezone.now()
    sweep.save()


def get(number: int) -> models.Sweep:
    """The sweep of that number. Raises NoSuchSweep."""
    try:
        return models.Sweep.objects.get(pk=number)
    except models.Sweep.DoesNotExist:
        known = ", ".join(str(pk) for pk in models.Sweep.objects.values_list("pk", flat=True)[:10]) or "none"
        raise NoSuchSweep(f"there is no sweep {number}: the last ones are {known}") from None


def latest() -> models.Sweep | None:
    """The newest sweep, whatever became of it."""
    return models.Sweep.objects.first()


def result(sweep: models.Sweep) -> SweepResult:
    """A row and its trials as facts, in the order in which they ran."""
    names = [each.name for each in fields(TrialResult)]
    return _facts(sweep, sweep.conditions, list(sweep.trials.values(*names)))


def curve(sweep: models.Sweep, trials: Iterable[models.Trial]) -> SweepResult:
    """As much as a list shows: the plan, the verdicts, and of the `trials` how many requests a second; without
    asking the database."""
    names = ("stack", "size", "repeat", "rps", "error")
    return _facts(sweep, {}, [{name: getattr(trial, name) for name in names} for trial in trials])


def _facts(sweep: models.Sweep, conditions: dict[str, Any], trials: list[dict[str, Any]]) -> SweepResult:
    plan = {each.name: getattr(sweep, each.name) for each in fields(Plan)}
    about = {
        "id": sweep.pk,
        "status": sweep.status,
        "started_at": sweep.started_at.isoformat(timespec="seconds"),
        "conditions": conditions,
    }
    return SweepResult.from_dict({"sweep": plan | about, "trials": trials, "verdicts": sweep.verdicts})


def store(sweep: SweepResult) -> models.Sweep:
    """A sweep from elsewhere, as a new row with a number of its own."""
    row = begin(sweep.plan, sweep.conditions)
    for trial in sweep.trials:
        save_trial(row, trial)
    if sweep.started_at:
        row.started_at = datetime.fromisoformat(sweep.started_at)
    end(row, sweep.status, sweep.verdicts)
    return row


@contextmanager
def alone() -> Iterator[None]:
    """Let one sweep at a time run on this database: two would measure each other. Raises Busy; does not wait.

    A lock of the session: PostgreSQL drops it when this process ends, however it ends.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [SWEEP_LOCK])
        if not cursor.fetchone()[0]:
            raise Busy("another sweep is running on this database, and two would measure each other: wait for its end")
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [SWEEP_LOCK])
