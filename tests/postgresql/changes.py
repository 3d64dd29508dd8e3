"""Statements that leave something behind in a session, spelled in every way that PostgreSQL takes. How they are run is
`ways`. Knows nothing of how a pool notices them.

In a statement `~` stands where there may be white space or a comment, and `{s}` for a schema of the test's own, which
has `sequence`, `procedure()` and `hidden(setting, value)`, a function that sets a setting out of sight.
"""

import re
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

SEED = 0.42

# ---- statements ----

CHANGES = """
SET~statement_timeout~=~12345
SET~SESSION~statement_timeout~TO~12345
SET~"statement_timeout"~=~'12345'
SET~search_path~TO~leaked
SET~SCHEMA~'leaked'
SET~TIME~ZONE~'Asia/Tokyo'
SET~SESSION~TIME~ZONE~3
SET~NAMES~'LATIN1'
SET~client_encoding~=~'SQL_ASCII'
SET~ROLE~pg_monitor
SET~SESSION~CHARACTERISTICS~AS~TRANSACTION~ISOLATION~LEVEL~SERIALIZABLE~,~READ~ONLY
SET~XML~OPTION~DOCUMENT
SET~SEED~TO~0.42
SET~app.tenant~=~'someone'
SET~application_name~=~'leaked'
SET~work_mem~FROM~CURRENT
RESET~ALL
RESET~client_connection_check_interval
SELECT~set_config~(~'statement_timeout'~,~'12345'~,~false~)
SELECT~"set_config"~(~'statement_timeout'~,~'12345'~,~false~)
SELECT~pg_catalog~.~set_config~(~'statement_timeout'~,~'12345'~,~false~)
SELECT~U&"set\\005fconfig"~(~'statement_timeout'~,~'12345'~,~false~)
SELECT~U&"set!005fconfig"~UESCAPE~'!'~(~'statement_timeout'~,~'12345'~,~false~)
WITH~x~AS~(~SELECT~set_config~(~'app.tenant'~,~'someone'~,~false~)~)~SELECT~*~FROM~x
VALUES~(~set_config~(~'app.tenant'~,~'someone'~,~false~)~)
(~(~SELECT~set_config~(~'app.tenant'~,~'someone'~,~false~)~)~)
EXPLAIN~ANALYZE~SELECT~set_config~(~'app.tenant'~,~'someone'~,~false~)
UPDATE~pg_settings~SET~setting~=~'12345'~WHERE~name~=~'statement_timeout'
UPDATE~ONLY~pg_catalog~.~"pg_settings"~SET~setting~=~'12345'~WHERE~name~=~'statement_timeout'
UPDATE~U&"pg\\005fsettings"~SET~setting~=~'12345'~WHERE~name~=~'statement_timeout'
SELECT~pg_advisory_lock~(~4711~)
SELECT~pg_try_advisory_lock~(~47~,~11~)
SELECT~pg_catalog~.~"pg_advisory_lock_shared"~(~4711~)
SELECT~pg_try_advisory_lock_shared~(~4711~)~FROM~generate_series(1, 3)
SELECT~U&"pg!005fadvisory_lock"~UESCAPE~'!'~(~4711~)
SELECT~setseed~(~0.42~)
SELECT~nextval~(~'{s}.sequence'~)
LISTEN~leaked
LISTEN~"Leaked"
PREPARE~leaked~AS~SELECT~1
PREPARE~"leaked;"~(~int~)~AS~SELECT~$1
DECLARE~leaked~CURSOR~WITH~HOLD~FOR~SELECT~1
DECLARE~leaked~NO~SCROLL~CURSOR~WITH~HOLD~FOR~SELECT~1
CREATE~TEMP~TABLE~leaked~(~a~int~)
CREATE~TEMPORARY~TABLE~IF~NOT~EXISTS~leaked~AS~SELECT~1
CREATE~LOCAL~TEMP~TABLE~leaked~(~a~int~)
CREATE~TEMP~VIEW~leaked~AS~SELECT~1
CREATE~OR~REPLACE~LOCAL~TEMPORARY~VIEW~leaked~AS~SELECT~1
CREATE~TEMP~RECURSIVE~VIEW~leaked~(~n~)~AS~SELECT~1
CREATE~TEMP~SEQUENCE~leaked
CREATE~TABLE~pg_temp~.~leaked~(~a~int~)
CREATE~TABLE~"pg_temp"~.~leaked~(~a~int~)
CREATE~TABLE~U&"pg\\005ftemp"~.~leaked~(~a~int~)
CREATE~FUNCTION~pg_temp~.~leaked()~RETURNS~int~LANGUAGE~sql~AS~$$~SELECT~1~$$
CREATE~TYPE~pg_temp~.~leaked~AS~ENUM~(~'a'~)
SELECT~1~AS~a~INTO~TEMP~leaked
SELECT~1~AS~a~INTO~TEMPORARY~TABLE~leaked
SELECT~1~AS~a~INTO~LOCAL~TEMP~leaked
SELECT~1~AS~a~INTO~pg_temp~.~leaked
EXPLAIN~ANALYZE~CREATE~TEMP~TABLE~leaked~AS~SELECT~1
DO~$$BEGIN~PERFORM~set_config('app.tenant', 'someone', false);~END$$
DO~LANGUAGE~plpgsql~'BEGIN~SET~statement_timeout~=~12345;~END'
DO~$x$BEGIN~EXECUTE~'LIST' || 'EN leaked';~END$x$
CALL~{s}~.~procedure~(~)
DISCARD~ALL
SELECT~{s}~.~hidden~(~'DateStyle'~,~'German, DMY'~)
SELECT~{s}~.~hidden~(~'IntervalStyle'~,~'iso_8601'~)
SELECT~{s}~.~hidden~(~'client_encoding'~,~'LATIN1'~)
SELECT~{s}~.~hidden~(~'TimeZone'~,~'Asia/Tokyo'~)
SELECT~{s}~.~hidden~(~'application_name'~,~'leaked'~)
SELECT~{s}~.~hidden~(~'standard_conforming_strings'~,~'off'~)
SELECT~{s}~.~hidden~(~'default_transaction_read_only'~,~'on'~)
BEGIN
BEGIN~ISOLATION~LEVEL~SERIALIZABLE
START~TRANSACTION~READ~ONLY
BEGIN;~SAVEPOINT~leaked
BEGIN;~SELECT~1/0
BEGIN;~SET~LOCAL~statement_timeout~=~12345
BEGIN;~SELECT~pg_advisory_xact_lock(4711)
BEGIN;~DECLARE~leaked~CURSOR~FOR~SELECT~1
BEGIN;~COMMIT~AND~CHAIN
BEGIN;~ROLLBACK~AND~CHAIN
BEGIN;~SET~statement_timeout~=~12345;~COMMIT
BEGIN;~SET~statement_timeout~=~12345;~COMMIT~AND~CHAIN
BEGIN;~LISTEN~leaked;~COMMIT
BEGIN;~CREATE~TEMP~TABLE~leaked~(~a~int~);~COMMIT;~BEGIN
BEGIN;~SET~statement_timeout~=~12345;~SAVEPOINT~a;~SELECT~1;~RELEASE~a;~END
BEGIN;~SELECT~pg_advisory_lock(4711);~ROLLBACK
SET~statement_timeout~=~12345;~COMMIT;~SELECT~1/0
LISTEN~leaked;~COMMIT;~SELECT~1/0
CREATE~TEMP~TABLE~leaked~(~a~int~);~COMMIT;~SELECT~1/0
""".strip().split("\n")  # fmt: skip

