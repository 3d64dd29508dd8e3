"""The next holder's session is as good as a new one, whatever the last one ran, however it was written and run.

Both sessions are read from the server, and from the driver's connection. Generated statements are as many as
CLEAN_SESSIONS says (80); each found failure is shortened by hypothesis.
"""

import contextlib
import os
from collections.abc import Callable
from typing import Any

from django.db import Error as DjangoError
from django.db.backends.postgresql.base import DatabaseWrapper
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .changes import CALLS, CHANGES, SEED, plain, statements
from .elsewhere import patched, threaded
from .site import Database, Site
from .ways import DEEDS, WAYS, attributes

EXAMPLES = int(os.environ.get("CLEAN_SESSIONS") or 80)
ERRORS = (DjangoError, DatabaseWrapper.Database.Error)
# An extension's settings are there as soon as it is loaded; a placeholder that was set once is there, and empty.
SESSION_SQL = """
SELECT 'seed', 'random()', CASE WHEN random() = %s THEN 'set' END
UNION ALL SELECT 'setting', name, setting FROM pg_settings WHERE position('.' IN name) = 0
UNION ALL SELECT 'setting', 'app.tenant', coalesce(current_setting('app.tenant', true), '')
UNION ALL SELECT 'role', current_user, session_user
UNION ALL SELECT 'lock', mode, coalesce(classid, 0) || ' ' || objid FROM pg_locks
    WHERE locktype = 'advisory' AND pid = pg_backend_pid()
UNION ALL SELECT 'channel', channel, '' FROM pg_listening_channels() AS channel
UNION ALL SELECT 'prepared', name, statement FROM pg_prepared_statements WHERE name <> ''
UNION ALL SELECT 'cursor', name, statement FROM pg_cursors WHERE name <> ''
UNION ALL SELECT 'temporary', relname, relkind::text FROM pg_class WHERE relnamespace = pg_my_temp_schema()
UNION ALL SELECT 'temporary', proname, 'function' FROM pg_proc WHERE pronamespace = pg_my_temp_schema()
UNION ALL SELECT 'temporary', typname, 'type' FROM pg_type WHERE typnamespace = pg_my_temp_schema()
"""
SCHEMA_SQL = """
CREATE SCHEMA {s};
CREATE SEQUENCE {s}.sequence;
CREATE FUNCTION {s}.hidden(setting text, value text) RETURNS void LANGUAGE plpgsql AS
    $$BEGIN PERFORM set_config(setting, value, false); END$$;
CREATE PROCEDURE {s}.procedure() LANGUAGE plpgsql AS
    $$BEGIN PERFORM set_config('statement_timeout', '12345', false); END$$;
"""


class Session:
    """What is known of a session; two are equal when nobody could tell one from the other."""

    def __init__(self, wrapper: Any, first_random: float, new: "Session | None" = None) -> None:
        wrapper.ensure_connection()
        self.driver = {("driver", name, repr(value)) for name, value in attributes(wrapper.connection).items()}
        self.facts: set[tuple[str, ...]] = set(self.driver)
        if new and self.driver != new.driver:
            self.facts |= new.facts - new.driver  # what it answers now is not to be trusted
            return
        with wrapper.cursor() as cursor:
            cursor.execute(SESSION_SQL, [first_random])
            self.facts |= set(cursor.fetchall())
            with contextlib.suppress(DjangoError):
                cursor.execute("SELECT lastval()")
                self.facts.add(("lastval", "", str(cursor.fetchone()[0])))

    def __repr__(self) -> str:
        return f"<Session {len(self.facts)} facts>"  # failures are printed with their local values

    def less(self, other: "Session") -> list[tuple[str, ...]]:
        """What is not in `other` also."""
        return sorted(self.facts - other.facts, key=repr)


