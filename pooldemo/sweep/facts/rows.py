"""The fields of a fact in a row that may have other keys as well, or lack some."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any


def known(fact: type, row: Mapping[str, Any]) -> dict[str, Any]:
    """Raises ValueError, in a sentence, for a row without one that has no default."""
    if lacks := [each.name for each in fields(fact) if each.name not in row and _is_needed(each)]:
        raise ValueError(f"a {fact.__name__.removesuffix('Result').strip('_').lower()} has no {', '.join(lacks)}")
    return {each.name: row[each.name] for each in fields(fact) if each.name in row}


def _is_needed(field: Any) -> bool:
    return field.default is MISSING and field.default_factory is MISSING
