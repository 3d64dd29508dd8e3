"""Every way in which a holder can run a statement, and what it can do to the driver's connection itself.

Material for `test_clean_sessions`. A `Way` gets Django's wrapper, a `Deed` the driver's connection.
"""

import io
from collections.abc import Callable
from typing import Any

from django.db.backends.postgresql.psycopg_any import is_psycopg3

Way = Callable[[Any, str], object]
WAYS: dict[str, Way] = {}


def way(run: Way) -> Way:
    WAYS[run.__name__] = run
    return run


@way
def django(wrapper: Any, sql: str) -> None:
    with wrapper.cursor() as cursor:
        cursor.execute(sql)


@way
def django_with_parameters(wrapper: Any, sql: str) -> None:
    with wrapper.cursor() as cursor:
        cursor.execute(sql.replace("%", "%%") + "\n/*%s*/", ["x"])


@way
def django_executemany(wrapper: Any, sql: str) -> None:
    with wrapper.cursor() as cursor:
        cursor.executemany(sql.replace("%", "%%") + "\n/*%s*/", [["x"], ["y"]])


@way
def django_chunked(wrapper: Any, sql: str) -> None:
    """What a queryset's iterator() opens. Left open."""
    cursor = wrapper.chunked_cursor()
    cursor.execute(sql)
    cursor.fetchone()


@way
def django_atomic(wrapper: Any, sql: str) -> None:
    from django.db import transaction

    with transaction.atomic(using=wrapper.alias), wrapper.cursor() as cursor:
        cursor.execute(sql)


@way
def raw(wrapper: Any, sql: str) -> None:
    wrapper.connection.cursor().execute(sql)


@way
def raw_bytes(wrapper: Any, sql: str) -> None:
    wrapper.connection.cursor().execute(sql.encode())


@way
def raw_without_autocommit(wrapper: Any, sql: str) -> None:
    wrapper.connection.autocommit = False
    wrapper.connection.cursor().execute(sql)
    wrapper.connection.commit()


@way
def composed(wrapper: Any, sql: str) -> None:
    if is_psycopg3:
        from psycopg.sql import SQL
    else:
        from psycopg2.sql import SQL
    wrapper.connection.cursor().execute(SQL(sql))


if is_psycopg3:
    import psycopg
    from psycopg import pq
    from psycopg.adapt import PyFormat
    from psycopg.rows import dict_row

    _INT8 = 20  # its number among PostgreSQL's types

    def _own(cursor_class: Any) -> Way:
        return lambda wrapper, sql: cursor_class(wrapper.connection).execute(sql)

    for _class in (psycopg.Cursor, psycopg.ClientCursor, psycopg.RawCursor):
        WAYS[f"own_{_class.__name__}"] = _own(_class)

    @way
    def connection_execute(wrapper: Any, sql: str) -> None:
        wrapper.connection.execute(sql)

    @way
    def connection_execute_prepared(wrapper: Any, sql: str) -> None:
        wrapper.connection.execute(sql, prepare=True)

    @way
    def dict_rows(wrapper: Any, sql: str) -> None:
        wrapper.connection.cursor(row_factory=dict_row).execute(sql)

    @way
    def changed_cursor_factory(wrapper: Any, sql: str) -> None:
        wrapper.connection.cursor_factory = psycopg.RawCursor
        wrapper.connection.cursor().execute(sql)

    @way
    def named(wrapper: Any, sql: str) -> None:
        wrapper.connection.cursor("leaked", withhold=True).execute(sql)

    @way
    def own_server_cursor(wrapper: Any, sql: str) -> None:
        psycopg.ServerCursor(wrapper.connection, "leaked", withhold=True).execute(sql)

    @way
    def stream(wrapper: Any, sql: str) -> None:
        for _ in wrapper.connection.cursor().stream(sql):
            pass

    @way
    def stream_left(wrapper: Any, sql: str) -> None:
        next(psycopg.Cursor(wrapper.connection).stream(sql))

    @way
    def pipeline(wrapper: Any, sql: str) -> None:
        with wrapper.connection.pipeline():
            wrapper.connection.execute("SELECT 1")
            wrapper.connection.execute(sql)

    @way
    def pipeline_left(wrapper: Any, sql: str) -> None:
        wrapper.connection.pipeline().__enter__()
        psycopg.Cursor(wrapper.connection).execute(sql)

    @way
    def executemany_returning(wrapper: Any, sql: str) -> None:
        psycopg.Cursor(wrapper.connection).executemany(sql, [(), ()], returning=True)

    @way
    def copy(wrapper: Any, sql: str) -> None:
        with wrapper.connection.cursor().copy(f"COPY ({sql}) TO STDOUT") as rows:
            list(rows)

    @way
    def copy_left(wrapper: Any, sql: str) -> None:
        psycopg.Cursor(wrapper.connection).copy(f"COPY ({sql}) TO STDOUT").__enter__()

    @way
    def in_transaction_block(wrapper: Any, sql: str) -> None:
        with wrapper.connection.transaction():
            wrapper.connection.execute(sql)

    @way
    def in_transaction_left(wrapper: Any, sql: str) -> None:
        wrapper.connection.transaction().__enter__()
        wrapper.connection.execute(sql)

