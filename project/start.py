"""What a process of this site does before it serves: have the database running, and its tables made.

`python -m project.start PARENT` does both and exits with 0, or with 2 after one clear text: for gunicorn's master,
which must not import Django (workers would inherit it from before the monkey patch).
"""

import logging
import os
import sys
import threading
from pathlib import Path

logger = logging.getLogger("pooldemo.start")

PATIENCE_S = 5


def ensure_database() -> None:
    """Have the embedded PostgreSQL running, where it is the one used; exits with code 2 when it cannot be."""
    from django.conf import settings

    if settings.EMBEDDED is not None:
        settings.EMBEDDED.ensure_or_exit()


def ensure_tables() -> None:
    """Migrate the embedded database when migrations are missing; of a given one only say which command is missing.
    Blocks for PATIENCE_S at most where it accepts and does not answer: a server that starts waits for none.

    One process at a time. Looks over a plain connection of its own: the pool of a process that serves is still empty.
    """
    from django.conf import settings
    from django.core.management import call_command

    if settings.EMBEDDED is None:
        looking = threading.Thread(target=_warn, name="migrations", daemon=True)
        looking.start()
        looking.join(PATIENCE_S)
        if looking.is_alive():
            logger.warning("the database does not answer. /readyz says when it does.")
        return
    if _missing_migrations():
        with settings.EMBEDDED.turn():
            if missing := _missing_migrations():  # another worker may have had its turn
                logger.warning("applying %d migrations to the embedded database", missing)
                call_command("migrate", verbosity=0, interactive=False)


def _warn() -> None:
    """Say what is wrong with a database that was given."""
    from django.conf import settings
    from django.db import DEFAULT_DB_ALIAS, Error, OperationalError, connections

    from project import refusal

    try:
        missing = _missing_migrations()
    except Error as error:
        settings_of = connections[DEFAULT_DB_ALIAS].settings_dict
        said = f"the database refuses: {' '.join(str(error).split())}."
        later = " /readyz says when it answers." if isinstance(error, OperationalError) else ""  # it may come up
        logger.warning("%s%s", refusal.sentence(error, settings_of, settings.DATABASE_URL) or said, later)
    else:
        if missing:
            logger.warning("%d migrations are missing in the database: run `python manage.py migrate`", missing)


def main(parent: int) -> None:
    """Both, in a process of its own. Where its parent was killed meanwhile, nobody else stops what it has started."""
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"  # one in the shell is another project's
    ensure_database()
    django.setup()
    ensure_tables()
    if os.getppid() != parent:
        command = [sys.executable, str(Path(__file__).parents[1] / "manage.py"), "postgres", "stop", "--unless-asked"]
        os.execv(command[0], command)  # noqa: S606  our own command


def _missing_migrations() -> int:
    from django.db import DEFAULT_DB_ALIAS, connections
    from django.db.backends.postgresql.base import DatabaseWrapper
    from django.db.migrations.executor import MigrationExecutor

    ours = connections[DEFAULT_DB_ALIAS].settings_dict
    options = {key: value for key, value in ours["OPTIONS"].items() if not key.isupper()}  # libpq's
    options = {"connect_timeout": PATIENCE_S, **options}
    plain = DatabaseWrapper({**ours, "CONN_MAX_AGE": 0, "OPTIONS": options})
    try:
        executor = MigrationExecutor(plain)
        return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    finally:
        plain.close()
        connections[DEFAULT_DB_ALIAS].close()  # the recorder asks by alias, so through the pool: give its slot back


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
