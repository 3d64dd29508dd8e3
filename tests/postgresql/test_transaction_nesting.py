"""Transaction mode where statements run within others, and what others do to a wrapper in the midst of its work."""

from typing import Any

from django.db.backends.postgresql.psycopg_any import is_psycopg3

from .elsewhere import patched, threaded
from .site import Site
from .test_transaction_mode import is_free, one_slot, uses


@patched
def test_a_slot_is_kept_while_a_statement_is_in_work_that_asks_for_others(site: Site) -> None:
    """A wrapper of `execute` that looks something up, and rows for executemany() that come from queries."""
    db, table = one_slot(site), site.name("asked")
    site.finally_do(lambda: site.database(pool=False).ask(f"DROP TABLE {table}"))
    uses(db, f"CREATE TABLE {table} (id int)")

    def audit(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        if "audit" not in sql:
            uses(db, "SELECT 'audit'")
        return execute(sql, params, many, context)

    with db.connection.execute_wrapper(audit), db.connection.cursor() as cursor:
        cursor.execute("SELECT 42")
        assert cursor.fetchall() == [(42,)]
    assert is_free(db)
    if not is_psycopg3:  # whose connection cannot be asked meanwhile

        def numbers() -> Any:
            for number in range(3):
                uses(db, f"SELECT {number}")
                assert not is_free(db)
                yield (number,)

        with db.connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {table} VALUES (%s)", numbers())
        assert is_free(db)
        assert db.ask(f"SELECT count(*) FROM {table}") == 3


@threaded
def test_a_wrapper_that_is_shared_between_two_statements_is_every_threads(site: Site) -> None:
    import threading

    db, got = one_slot(site), []
    uses(db)
    wrapper: Any = db.connection
    wrapper.inc_thread_sharing()
    uses(db)

    def asks() -> None:
        with wrapper.cursor() as cursor:
            cursor.execute("SELECT 2")
            got.append(cursor.fetchone())

    other = threading.Thread(target=asks)
    other.start()
    other.join()
    wrapper.dec_thread_sharing()
    assert got == [(2,)]
