"""The table that the workloads `read`, `write` and `lock` work on, seeded (about 0.3 s) where a project serves them.

It has no model: the workloads speak SQL, and a model would make Django's test runner copy and empty 100,000 rows.
Row 0 is the hot one (pooldemo/sweep/workloads.py). Each page keeps a fifth free: updates stay on it and spare the
index. On another database than PostgreSQL, as a project's tests may have, nothing is made: no workload runs there.
"""

from typing import Any

from django.conf import settings
from django.db import migrations

SERVES = "pooldemo.demo.middleware.PooldemoMiddleware"
TABLE = """
    CREATE TABLE pooldemo_row (
        id integer PRIMARY KEY,
        value bigint NOT NULL DEFAULT 0,
        filling text NOT NULL
    ) WITH (fillfactor = 80)
"""
SEED = "INSERT INTO pooldemo_row (id, filling) SELECT i, repeat(md5(i::text), 4) FROM generate_series(0, 100000) AS i"


def make(_apps: Any, schema_editor: Any) -> None:
    """A project that is swept with pages of its own gets an empty table, not 24 MB."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(TABLE)
        if SERVES in settings.MIDDLEWARE:
            schema_editor.execute(SEED)
        schema_editor.execute("ANALYZE pooldemo_row")


def drop(_apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP TABLE pooldemo_row")


class Migration(migrations.Migration):
    initial = True
    dependencies: list[tuple[str, str]] = []
    operations = [migrations.RunPython(make, drop)]
