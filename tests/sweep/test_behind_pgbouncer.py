"""A sweep of a project whose DATABASES lead to PgBouncer in transaction mode: what it must not rely on."""

from types import SimpleNamespace
from typing import Any

import pytest

from pooldemo import records
from pooldemo.sweep.measure.database import postmaster


@pytest.mark.django_db
def test_its_turn_ends_with_its_transaction_and_not_with_a_session() -> None:
    """Which is anybody's there: the lock outlived the sweep, and no other could begin."""
    with records.Turn() as turn:
        raw: Any = turn._connection.connection
        with raw.cursor() as cursor:
            cursor.execute("SELECT backend_xid, backend_xmin FROM pg_stat_activity WHERE pid = pg_backend_pid()")
            seen = cursor.fetchone()
        assert raw.info.transaction_status == 2, "it is in a transaction"
        with pytest.raises(records.Busy):
            records.Turn()._take()
        raw.rollback()
        with records.Turn():
            pass
    assert seen[0] is None, "and that one is nothing to vacuum"


@pytest.mark.parametrize("pid", [-1761524991, 0, 2**31 - 1])
def test_it_takes_no_number_of_pgbouncers_for_a_process(pid: int) -> None:
    """Every other sweep was refused: "pid must be a positive integer"."""
    assert postmaster(SimpleNamespace(info=SimpleNamespace(host="127.0.0.1", backend_pid=pid))) is None
