"""A few options of the sweep together, for real: a case that once ended without a document, and one with a rate."""

from contextlib import closing
from pathlib import Path

import pytest
from grid import Case, run

from pooldemo.sweep.measure import database

NODB: Case = dict.fromkeys(("workers", "repeats", "sizes", "processes"), "1") | {
    "workload": "nodb", "stack": "pooldemo", "users": "8", "warmup": "0", "report": "all",
    "slo": "", "adaptive": "", "quiet": "", "arrivals": "", "seed": "1", "ms": "5", "think-ms": "0",
}  # fmt: skip
OPEN: Case = NODB | {
    "workload": "think", "stack": "per-request", "workers": "2", "arrivals": "20", "slo": "p50=0.001ms,errors=0%",
    "seed": "-5", "report": "-", "warmup": "0.3", "think-ms": "20", "quiet": "yes",
}  # fmt: skip


@pytest.mark.parametrize("case", [NODB, OPEN], ids=["nodb", "open"])
def test_it_ends_with_a_document_and_its_exit_code(case: Case, database_url: str, tmp_path: Path) -> None:
    _code, _shape, faults = run(case, database_url, tmp_path)
    with closing(database.connect(database_url)) as connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM pooldemo_trial; DELETE FROM pooldemo_sweep")  # what others count
    assert faults == []
