"""What a process of this site does before it serves: have the database running, and its tables made."""

import logging
import sys

logger = logging.getLogger("pooldemo.start")


def ensure_database() -> None:
    """Have the embedded PostgreSQL running, where it is the one used. Exits with code 2 and one text when it cannot.

    Blocks for as long as the start takes; does nothing and costs nothing when DATABASE_URL is set.
    """
    from django.conf import settings

    if settings.EMBEDDED is None:
        return
    try:
        settings.EMBEDDED.ensure()
    except settings.EMBEDDED.Error as error:
        print(error, file=sys.stderr)  # noqa: T201  before logging is configured
        sys.exit(2)


def ensure_tables() -> None:
    """Migrate the embedded database when migrations are missing; of a given one only say which command is missing.

    One process at a time. Looks over a plain connection of its own: the pool of a process that serves is still empty.
    """
    from django.conf import settings
    from django.core.management import call_command
    from django.db import OperationalError

    if settings.EMBEDDED is None:
        try:
            missing = _missing_migrations()
        except OperationalError as error:  # it may come up later: /readyz says when
            logger.warning("the database does not answer: %s", error)
        else:
            if missing:
                logger.warning("%d migrations are missing in the database: run `python manage.py migrate`", missing)
        return
    if _missing_migrations():
        with settings.EMBEDDED.turn():
            if missing := _missing_migrations():  # another worker may have had its turn
                logger.warning("applying %d migrations to the embedded database", missing)
                call_command("migrate", verbosity=0, interactive=False)


def _missing_migrations() -> int:
    from django.db import DEFAULT_DB_ALIAS, connections
    from django.db.backends.postgresql.base import DatabaseWrapper
    from django.db.migrations.executor import MigrationExecutor

    ours = connections[DEFAULT_DB_ALIAS].settings_dict
    options = {key: value for key, value in ours["OPTIONS"].items() if not key.isupper()}  # libpq's
    plain = DatabaseWrapper({**ours, "CONN_MAX_AGE": 0, "OPTIONS": options})
    try:
        executor = MigrationExecutor(plain)
        return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    finally:
        plain.close()
