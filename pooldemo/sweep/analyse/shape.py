"""Whether a document has the shape that its schema promises, in sentences: with a text for a number nothing could be
judged. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from pooldemo.sweep.analyse.schema import schema
from pooldemo.sweep.analyse.slo import ACCEPTED, METRICS

LARGEST = 1e20
"""Beyond it no number is one of a sweep, and arithmetic overflows."""

MOST_REPEATS = 10_000
"""A plan is unfolded into its trials."""

SIGNED = ("seed", "overhead_s")


class BadDocument(ValueError):
    """This is no document of a sweep; the text says where it is not, and what is accepted."""


def check_rows(sweep: Mapping[str, Any], trials: Sequence[Any], verdicts: Any) -> None:
    """Raises BadDocument for the first row that is not of the shape that the schema promises."""
    shapes = _shapes()
    for number, trial in enumerate(trials, start=1):
        _check_trial(f"trial {number}", trial, shapes["trial"])
    typed = isinstance(sweep.get("slo"), str)  # as on the command line: read later
    _check(
        "the sweep", {name: value for name, value in sweep.items() if not (typed and name == "slo")}, shapes["sweep"]
    )
    for limit in [] if typed else sweep.get("slo") or []:
        if (metric := limit.get("metric")) not in METRICS:
            raise BadDocument(f"the sweep has an SLO of {metric!r}: {ACCEPTED}")
    if (sweep.get("repeats") or 0) > MOST_REPEATS:
        raise BadDocument(f"the sweep has repeats {sweep['repeats']}: up to {MOST_REPEATS} are accepted")
    if sweep.get("rate") == 0:
        raise BadDocument("the sweep has rate 0: a number above 0, or null for a closed loop, is accepted")
    _check("conditions", sweep.get("conditions") or {}, shapes["sweep"]["properties"]["conditions"])
    if not isinstance(verdicts, list):
        raise BadDocument(f"verdicts is {type(verdicts).__name__}: a list is accepted")
    for number, verdict in enumerate(verdicts, start=1):
        _check(f"verdict {number}", verdict, shapes["verdict"])


def verdict_told(row: Mapping[str, Any]) -> dict[str, Any]:
    """A verdict without the keys that say nothing: some of them may, as the size of one that names none."""
    keys, unknown = _shapes()["verdict"]["properties"], {"type": "null"}
    return {name: value for name, value in row.items() if value is not None or _fits(None, keys.get(name, unknown))}


@cache
def _shapes() -> dict[str, Any]:
    shapes: dict[str, Any] = schema()["$defs"]
    return shapes


def _check_trial(where: str, trial: Any, shape: Mapping[str, Any]) -> None:
    if not isinstance(trial, Mapping) or not isinstance(trial.get("stack"), str):
        raise BadDocument(f"{where} is no object that names its stack")
    for name in ("size", "repeat"):
        if trial.get(name) is None:
            raise BadDocument(f"{where} has no {name}")
    _check(where, trial, shape)
    if trial["repeat"] > MOST_REPEATS:
        raise BadDocument(f"{where} has repeat {trial['repeat']}: up to {MOST_REPEATS} are accepted")
    if (trial.get("failures") or 0) > (trial.get("requests") or 0):
        raise BadDocument(f"{where} has more failures than requests")


def _check(where: str, row: Any, shape: Mapping[str, Any]) -> None:
    """Raises BadDocument where a key of `row` is not of the shape that the schema promises. One that is missing, or
    null, is of an older document, or of another program."""
    if not isinstance(row, Mapping):
        raise BadDocument(f"{where} is {type(row).__name__}: an object is accepted")
    for name, value in row.items():
        wanted = shape["properties"].get(name)
        if wanted is None or value is None or name == "conditions":  # which have a sentence of their own
            continue
        if not _fits(value, wanted):
            raise BadDocument(f"{where} has {name} {_short(value)}: {_accepted(wanted)} is accepted")
        if name == "started_at" and not _is_moment(value):
            raise BadDocument(f"{where} has started_at {_short(value)}: one as 2026-01-31T12:00:00+00:00 is accepted")
        if isinstance(value, int | float) and value < 0 and name not in SIGNED:
            raise BadDocument(f"{where} has {name} {value:g}: 0 or more is accepted")


def _fits(value: Any, shape: Mapping[str, Any]) -> bool:
    if "anyOf" in shape:
        return any(_fits(value, each) for each in shape["anyOf"])
    if "enum" in shape:
        return value in shape["enum"]
    if isinstance(kinds := shape["type"], list):
        return any(_fits(value, {"type": each}) for each in kinds)
    if kinds in ("number", "integer"):
        known = int if kinds == "integer" else int | float
        plain = isinstance(value, known) and not isinstance(value, bool) and -LARGEST < value < LARGEST
        return plain and value >= shape.get("minimum", -LARGEST)
    if kinds == "array":
        if not isinstance(value, list | tuple) or len(value) < shape.get("minItems", 0):
            return False
        wanted = shape.get("prefixItems") or [shape["items"]] * len(value)
        return len(value) == len(wanted) and all(map(_fits, value, wanted))
    if kinds == "object":
        others = shape.get("additionalProperties")
        shapes = shape.get("properties", {})
        return isinstance(value, Mapping) and all(
            is_text(name) and _fits(each, found) for name, each in value.items() if (found := shapes.get(name, others))
        )
    if kinds == "string":
        return isinstance(value, str) and is_text(value)
    plain_types: dict[str, Any] = {"boolean": bool, "null": type(None)}
    return isinstance(value, plain_types[kinds])


def is_text(value: str) -> bool:
    """Whether it can be written: half of a pair of surrogates, which JSON may hold, cannot."""
    return value.isascii() or not any("\ud800" <= each <= "\udfff" for each in value)


def _is_moment(value: str) -> bool:
    try:
        datetime.fromisoformat(value or "2026-01-31")
    except ValueError:
        return False
    return True


def _accepted(shape: Mapping[str, Any]) -> str:
    """The shape in words."""
    if isinstance(kinds := shape.get("type"), list):
        return " or ".join(_accepted({"type": each}) for each in kinds)
    if "anyOf" in shape:
        return " or ".join(map(_accepted, shape["anyOf"]))
    if "enum" in shape:
        return f"one of {', '.join(shape['enum'])}"
    least = f" from {shape['minimum']}" if shape.get("minimum") else ""
    words = {
        "integer": f"a whole number{least}", "number": "a number", "string": "a text", "boolean": "true or false",
        "array": "a list as sweep --json writes it", "object": "an object as sweep --json writes it", "null": "null",
    }  # fmt: skip
    return words[shape["type"]]


def _short(value: Any, most: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."
