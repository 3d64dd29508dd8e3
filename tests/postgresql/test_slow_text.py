"""No text makes a statement dear: what a request carries costs a pool's client no more than any text of its length.

Compared are this process's CPU seconds for the same statement past the pool, and for reading its text once, in turns;
PostgreSQL's are its own. To send a long text costs less than to read it, on some machines far less.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from django.db import Error as DjangoError

from .elsewhere import patched
from .site import Database, Site

TURNS = 25
MOST = 8.0  # times that: what reads a text a few times in linear time stays below


def repeated(piece: str, before: str = "", after: str = "") -> Callable[[int], str]:
    def make(length: int) -> str:
        count = max(0, length - len(before) - len(after)) // len(piece)
        return before + piece * count + after

    return make


# What a text of a given length looks like. Most of them PostgreSQL takes; some it refuses.
TEXTS: dict[str, Callable[[int], str]] = {
    "plain": repeated("word ", "SELECT '", "'"),
    "a box comment": repeated(" * A line of a box, as many houses have it. * \n", "/*****\n", "*****/ SELECT 1"),
    "empty comments": repeated("/**/", "SELECT 1;", "x"),
    "empty comments and semicolons": repeated(";/**/", "SELECT 1", "x"),
    "empty comments in a value": repeated("/**//**/", "SELECT 'a;", "x'"),
    "line comments": repeated("--\n", "", "SELECT 1"),
    "line comments and blanks": repeated(" --\n\t", ";", "x"),
    "semicolons": repeated(";"),
    "blanks": repeated(" ", "SELECT", "1"),
    "blanks after SET": repeated(" ", "SET", ""),
    "line ends": repeated("\n", ";", "x"),
    "brackets": repeated("("),
    "brackets and comments": repeated("(/**/", ";"),
    "nested comments": lambda length: "/*" * (length // 4) + "*/" * (length // 4) + " SELECT 1",
    "comments never closed": repeated("/*", "SELECT 1 "),
    "almost comments": repeated("/ * ", "SELECT 1 "),
    "stars": repeated("*", "/*", "/ SELECT 1"),
    "stars and slashes": repeated("*/", "SELECT 1 "),
    "quotes": repeated("''", "SELECT '", "'"),
    "a quote never closed": repeated("a", "SELECT '"),
    "backslashes": repeated("\\'", "SELECT E'", "'"),
    "double quotes": repeated('""', 'SELECT 1 AS "a', '"'),
    "dollars": repeated("$a", "SELECT $$", "$$"),
    "dollar quotes": repeated("$a$", "SELECT "),
    "dollar tags": lambda length: "SELECT " + "".join(f"$a{i}$" for i in range(length // 8)),
    "numbers": lambda length: (
        "SELECT 1 WHERE 1 IN (" + ", ".join(map(str, range(10000, 10000 + length // 7))) + ") x y"
    ),
    "almost set_config": repeated("set_confi(", "SELECT '", "'"),
    "almost SET": repeated("SE T/**/", ";", ""),
    "almost TEMP": repeated("CREATE TEM ", "SELECT '", "'"),
    "INTO": repeated("INTO ", "SELECT 1 "),
    "WITH": repeated("WITH ", "SELECT '", "'"),
    "U&": repeated('U&"', "SELECT "),
    "elephants": repeated("\U0001f418", "SELECT '", "'"),
}


def seconds(cursor: Any, sql: Any) -> float:
    """CPU seconds of this process for running it once."""
    started_s = time.process_time()
    with contextlib.suppress(DjangoError):
        cursor.execute(sql)
    return time.process_time() - started_s


def reading(sql: Any) -> float:
    """CPU seconds of this process for going through the text once."""
    started_s = time.process_time()
    sql.lower()
    return time.process_time() - started_s


# PostgreSQL's own time grows with the square of these, so they stay short.
SHORT = {
    "empty comments",
    "nested comments",
    "comments never closed",
    "empty comments and semicolons",
    "stars and slashes",
}


def lengths(longest: int) -> Iterator[int]:
    """Small steps at first: there a cost that doubles with every few characters is found while it can be waited for."""
    length = 32.0
    while length < 300:
        yield int(length)
        length *= 1.3
    yield from (length for length in (2**12, 2**16, 2**20) if length <= longest)


def dear(pooled: Any, other: Any, make: Callable[[int], Any], longest: int) -> str:
    """The first length at which a text costs too much, and how much; nothing when none does."""
    for length in lengths(longest):
        sql = make(length)
        ours = theirs = float("inf")
        for _ in range(TURNS):  # the least of a few: nothing but luck makes it less
            ours, theirs = min(ours, seconds(pooled, sql)), min(theirs, seconds(other, sql) + reading(sql))
            if ours <= MOST * theirs:
                break
        else:
            return f"{ours / theirs:.0f} times the cost without a pool at {length} characters"
    return ""


def compared(site: Site, texts: dict[str, Callable[[int], Any]]) -> None:
    pooled, other = site.database(MAX_CONNS=1), site.database(pool=False)
    with cursors(pooled) as ours, cursors(other) as theirs:
        found = {
            name: how
            for name, make in texts.items()
            if (how := dear(ours, theirs, make, 2**12 if name in SHORT else 2**20))
        }
    assert not found, "\n".join(f"{name}: {how}" for name, how in found.items())


def cursors(db: Database) -> Any:
    db.connection.ensure_connection()
    return db.request()


@patched
def test_no_text_makes_a_statement_dear(site: Site) -> None:
    compared(site, TEXTS)


@patched
def test_no_text_given_as_bytes_makes_a_statement_dear(site: Site) -> None:
    """As psycopg2's execute_values gives it."""
    names = ("plain", "empty comments in a value", "a box comment", "elephants")
    compared(site, {name: lambda length, make=TEXTS[name]: make(length).encode() for name in names})  # type: ignore[misc]
