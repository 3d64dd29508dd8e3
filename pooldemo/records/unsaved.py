"""A running sweep's way into its row: no measured trial is lost where PostgreSQL is restarted, or gone for good.

What PostgreSQL cannot take goes into a file of `folder` at once, and from there into the row as soon as it can: by the
sweep itself, which waits a minute for it, or by the next `manage.py sweep`, which takes up the files it finds.
"""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from django.core.exceptions import ValidationError
from django.db import Error, connection

from pooldemo import models
from pooldemo.postgresql.unavailable import is_operational
from pooldemo.records import rows
from pooldemo.records.turn import Busy, Turn, settle
from pooldemo.sweep.facts import Plan, TrialResult, Verdict

PATIENCE_S = 60.0  # a restart after a crash replays the log
PAUSE_S = 0.5


class Gone(Exception):
    """PostgreSQL did not come back; the text says so, and where the trials are that it could not take."""


class Keeper:
    """Writes what happens to one sweep. Each method blocks while PostgreSQL does not answer, `PATIENCE_S` at most and
    no longer than `stopping` allows, then raises Gone; and Busy when meanwhile another sweep had its turn."""

    def __init__(
        self,
        row: models.Sweep,
        turn: Turn,
        folder: Path,
        stopping: Callable[[], bool],
        say: Callable[[str], None],
    ) -> None:
        self._row, self._turn, self._stopping, self._say = row, turn, stopping, say
        self._unsaved: list[TrialResult] = []
        self._patience_s = PATIENCE_S
        self._taken_anew = False  # the turn was: somebody may have looked while nobody had it
        # Numbers are a database's own: the start tells apart two sweeps of one number.
        self._file = folder / f"unsaved-{row.pk}-{row.started_at:%Y%m%d%H%M%S%f}.json"

    def trial(self, result: TrialResult) -> None:
        self._unsaved.append(result)
        self._write(lambda: None)

    def plan(self, plan: Plan) -> None:
        self._write(lambda: rows.change_plan(self._row, plan))

    def end(self, status: str, verdicts: Iterable[Verdict]) -> None:
        self._write(lambda: rows.end(self._row, status, verdicts))

    def _write(self, change: Callable[[], None]) -> None:
        deadline_s, kept = None, ""
        while True:
            try:
                self._save()
                return change()
            except Error as error:
                if not is_operational(error):
                    if models.Sweep.objects.filter(pk=self._row.pk).exists():
                        raise
                    raise Gone(f"sweep {self._row.pk} was deleted while it ran: nothing of it is kept") from error
                connection.close()
                reason = str(error).strip()
                if deadline_s is None:
                    deadline_s = time.monotonic() + self._patience_s
                    kept = self._keep()
                    if self._patience_s:
                        self._say(f"PostgreSQL does not answer: {reason}. Waiting {PATIENCE_S:g} s for it; {kept}")
                if self._stopping() or time.monotonic() >= deadline_s:
                    self._patience_s = 0.0  # nobody waits twice
                    raise Gone(f"PostgreSQL is gone ({reason}); {kept}") from error
            time.sleep(PAUSE_S)

    def _save(self) -> None:
        """The trials into the row; without the turn as well, for they were measured while it was ours."""
        busy = None
        try:
            self._taken_anew |= self._turn.keep()
            if self._taken_anew:
                models.Sweep.objects.filter(pk=self._row.pk).update(status=models.Sweep.Status.RUNNING)
                self._taken_anew = False
        except Busy as error:
            busy = error
        while self._unsaved:
            rows.save_trial(self._row, self._unsaved[0])
            self._unsaved.pop(0)
        self._file.unlink(missing_ok=True)
        if busy:
            raise busy

    def _keep(self) -> str:
        """What became of the trials that are not saved, in words."""
        if not self._unsaved:
            return "what was measured is saved"
        about = {"sweep": self._row.pk, "started_at": self._row.started_at.isoformat()}
        text = json.dumps(about | {"trials": [asdict(trial) for trial in self._unsaved]}, allow_nan=False)
        try:
            part = self._file.with_suffix(".part")
            part.write_text(text)
            part.replace(self._file)
        except OSError as error:
            return f"the last trial is saved nowhere yet ({error})"
        return f"the last trial is kept in {self._file}"


def take_up(folder: Path) -> list[str]:
    """Save what earlier sweeps of this database could not, and say what it was: a sentence for each of them.

    A sweep that runs saves its own.
    """
    settle()
    told = []
    for path in sorted(folder.glob("unsaved-*.json")):
        try:
            kept = json.loads(path.read_text())
            trials = [TrialResult.from_dict(trial) for trial in kept["trials"]]
            row = models.Sweep.objects.filter(pk=kept["sweep"], started_at=kept["started_at"]).first()
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError):
            continue  # written just now, cut off, or not ours: nothing that could be saved
        if row is None or row.status == models.Sweep.Status.RUNNING:
            continue  # of another database, or deleted; or it lives
        for trial in trials:
            rows.save_trial(row, trial)
        path.unlink(missing_ok=True)
        told.append(f"sweep {row.pk}: {len(trials)} trials that PostgreSQL could not take then are saved now")
    return told
