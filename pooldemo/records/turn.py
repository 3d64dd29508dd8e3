"""Whose turn it is: one sweep at a time runs on a database, and a row says `running` only while its sweep does.

The truth is PostgreSQL's advisory lock, which ends with the process that holds it, however that ends: `Turn` holds it,
and `settle` makes the rows follow it. It ends with PostgreSQL too, and is taken anew when a trial has ended. So on its
own machine a sweep is told by a locked file as well, which needs no number of a process and no clock.
"""

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from django.db import Error, connection, transaction

from pooldemo import models
from pooldemo.postgresql.unpooled import is_postgresql, plain_connection
from pooldemo.sweep.stacks.stack import RUN_FOLDER, make_folder

SWEEP_LOCK = 0x5357_4545_50  # "SWEEP": any number that nobody else locks
PATIENCE_S = 1.0  # for those who settle: they have it for the length of an UPDATE
# The lock lives as long as this transaction. One whose machine lost its power must not keep it for TCP's two hours, and
# an administrator's limits must not end it. Settings that this server does not know are left out.
SETTINGS = {
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "idle_in_transaction_session_timeout": "0",
    "transaction_timeout": "0",
}


class Busy(Exception):
    """Another sweep runs on this database."""


def settle() -> None:
    """Call interrupted what a row calls running and nobody runs. Whoever shows sweeps does this first.

    It takes the lock beside others who settle, so no sweep begins or goes on between the look and the UPDATE.
    """
    running = models.Sweep.objects.filter(status=models.Sweep.Status.RUNNING)
    if not running.exists():
        return
    if not is_postgresql():  # no sweep runs there
        running.update(status=models.Sweep.Status.INTERRUPTED)
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock_shared(%s)", [SWEEP_LOCK])
        if cursor.fetchone()[0]:
            ended = [row.pk for row in running.only("started_at") if not _lives(row)]
            running.filter(pk__in=ended).update(status=models.Sweep.Status.INTERRUPTED)


def mark_of(row: models.Sweep) -> Path:
    """The file that is locked while it lives. Numbers are a database's own: the start tells apart two of one number."""
    return RUN_FOLDER / f"row-{row.pk}-{row.started_at:%Y%m%d%H%M%S%f}.lock"


def _lives(row: models.Sweep) -> bool:
    """Whether it runs on this machine, in this folder."""
    try:
        with mark_of(row).open() as mark:
            fcntl.flock(mark, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is none, or it is another user's
        return False
    with suppress(OSError):  # of one that was killed; it stays in a folder that is here to be read alone
        mark_of(row).unlink()
    return False


class Turn:
    """The right to run the one sweep of this database, from `with` to its end. Raises Busy when another has it.

    It is held on a connection of its own, past the pool: what becomes of the sweep's other connections leaves it alone.
    By a transaction that stays open: behind PgBouncer a session's lock would outlive the sweep, and be anybody's.
    """

    def __init__(self) -> None:
        self._connection = plain_connection()
        self._is_ours = False
        self._mark: tuple[Path, int] | None = None

    def of(self, row: models.Sweep) -> None:
        """Have everybody on this machine know that `row` runs, until the end of the block or of this process."""
        path = mark_of(row)
        make_folder(path.parent)
        self._mark = path, os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._mark[1], fcntl.LOCK_EX)

    def __enter__(self) -> Self:
        self._take()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._connection.close()
        if self._mark is not None:
            path, descriptor = self._mark
            path.unlink(missing_ok=True)
            os.close(descriptor)

    def keep(self) -> bool:
        """Make sure that it is still ours; whether it had to be taken anew, because PostgreSQL was restarted.

        Raises Busy when another sweep was quicker, DatabaseError when PostgreSQL does not answer.
        """
        if self._is_ours:  # or a new connection would answer, without the lock
            with suppress(Error), self._connection.cursor() as cursor:
                cursor.execute("SELECT 1")
                return False
        self._take()
        return True

    def _take(self) -> None:
        self._is_ours = False
        self._connection.close()
        self._connection.set_autocommit(False)
        with self._connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")  # which keeps no snapshot, whoever vacuums
            cursor.execute(
                "SELECT set_config(name, value, true) FROM unnest(%s::text[], %s::text[]) AS wanted (name, value)"
                " JOIN pg_settings USING (name)", [list(SETTINGS), list(SETTINGS.values())],
            )  # fmt: skip
            deadline_s = time.monotonic() + PATIENCE_S
            while True:
                cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [SWEEP_LOCK])
                if cursor.fetchone()[0]:
                    self._is_ours = True
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
