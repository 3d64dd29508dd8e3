"""How many connections PostgreSQL itself counts, to lay beside what the pools say of themselves.

Asked past the pool, shared for a second and never waited for longer than two: `readiness.Question`.
"""

from dataclasses import dataclass

from pooldemo.plain import APPLICATION_NAME
from pooldemo.readiness import Question

SQL = f"""
    SELECT application_name, count(*)
    FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND datname = current_database() AND application_name <> '{APPLICATION_NAME}'
    GROUP BY application_name
"""  # noqa: S608  a constant of ours

_question = Question(SQL)


@dataclass(frozen=True)
class Census:
    """`connections` of one name (None: PostgreSQL does not answer, `trouble` says why), and of `others` to the same
    database."""

    connections: int | None
    others: int = 0
    trouble: str = ""


def take(application_name: str) -> Census:
    """Count the connections of that name; an empty one means all that have none. Blocks for two seconds at most."""
    rows, trouble = _question.answer()
    if trouble:
        return Census(None, trouble=trouble)
    counts = dict(rows)
    own = counts.pop(application_name, 0)
    return Census(own, sum(counts.values()))