class Stage:
    """A pool of one connection, what its session is like when it is new, and the schema that the statements use."""

    def __init__(self, site: Site, **options: Any) -> None:
        self.schema = site.name("clean")
        other = site.database(pool=False)
        other.ask(SCHEMA_SQL.format(s=self.schema))
        site.finally_do(lambda: other.ask(f"DROP SCHEMA {self.schema} CASCADE"))
        other.ask("SELECT setseed(%s)", SEED)
        with other.request() as cursor:
            cursor.execute("SELECT setseed(%s)", [SEED])
            cursor.execute("SELECT random()")
            self.first_random: float = cursor.fetchone()[0]
        self.db: Database = site.database(MAX_CONNS=1, **options)
        self.new = self.session()

    def session(self, new: Session | None = None) -> Session:
        """The next holder's."""
        try:
            return Session(self.db.connection, self.first_random, new)
        finally:
            self.db.end_request()

    def left_by(self, *deeds: Callable[[Any], object]) -> str:
        """What a request that did all this leaves to the next holder; nothing, as it should."""
        wrapper: Any = self.db.connection
        wrapper.ensure_connection()
        for deed in deeds:
            with contextlib.suppress(*ERRORS, StopIteration, TypeError, UnicodeError):  # an elephant in LATIN1
                deed(wrapper)
        self.db.end_request()
        try:
            found = self.session(self.new)
            left, missing = found.less(self.new), self.new.less(found)
        except Exception as error:
            self.db.pool.drain()
            return f"the next holder got {type(error).__name__}: {str(error).strip()}"
        if left or missing:
            self.db.pool.drain()  # the next has a new one
            return f"left {left}" + (f", lacks {missing}" if missing else "")
        return ""

    def run(self, way: str, sql: str) -> Callable[[Any], object]:
        return lambda wrapper: WAYS[way](wrapper, sql.replace("{s}", self.schema))


def nothing_left(found: dict[str, str]) -> None:
    leaks = [f"{what}: {left}" for what, left in found.items() if left]
    assert not leaks, f"{len(leaks)} of {len(found)} leave something behind:\n" + "\n".join(leaks)


@patched
def test_a_session_is_told_from_a_new_one(site: Site) -> None:
    """The measure itself: with RESET="never" it sees each of these."""
    stage = Stage(site, RESET="never")
    for change in ("SET work_mem = '7MB'", "LISTEN a", "PREPARE a AS SELECT 1", "SELECT pg_advisory_lock(1)",
                   "CREATE TEMP TABLE a ()", "SELECT setseed(0.42)", "SELECT nextval('{s}.sequence')"):  # fmt: skip
        assert stage.left_by(stage.run("django", change)), change


@patched
def test_no_statement_leaves_anything(site: Site) -> None:
    stage = Stage(site)
    nothing_left({change: stage.left_by(stage.run("django", plain(change))) for change in CHANGES})


@patched
def test_no_way_to_run_a_statement_leaves_anything(site: Site) -> None:
    stage = Stage(site)
    changes = (
        "SET statement_timeout = 12345",
        "SELECT set_config('statement_timeout', '12345', false)",
        "SELECT pg_advisory_lock(4711)",
        "BEGIN",
        "BEGIN; SELECT 1/0",
        "SELECT 1; LISTEN leaked; SELECT 1",
        "SELECT generate_series(1, 1000)",
    )
    found = {f"{way}, {sql}": stage.left_by(stage.run(way, sql)) for way in WAYS for sql in changes}
    nothing_left(found)


@patched
def test_no_call_leaves_anything(site: Site) -> None:
    stage = Stage(site)

    def called(name: str, arguments: list[Any]) -> Callable[[Any], object]:
        def call(wrapper: Any) -> None:
            with wrapper.cursor() as cursor:
                cursor.callproc(name, arguments)

        return call

    nothing_left({name: stage.left_by(called(name, arguments)) for name, arguments in CALLS})


@patched
def test_nothing_done_to_the_drivers_connection_is_left(site: Site) -> None:
    stage = Stage(site)
    nothing_left(
        {name: stage.left_by(lambda wrapper, deed=deed: deed(wrapper.connection)) for name, deed in DEEDS.items()}  # type: ignore[misc]
    )


def generated(site: Site) -> None:
    stage = Stage(site)
    steps = st.tuples(st.sampled_from(sorted(WAYS)), statements())

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(steps, min_size=1, max_size=3))
    def leaves_nothing(steps: list[tuple[str, str]]) -> None:
        left = stage.left_by(*(stage.run(way, sql) for way, sql in steps))
        assert not left, left

    leaves_nothing()


@patched
def test_generated_statements_leave_nothing(site: Site) -> None:
    generated(site)


@threaded
def test_generated_statements_leave_nothing_under_threads(site: Site) -> None:
    generated(site)
