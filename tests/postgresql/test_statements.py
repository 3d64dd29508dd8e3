"""What a statement's text and the server's tag say of its session; no database is asked."""

import time

import pytest
from django.utils.safestring import SafeString

from pooldemo.postgresql import session, statements
from pooldemo.postgresql.session import Session
from pooldemo.postgresql.statements import ENDS, LOCAL, PLAIN, ROLLBACK, SUSPECT, first_words, leaves, look, recall


@pytest.mark.parametrize(
    "text",
    [
        "SELECT set_config('a.b', 'c', false)",
        'SELECT "set_config"(%s, %s, %s)',
        "SELECT pg_catalog . set_config /* ( */ (%s, %s, false)",
        "SELECT pg_try_advisory_lock_shared(1)",
        "SELECT setseed(0.5)",
        "SELECT 1 INTO LOCAL TEMP x",
        "CREATE/**/TEMP/**/TABLE x (id int)",
        "create temporary view x as select 1",
        "CREATE TABLE pg_temp.x (id int)",
        "/* so */ SET LOCAL search_path = pg_temp, public",
        "UPDATE pg_settings SET setting = 'x'",
        "DECLARE x CURSOR WITH/**/HOLD FOR SELECT 1",
        'SELECT U&"\\0073et_config"(%s, %s, false)',
        "SELECT query_to_xml(%s, true, true, '')",
        "SELECT 1; SET work_mem = '7MB'",
        "(SELECT 1) ; ; DISCARD ALL ;",
        "SELECT " + "x" * 20_000,
    ],
)
def test_a_text_that_may_change_the_session_is_suspect(text: str) -> None:
    assert look(text) & SUSPECT
    assert recall(text) == recall(text) == look(text)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT temperature, created FROM rooms",
        'SELECT "temp" FROM rooms',
        "SELECT pg_advisory_xact_lock(1);",
        "INSERT INTO attempts VALUES (%s)",
        "  ( SELECT 1 )\n;\n",
        "/*dddbs='x',traceparent='00-1-2-01'*/ SELECT 1",
        "/***/-- a\r-- /* b\n/* * / ** -- */\t(/**/select 1",
        "UPDATE shares SET threshold = %s, holder = %s",
        "SELECT name FROM pg_settings",
    ],
)
def test_a_text_that_changes_nothing_is_plain(text: str) -> None:
    assert look(text) == PLAIN


@pytest.mark.parametrize(
    "text",
    [
        "SET x = '1'",
        "/* SELECT */ SET x = '1'",
        "/* /* */ SELECT */ SET x = '1'",
        "/*/*/ SELECT */ SET x = '1'",
        "/* SELECT 1",
        "-- SELECT",
        "-- /*\rSET x = '1' --*/ SELECT",
        "- - SELECT",
        "/* */ / SELECT",
    ],
)
def test_a_text_whose_verb_is_not_seen_is_not_plain(text: str) -> None:
    assert not look(text) & (PLAIN | LOCAL)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("ROLLBACK", True),
        ('ROLLBACK TO SAVEPOINT "s1_x1"', True),
        ("/*dddbs='x'*/ ROLLBACK TO SAVEPOINT s1_x1;", True),
        (f"release savepoint s1_x1 /*traceparent='{'0' * 500}'*/", True),
        ("-- ROLLBACK\nSELECT 1", False),
        ("ROLLBACK; SELECT pg_sleep(9)", False),
        ("/* ROLLBACK */ SELECT pg_sleep(9)", False),
    ],
)
def test_a_rollback_is_known_beside_comments(text: str, is_one: bool) -> None:
    assert bool(look(text) & ROLLBACK) == is_one


def test_a_text_of_a_class_of_its_own_is_read_as_any_other() -> None:
    """A template's, whose methods give others of its class: each would cost a reset."""
    session = Session()
    found = [(session.begin(SafeString(text)), session.dirty) for text in ("SELECT 1", "SELECT setseed(0.5)")]
    assert found == [(PLAIN, False), (PLAIN | SUSPECT, True)]
    assert type(session.statement) is str


@pytest.mark.parametrize(
    ("text", "tag", "left"),
    [
        ("SELECT 1", "SELECT 1", 0),
        ("/* so */ INSERT INTO rows VALUES (1)", "INSERT 0 1", 0),
        ("CREATE TABLE rows (id int)", "CREATE TABLE", 0),
        ("SET LOCAL work_mem = '7MB'", "SET", 0),
        ("SET LOCAL temp_buffers = '7MB'", "SET", 0),
        ("SET TRANSACTION READ ONLY", "SET", 0),
        ("SET CONSTRAINTS ALL IMMEDIATE", "SET CONSTRAINTS", 0),
        ("/* so */ SET LOCAL work_mem = '7MB'", "SET", 0),
        ("/* /**/ */ SET LOCAL work_mem = '7MB'", "SET", SUSPECT),
        ("SET/**/work_mem = '7MB'", "SET", SUSPECT),
        ("-- ;\nLISTEN x", "LISTEN", SUSPECT),
        ("PREPARE x AS SELECT 1", "PREPARE", SUSPECT),
        ("DO $$ BEGIN END $$", "DO", SUSPECT),
        ("CALL x()", "CALL", SUSPECT),
        ("LOAD 'x'", "LOAD", ENDS),
        ("SELECT 1", None, 0),
        ("SET work_mem = '7MB'", None, SUSPECT),
    ],
)
def test_a_tag_says_what_a_command_leaves(text: str, tag: str | None, left: int) -> None:
    assert leaves(tag, look(text)) == left


def test_what_discard_all_does_not_undo_ends_the_connection() -> None:
    assert look("SELECT dblink_connect(%s)") & ENDS
    assert look("SELECT pg_start_backup('nightly', false, false)") & ENDS
    assert look("SELECT slot_name FROM pg_replication_slots") == PLAIN
    assert look("SELECT dblink_connect(%s)" + " " * 1_000_000) & ENDS
    assert look("SET LOCAL work_mem = 1") == LOCAL


@pytest.mark.parametrize(
    "piece", ["/*x*/", "-- x\n", ";/**/--", "( ", "/*", "*/", "create temp_", "declare hol", "into temp0 "]
)
@pytest.mark.parametrize("first", ["SELECT ", "/*", "--", ""])
def test_no_text_takes_longer_than_its_length_explains(first: str, piece: str) -> None:
    """Comments, quotes and half words as often as one likes: the hundredfold costs at most some hundredfold."""

    def seconds(times: int) -> float:
        text = first + piece * times + "x"
        best = float("inf")
        for _ in range(5):
            started = time.perf_counter()
            look(text)
            best = min(best, time.perf_counter() - started)
        return best

    short, long = seconds(20), seconds(2000)
    assert long < 1000 * short


def test_messages_have_the_first_words_of_a_statement() -> None:
    assert first_words("SELECT\n   1") == "SELECT 1"
    assert len(first_words("SELECT " * 1000)) == 60


def test_what_stands_for_letters_beyond_ascii_is_in_no_word_that_is_searched_for() -> None:
    """Or such a letter, in a statement of bytes, would make one of them."""
    words = [*statements._SUSPECTS, *statements._LASTING, *statements._PLAIN_VERBS, *statements._LOCAL_SETS]
    assert words
    for letter in {chr(each) for each in session._ASCII[128:]}:
        assert not [word for word in words if letter in word.lower()]
