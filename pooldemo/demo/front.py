"""What the first page says of the last sweep: asked of PostgreSQL past the pool, with one query, shared for a second.

The first page must be there while the pool is exhausted and while PostgreSQL is down, so it never takes a slot.
"""

import json
from dataclasses import dataclass
from functools import lru_cache

from pooldemo.monitor.readiness import Question
from pooldemo.postgresql.aside import aside
from pooldemo.sweep.analyse.document import read_document
from pooldemo.sweep.analyse.shape import BadDocument
from pooldemo.sweep.facts import SweepResult
from pooldemo.sweep.report import answer, comparison, figures, sweep_page

# The document of `sweep --json`. Columns and keys have the same names (models.py).
SQL = """
    SELECT json_build_object(
        'sweep', to_jsonb(sweep) - 'verdicts',
        'verdicts', sweep.verdicts,
        'trials', (
            SELECT coalesce(json_agg(to_jsonb(trial) - 'per_second' ORDER BY id), '[]')
            FROM pooldemo_trial AS trial WHERE trial.sweep_id = sweep.id
        )
    )::text
    FROM pooldemo_sweep AS sweep WHERE status = 'done' ORDER BY id DESC LIMIT 1
"""

_question = Question(SQL)


@dataclass(frozen=True)
class LastSweep:
    """The last sweep that ended, with its curve as SVG; `trouble` says why it cannot be told (empty: there is none)."""

    sweep: SweepResult | None = None
    cards: tuple[sweep_page.Card, ...] = ()
    curve: str = ""
    headline: str = ""
    trouble: str = ""


def last_sweep() -> LastSweep:
    """What is known of it. Blocks for two seconds at most, when PostgreSQL accepts and does not answer."""
    found = _question.answer()
    if not found.rows:
        return LastSweep(trouble=found.trouble)
    try:
        return _told(found.rows[0][0])
    except BadDocument as error:
        return LastSweep(trouble=str(error))


@lru_cache(maxsize=1)
def _told(document: str) -> LastSweep:
    return aside(_drawn, document)


def _drawn(document: str) -> LastSweep:
    sweep = read_document(json.loads(document))
    figure = figures.throughput(sweep.chosen)
    return LastSweep(
        sweep, tuple(sweep_page.cards(sweep)), figure.svg + figure.narrow, answer.unbroken(comparison.of_sweep(sweep))
    )
