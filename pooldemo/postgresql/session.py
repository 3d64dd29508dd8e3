"""Which statements leave something behind in a PostgreSQL session. Text only: no database is asked.

What it cannot notice: a function or trigger of yours that does so out of sight (RESET="always" can), and SQL that
reaches the server past the connection's own cursors.
"""

import re
from functools import lru_cache

# A statement that starts with one of these, or holds one of the calls, changes the session. SET LOCAL, SET TRANSACTION
# and SET CONSTRAINTS end with their transaction, and so do pg_advisory_xact_lock and cursors without HOLD. DO and CALL
# run code that may do anything, so they count.
_CHANGES = re.compile(
    r"""
    (?: ^ | ; ) (?: \s | /\*.*?\*/ | --[^\n]*\n | \( )*
    (?: SET \s+ (?! LOCAL\b | TRANSACTION\b | CONSTRAINTS\b )
      | (?: RESET | LISTEN | UNLISTEN | PREPARE | DEALLOCATE | DISCARD | LOAD | DO | CALL ) \b )
    | \b TEMP (?: ORARY )? \s+ (?: TABLE | VIEW | SEQUENCE | RECURSIVE )
    | \b INTO \s+ TEMP
    | \b pg_temp \b
    | \b WITH \s+ HOLD \b
    | \b set_config \s* \(
    | \b pg_(?:try_)?advisory_lock (?: _shared )? \s* \(
    | \b (?: dblink_connect | setseed ) \s* \(
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_LONGEST_KEPT = 4096  # characters; longer statements are looked at each time rather than remembered


def _looks(statement: str) -> bool:
    return _CHANGES.search(statement) is not None


_remembered = lru_cache(maxsize=2048)(_looks)


def changes_session(statement: str) -> bool:
    """Whether a statement's text says that the session differs afterwards. Remembers short statements: 0.1 us."""
    return _remembered(statement) if len(statement) <= _LONGEST_KEPT else _looks(statement)


def first_words(statement: str, length: int = 60) -> str:
    """The beginning of a statement on one line, for messages."""
    words = " ".join(statement[: 4 * length].split())
    return words if len(words) <= length else words[: length - 3] + "..."