# Calls, for `callproc`.
CALLS: tuple[tuple[str, list[Any]], ...] = (
    ("set_config", ["statement_timeout", "12345", False]),
    ("pg_catalog.set_config", ["app.tenant", "someone", False]),
    ("pg_advisory_lock", [4711]),
    ("pg_try_advisory_lock_shared", [4711]),
    ("setseed", [SEED]),
)

GAPS = (
    " ", "\n", "\t", "\r\n", " \f ", "/**/", "/* x */", "/*;*/", "/* ' */", '/*"*/', "/*$$*/", "/* a /* b */ c */",
    "/*/**/*/", "--\n", "-- it's\n", "-- /*\n", "--;\n--\n", "/*--*/", "/*" + "*" * 500 + "*/",
    "/* /* */" + ";" * 300 + "*/", " \n" * 200,
)  # fmt: skip
BEFORE = (
    "", ";", " ; ; ", "/* a */ ", "-- a\n", "/*\n" + " * box *\n" * 4 + "*/\n", "SELECT 1;", "SELECT ';';",
    "SELECT '''';", "SELECT '\\';", "SELECT E'\\'';", "SELECT e'\\\\';", "SELECT E'\\'; SELECT 1; --';",
    "SELECT $q$ ; ' $q$;", "SELECT $$'$$;", "SELECT $q$ $$ $q$;", "SELECT U&'\\0027';", "SELECT '/*';",
    "SELECT '--';", "SELECT '$q$';", 'SELECT 1 AS "a;\'b";', 'SELECT 1 AS "a""b";',
    "SELECT a$$b FROM (SELECT 1 AS a$$b) AS x;", "SELECT 1 /* ; */;", "SELECT 1 -- ;\n;", "SELECT 'a'\n'b';",
    "SELECT B'1', X'1F', N'a';", "SELECT 1 - -1;", "SELECT 3 */**/ 2;", "SELECT 'é', '\U0001f418';", "COMMIT;",
    "SELECT 1; COMMIT;", "BEGIN; COMMIT;",
)  # fmt: skip
AFTER = (
    "", ";", ";;", " -- a", " /* a */", "; SELECT 1", "; SELECT ';'", "; SELECT '/*'", "; SELECT '$q$'",
    "; SELECT $$'$$", "; COMMIT", "; COMMIT; SELECT 1/0", "; SELECT 1/0", "; ROLLBACK", "; BEGIN", "; SELECT E'\\''",
    "\n;-- $$\n",
)  # fmt: skip

_QUOTED = re.compile(r"""('(?:[^']|'')*'|"[^"]*"|\$(\w*)\$.*?\$\2\$|\{s\})""", re.DOTALL)


def plain(change: str) -> str:
    """The statement as most people would write it."""
    return change.replace("~", " ")


def recased(change: str, how: Callable[[str], str]) -> str:
    """Other letters in what is not quoted."""
    at, text = 0, ""
    for quoted in _QUOTED.finditer(change):
        text += how(change[at : quoted.start()]) + quoted[0]
        at = quoted.end()
    return text + how(change[at:])


@st.composite
def statements(draw: st.DrawFn) -> str:
    """A statement that changes the session, hidden as well as one can."""
    cases: list[Callable[[str], str]] = [str, str.lower, str.swapcase, str.title]
    change = recased(draw(st.sampled_from(CHANGES)), draw(st.sampled_from(cases)))
    parts = change.split("~")
    gap = st.sampled_from(GAPS)
    text = parts[0] + "".join(draw(gap) + part for part in parts[1:])
    return draw(st.sampled_from(BEFORE)) + text + draw(st.sampled_from(AFTER))
