"""Which statements leave something behind in a PostgreSQL session: what the server's command tag says, and what a
statement's text must be asked for. Text only: no database is asked, and no text takes longer than its length explains.

A tag (`SET`, `LISTEN`, `DO` ...) cannot be hidden by comments or quotes, so it decides. It does not show what a SELECT
calls or whether a table is temporary: for these the text is searched for a few words, by plain search in lower case.
Whatever is in doubt counts as a change: that costs a round trip at checkin, and never a leak.
"""

import re
from functools import lru_cache

# What a text says, as bits.
PLAIN = 1  # begins with a verb that changes no session by itself: of use where a statement failed or has no tag
LOCAL = 2  # a SET that ends with its transaction
SUSPECT = 4  # may change the session, whatever its tag says
ENDS = 8  # may change what DISCARD ALL does not undo
ROLLBACK = 16  # is a rollback and nothing else, to the beginning or to a savepoint, or the end of one

_SEARCHED = 16 * 1024  # characters; to search more would cost more than to reset the session, so more is suspect
REMEMBERED = 2048  # characters; a longer one is looked at each time

_PLAIN_VERBS = tuple(
    "select insert update delete merge with values table fetch move copy begin start commit end rollback abort "
    "savepoint release declare close explain show lock".split()
)
_LOCAL_SETS = ("set local ", "set transaction ", "set constraints ")
# Functions that change the session, or run a query that is given as text.
_SUSPECTS = (
    "set_config", "set_limit", "advisory_lock", "setseed", "nextval", "setval", "query_to_xml", "ts_stat", "ts_rewrite",
    "crosstab",
    'u&"',  # an identifier whose letters are escaped can be any of these
)  # fmt: skip
_LASTING = (
    "dblink", "origin_session", "al_replication_slot", "pg_backup_start",  # of physical and logical slots
    "pg_start_backup",  # before PostgreSQL 15
)  # fmt: skip
# What may stand before the verb, as where a tracer puts a comment there. Each character can be read in one way alone,
# so that none is read often. A comment within another, which PostgreSQL has, ends it: then no verb is seen.
_BEFORE = re.compile(r"(?:[; \t\r\n\f\v(]+|--[^\r\n]*|/\*[^*/]*(?:(?:\*+(?![*/])|/(?!\*))[^*/]*)*\*+/)*")
_ROLLBACKS = ("rollback", "abort", "release")  # Django releases a savepoint to which it has rolled back
_TEMPORARY = re.compile(r"\b(?:temp|temporary)\b|pg_temp")

# The first words of the tags of commands that leave nothing behind, unless the text is suspect.
_CLEAN_TAGS = frozenset(
    "SELECT INSERT UPDATE DELETE MERGE FETCH MOVE COPY BEGIN START COMMIT ROLLBACK SAVEPOINT RELEASE DECLARE CLOSE "
    "EXPLAIN SHOW LOCK ANALYZE VACUUM TRUNCATE CREATE ALTER DROP GRANT REVOKE COMMENT REINDEX CLUSTER REFRESH NOTIFY "
    "CHECKPOINT IMPORT SECURITY REASSIGN".split()
)
# The same, cut to the length at which most tags can be recognised without taking them apart.
CLEAN_BEGINNINGS = frozenset(word for word in _CLEAN_TAGS if len(word) == 6) | {"BEGIN", "FETCH ", "COMMIT", "SAVEPO"}


def look(text: str) -> int:
    """What a statement's text says, in time that grows with its length and stays below that of a reset."""
    if len(text) > _SEARCHED:
        lowered = text.lower()
        return SUSPECT | (ENDS if any(word in lowered for word in _LASTING) else 0)
    lowered = text.strip("; \t\r\n\f\v(").lower()
    found, verb = 0, _BEFORE.match(lowered).end()  # type: ignore[union-attr]  # it always matches
    if lowered.startswith(_PLAIN_VERBS, verb):
        found = PLAIN
    elif lowered.startswith(_LOCAL_SETS, verb):
        found = LOCAL
    if (
        ";" in lowered  # several statements, of which the driver tells the last one's tag; or a literal with one in it
        or any(word in lowered for word in _SUSPECTS)
        or ("temp" in lowered and ("create" in lowered or "into" in lowered) and _TEMPORARY.search(lowered))
        or (found == LOCAL and "pg_temp" in lowered)  # in a search_path: then any new table is temporary
        or ("hold" in lowered and "declare" in lowered)
        or ("pg_settings" in lowered and "update" in lowered)
    ):
        found |= SUSPECT
    if any(word in lowered for word in _LASTING):
        found |= ENDS
    if lowered.startswith(_ROLLBACKS, verb) and ";" not in lowered[verb:]:
        found |= ROLLBACK
    return found


recall = lru_cache(maxsize=1024)(look)  # for texts up to REMEMBERED: an application's are few


def leaves(tag: str | None, found: int) -> int:
    """What a command that succeeded leaves behind by its tag: SUSPECT, ENDS or nothing. `found`: what its text said."""
    if not tag:  # a cursor in mid-stream, in a pipeline, psycopg2 after a COPY: only the text is left to ask
        return 0 if found & PLAIN else SUSPECT
    word = tag.partition(" ")[0]
    if word in _CLEAN_TAGS or tag == "SET CONSTRAINTS" or (word == "SET" and found & LOCAL):
        return 0
    return ENDS if word == "LOAD" else SUSPECT


def first_words(statement: str, length: int = 60) -> str:
    """The beginning of a statement on one line, for messages."""
    words = " ".join(statement[: 4 * length].split())
    return words if len(words) <= length else words[: length - 3] + "..."
