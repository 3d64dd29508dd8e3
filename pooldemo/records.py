"""Facts into rows and back: the one place that knows both the sweep's dataclasses and the models.

A row says `running` only while a sweep runs. The truth is PostgreSQL's advisory lock, which ends with the process that
holds it, however that ends: `Turn` holds it, and `settle` makes the rows follow it.
"""

import time
from collections.abc import Iterable
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from django.db import Error, connection, transaction
from django.utils import timezone

from pooldemo import models
from pooldemo.postgresql.unpooled import plain_connection
from pooldemo.sweep.facts import Conditions, Plan, SweepResult, TrialResult, Verdict
from pooldemo.sweep.report import files

SWEEP_LOCK = 0x5357_4545_50  # "SWEEP": any number that nobody else locks
PATIENCE_S = 1.0  # for those who settle: they have it for the length of an UPDATE
# The lock lives as long as this session. One whose machine lost its power must not keep it for TCP's two hours, and an
# administrator's limit for idle sessions must not end it. Settings that this server does not know are left out.
SESSION = {
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "idle_session_timeout": "0",
}


class Busy(Exception):
    """Another sweep runs on this database."""


class NoSuchSweep(LookupError):
    """There is no sweep of that number; the text names the ones there are."""


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
    """Every sweep that is kept, newest first, without its trials."""
    settle()
    return [curve(row, ()) for row in models.Sweep.objects.all()]


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
    if name.isdecimal() and not Path(name).exists():
        return result(get(int(name)))
    return files.read(name)


def result(sweep: models.Sweep) -> SweepResult:
    """A row and its trials as facts, in the order in which they ran."""
    names = [each.name for each in fields(TrialResult)]
    return _facts(sweep, sweep.conditions, list(sweep.trials.values(*names)))


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
        row.save(update_fields=["started_at"])
    end(row, sweep.status, sweep.verdicts)
    return row


def settle() -> None:
    """Call interrupted what a row calls running and nobody runs. Whoever shows sweeps does this first.

    It takes the lock beside others who settle, so no sweep begins or goes on between the look and the UPDATE.
    """
    running = models.Sweep.objects.filter(status=models.Sweep.Status.RUNNING)
    if not running.exists():
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock_shared(%s)", [SWEEP_LOCK])
        if cursor.fetchone()[0]:
            running.update(status=models.Sweep.Status.INTERRUPTED)


class Turn:
    """The right to run the one sweep of this database, from `with` to its end. Raises Busy when another has it.

    It is held on a connection of its own, past the pool: what becomes of the sweep's other connections leaves it alone.
    """

    def __init__(self) -> None:
        self._connection = plain_connection()

    def __enter__(self) -> Self:
        self._take()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._connection.close()

    def keep(self) -> bool:
        """Make sure that it is still ours; whether it had to be taken anew, because PostgreSQL was restarted.

        Raises Busy when another sweep was quicker, DatabaseError when PostgreSQL does not answer.
        """
        try:
            with self._connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        except Error:
            self._take()
            return True
        return False

    def _take(self) -> None:
        self._connection.close()
        with self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS wanted (name, value)"
                " JOIN pg_settings USING (name)", [list(SESSION), list(SESSION.values())],
            )  # fmt: skip
            deadline_s = time.monotonic() + PATIENCE_S
            while True:
                cursor.execute("SELECT pg_try_advisory_lock(%s)", [SWEEP_LOCK])
                if cursor.fetchone()[0]:
                    return
                if time.monotonic() > deadline_s:
                    break
                time.sleep(0.05)
        self._connection.close()
        other = models.Sweep.objects.filter(status=models.Sweep.Status.RUNNING).first()
        number = f" ({other.pk})" if other else ""
        raise Busy(
            f"another sweep{number} is running on this database, and two would measure each other: wait for its end"
        )
