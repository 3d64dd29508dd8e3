"""JSON in lines that can be compared one by one. Pure."""

import json
from collections.abc import Mapping
from typing import Any


def to_lines(document: Mapping[str, Any]) -> str:
    """`document` as JSON, each key and each element of a list on a line of its own: a trial is a line."""

    def text(value: object) -> str:
        if isinstance(value, list | tuple) and value:
            return "[\n" + ",\n".join(f"  {json.dumps(each, allow_nan=False)}" for each in value) + "\n ]"
        return json.dumps(value, allow_nan=False)

    return "{\n" + ",\n".join(f" {json.dumps(key)}: {text(value)}" for key, value in document.items()) + "\n}\n"
