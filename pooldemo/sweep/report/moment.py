"""When something was: one way to write it, with its zone, wherever people read. Pure."""

from datetime import UTC, datetime


def moment(when: datetime | str) -> str:
    """`2026-11-29 17:20 UTC` of a time with a zone, or of its ISO text; another text stays as it is."""
    if isinstance(when, str):
        try:
            when = datetime.fromisoformat(when)
        except ValueError:
            return str(when)
    if when.tzinfo is None:
        return f"{when:%Y-%m-%d %H:%M}"
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