else:
    import psycopg2.extensions
    import psycopg2.extras

    # Not `psycopg2.extensions.cursor(connection)`: its C code tells the connection nothing.
    def _made(factory: Any) -> Way:
        return lambda wrapper, sql: wrapper.connection.cursor(cursor_factory=factory).execute(sql)

    for _name in ("RealDictCursor", "DictCursor", "NamedTupleCursor"):
        WAYS[f"made_{_name}"] = _made(getattr(psycopg2.extras, _name))

    @way
    def changed_cursor_factory(wrapper: Any, sql: str) -> None:
        wrapper.connection.cursor_factory = psycopg2.extras.RealDictCursor
        wrapper.connection.cursor().execute(sql)

    @way
    def named(wrapper: Any, sql: str) -> None:
        wrapper.connection.cursor("leaked", withhold=True).execute(sql)

    @way
    def made_named(wrapper: Any, sql: str) -> None:
        factory = psycopg2.extras.RealDictCursor
        wrapper.connection.cursor("leaked", cursor_factory=factory, withhold=True).execute(sql)

    @way
    def execute_values(wrapper: Any, sql: str) -> None:
        sql = "SELECT * FROM (VALUES %s) AS v (x);" + sql.replace("%", "%%")
        psycopg2.extras.execute_values(wrapper.connection.cursor(), sql, [("it's;",)])

    @way
    def execute_batch(wrapper: Any, sql: str) -> None:
        sql = sql.replace("%", "%%") + "\n/*%s*/"
        psycopg2.extras.execute_batch(wrapper.connection.cursor(), sql, [("a",), ("b",)])

    @way
    def copy(wrapper: Any, sql: str) -> None:
        wrapper.connection.cursor().copy_expert(f"COPY ({sql}) TO STDOUT", io.StringIO())

    @way
    def copy_after(wrapper: Any, sql: str) -> None:
        wrapper.connection.cursor().copy_expert(f"{sql}\n; COPY (SELECT 1) TO STDOUT", io.StringIO())

    @way
    def with_connection(wrapper: Any, sql: str) -> None:
        with wrapper.connection as connection, connection.cursor() as cursor:
            cursor.execute(sql)


# ---- what a holder may do to the driver's connection itself ----

Deed = Callable[[Any], object]


def _two_phases(connection: Any) -> None:
    connection.tpc_begin(connection.xid(1, "leaked", "x"))
    connection.cursor().execute("SELECT 1")


DEEDS: dict[str, Deed] = {
    "autocommit": lambda c: setattr(c, "autocommit", False),
    "isolation_level": lambda c: setattr(c, "isolation_level", _serializable()),
    "deferrable": lambda c: setattr(c, "deferrable", True),
    "two_phases": _two_phases,
    "own_cursor_factory": lambda c: setattr(c, "cursor_factory", _cursor_factory()),
}


def _serializable() -> Any:
    from django.db.backends.postgresql.psycopg_any import IsolationLevel

    return IsolationLevel.SERIALIZABLE


def _cursor_factory() -> Any:
    if is_psycopg3:
        return psycopg.RawCursor
    return psycopg2.extras.DictCursor


if is_psycopg3:

    def _prepares(connection: Any) -> None:
        connection.prepare_threshold = 0
        psycopg.Cursor(connection).execute("SELECT 1")

    def _listens(connection: Any) -> None:
        connection.add_notify_handler(print)
        connection.add_notice_handler(print)

    def _adapts(connection: Any) -> None:
        connection.adapters.register_loader("int8", psycopg.types.string.TextLoader)
        connection.adapters.register_dumper(str, psycopg.types.string.StrDumperVarchar)

    DEEDS |= {
        "read_only": lambda c: setattr(c, "read_only", True),
        "row_factory": lambda c: setattr(c, "row_factory", dict_row),
        "prepare_threshold": _prepares,
        "prepared_max": lambda c: setattr(c, "prepared_max", 1),
        "server_cursor_factory": lambda c: setattr(c, "server_cursor_factory", psycopg.RawServerCursor),
        "handlers": _listens,
        "adapters": _adapts,
    }
else:

    def _notified(connection: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("LISTEN leaked; NOTIFY leaked; COMMIT")
        cursor.execute("DO $$ BEGIN RAISE NOTICE 'leaked'; END $$")

    DEEDS |= {
        "read_only": lambda c: setattr(c, "readonly", True),
        "set_session": lambda c: c.set_session("SERIALIZABLE", readonly=True, autocommit=False),
        "set_isolation_level": lambda c: c.set_isolation_level(psycopg2.extensions.ISOLATION_LEVEL_REPEATABLE_READ),
        "set_client_encoding": lambda c: c.set_client_encoding("LATIN1"),
        "reset": lambda c: c.reset(),
        "register_type": lambda c: psycopg2.extensions.register_type(psycopg2.extensions.BYTES, c),
        "notified": _notified,
    }


def attributes(connection: Any) -> dict[str, Any]:
    """What the driver keeps of a connection on its own side; classes and functions by their names."""
    names = ["autocommit", "isolation_level", "deferrable"]
    if is_psycopg3:
        names += ["read_only", "prepare_threshold", "prepared_max"]
        made = ["cursor_factory", "server_cursor_factory", "row_factory"]
        found = {"encoding": connection.info.encoding, "pipeline": connection.info.pipeline_status}
        found |= {"status": connection.info.transaction_status}
        found |= {"handlers": [*connection._notice_handlers, *connection._notify_handlers]}
        found |= {"loader": connection.adapters.get_loader(_INT8, pq.Format.TEXT).__qualname__}
        found |= {"dumper": connection.adapters.get_dumper(str, PyFormat.TEXT).__qualname__}
    else:
        names += ["readonly", "encoding", "notices", "notifies"]
        made = ["cursor_factory"]
        found = {"status": connection.get_transaction_status()}
        for kind in ("string_types", "binary_types"):
            found[kind] = {oid: made_of.name for oid, made_of in sorted(getattr(connection, kind).items())}
    found |= {name: getattr(connection, name) for name in names}
    return found | {name: getattr(connection, name).__qualname__ for name in made}
