"""The JSON Schema of a sweep's document, made from the facts: a field has its type there and nowhere else. Pure.

`python -m pooldemo.sweep.analyse.schema` prints it, as `document.schema.json` beside this file holds it.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pooldemo.sweep.facts import FORMAT, SHAPES, STATES, Conditions, Plan, SizeResult, TrialResult, Verdict

CHOICES = {"shape": SHAPES, "state": STATES, "status": ("running", "interrupted", "done", "failed")}
FROM_ONE = (
    "size",
    "sizes",
    "workers",
    "splits",
    "users",
    "repeat",
    "repeats",
    "processes",
    "blocks",
    "plateau",
    "cpus",
)
"""Whole numbers that begin with 1; others with 0."""

ANY_SIGN = ("seed",)
PLAIN = {float: "number", str: "string", bool: "boolean", NoneType: "null"}


def schema() -> dict[str, Any]:
    """What `sweep --json` and `judge --json` write."""
    facts = {"trial": TrialResult, "size": SizeResult, "verdict": Verdict}
    parts = {"trials": "trial", "sizes": "size", "verdicts": "verdict"}
    about = _object(Plan)
    own = {"id": {"type": ["integer", "null"]}, "status": _of("status", str), "started_at": _of("", str)}
    about["properties"] |= own | {"conditions": _object(Conditions)}
    about["required"] = list(about["properties"])
    lists = {name: {"type": "array", "items": {"$ref": f"#/$defs/{kind}"}} for name, kind in parts.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": FORMAT,
        "description": "A sweep as `sweep --json` and `judge --json` write it. A key may be added; none changes its "
        "meaning or goes without another format.",
        "type": "object",
        "required": ["format", "sweep", *lists],
        "properties": {"format": {"const": FORMAT}, "sweep": {"$ref": "#/$defs/sweep"}} | lists,
        "$defs": {"sweep": about} | {name: _object(fact) for name, fact in facts.items()},
    }


def text() -> str:
    """The schema as its file holds it: a line for each field."""
    return _pretty(schema(), "") + "\n"


def _object(fact: Any) -> dict[str, Any]:
    kinds = get_type_hints(fact)
    properties = {each.name: _of(each.name, kinds[each.name]) for each in fields(fact)}
    return {"type": "object", "required": list(properties), "properties": properties}


def _of(name: str, kind: Any) -> dict[str, Any]:
    """The schema of a field of that name and type."""
    if name in CHOICES:
        return {"enum": list(CHOICES[name])}
    if is_dataclass(kind):
        return _object(kind)
    if kind is int:
        return {"type": "integer"} | ({} if name in ANY_SIGN else {"minimum": int(name in FROM_ONE)})
    if kind in PLAIN:
        return {"type": PLAIN[kind]}
    parts = get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        return {"anyOf": [_of(name, part) for part in parts]}
    if get_origin(kind) is tuple and parts[-1] is ...:
        return {"type": "array", "items": _of(name, parts[0])}
    if get_origin(kind) is tuple:
        return {"type": "array", "prefixItems": [_of(name, part) for part in parts], "minItems": len(parts)}
    if get_origin(kind) is Mapping:
        return {"type": "object", "additionalProperties": _of(name, parts[1])}
    raise TypeError(f"bug: {name} is {kind}, of which no schema is known")


def _pretty(value: Any, indent: str) -> str:
    """JSON with each object that fits into a line in one."""
    flat = json.dumps(value)
    if not isinstance(value, dict) or len(indent + flat) <= 116:
        return flat
    inner = indent + " "
    parts = (f"{inner}{json.dumps(name)}: {_pretty(part, inner)}" for name, part in value.items())
    return "{\n" + ",\n".join(parts) + f"\n{indent}}}"


if __name__ == "__main__":
    sys.stdout.write(text())
