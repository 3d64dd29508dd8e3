"""The fields of a fact in a row that may have other keys as well, or lack some."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any


def known(fact: type, row: Mapping[str, Any]) -> dict[str, Any]:
    return {each.name: row[each.name] for each in fields(fact) if each.name in row}
