"""A few options of the sweep together, for real: a case that once ended without a document, two that ask for little."""

from contextlib import closing
from pathlib import Path

import pytest
from grid import Case, cases, run

from pooldemo.sweep.measure import database

NODB: Case = dict.fromkeys(("workers", "repeats", "sizes", "processes"), "1") | {
    "workload": "nodb", "stack": "pooldemo", "users": "8", "warmup": "0", "report": "all",
    "slo": "", "adaptive": "", "quiet": "", "arrivals": "", "seed": "1", "ms": "5", "think-ms": "0",
}  # fmt: skip
SHORT = {
    "sizes": ("1", "3"), "repeats": ("1",), "adaptive": ("",), "warmup": ("0", "0.3"), "arrivals": ("20",),
    "stack": ("pooldemo", "per-request"),
}  # fmt: skip
CHOSEN = [each for each in cases(1) if all(each[name] in values for name, values in SHORT.items())][:2]


@pytest.mark.parametrize("case", [NODB, *CHOSEN], ids=["nodb", "one", "another"])
def test_it_ends_with_a_document_and_its_exit_code(case: Case, database_url: str, tmp_path: Path) -> None:
    _code, _shape, faults = run(case, database_url, tmp_path)
    with closing(database.connect(database_url)) as connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM pooldemo_trial; DELETE FROM pooldemo_sweep")  # what others count
    assert faults == []
