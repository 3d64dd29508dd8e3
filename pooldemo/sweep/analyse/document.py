"""The document of a sweep, which `--json` writes and other programs read: made, read, and judged anew. Pure.

Its format is told in `document.schema.json` beside this file, for programs, and in docs/json.md, for people. Documents
without `format` are older, and read as well; what they do not tell is left at its default.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pooldemo.sweep.analyse import judge as judging
from pooldemo.sweep.analyse.shape import BadDocument, check_rows, verdict_told
from pooldemo.sweep.analyse.sizes import sizes_of
from pooldemo.sweep.analyse.slo import parse_slo, typed
from pooldemo.sweep.facts import FORMAT, MARGIN, Plan, SweepResult
from pooldemo.sweep.plan import check_margin

SCHEMA = Path(__file__).with_name("document.schema.json")


def judge(document: Mapping[str, Any], *, margin: float | None = MARGIN, slo: str | None = None) -> dict[str, Any]:
    """Judge the trials of a document of `sweep --json` again, without measuring; returns it with the new verdicts.

    `margin` is in percent. `slo` is written as on the command line (`p95=300,errors=0.1%`), an empty string is none.
    None means the document's own. Raises ValueError, in a sentence, if one of the three is not accepted.
    """
    return document_of(judged(asked_anew(read_document(document), margin, slo)))


def asked_anew(sweep: SweepResult, margin: float | None, slo: str | None) -> SweepResult:
    """The sweep with another margin or SLO in its plan, where one is given. Raises ValueError, also for another SLO of
    a search: the rates that meet it were not measured."""
    plan = sweep.plan
    if margin is not None:
        check_margin(margin)
        plan = replace(plan, margin=float(margin))
    if slo is None:
        return replace(sweep, plan=plan)
    limits = parse_slo(slo)
    if plan.search and set(limits) != set(plan.slo):
        raise ValueError(
            f"--slo: {slo!r} is not what this sweep searched by: its rates are the highest that meet "
            f"{typed(plan.slo) or 'none'}; for another one sweep again, with --arrivals max"
        )
    return replace(sweep, plan=replace(plan, slo=limits))


def judged(sweep: SweepResult) -> SweepResult:
    """The sweep with its verdicts drawn anew, by its own plan and the conditions under which it was measured."""
    return replace(sweep, verdicts=judging.judge(sweep.plan, sweep.trials, sweep.conditions))


def document_of(sweep: SweepResult) -> dict[str, Any]:
    """What `--json` writes: plain dicts, lists, numbers and strings."""
    about = {"id": sweep.id, "status": sweep.status, "started_at": sweep.started_at} | asdict(sweep.plan)
    document: dict[str, Any] = _plain(
        {
            "format": FORMAT,
            "sweep": about | {"conditions": asdict(sweep.conditions)},
            "trials": [asdict(trial) for trial in sweep.trials],
            "sizes": [asdict(size) for size in sizes_of(sweep)],
            "verdicts": [asdict(verdict) for verdict in sweep.verdicts],
        }
    )
    return document


def read_document(document: Any) -> SweepResult:
    """The sweep of any document of a known format, its own verdicts included. Raises BadDocument."""
    if not isinstance(document, Mapping):
        raise BadDocument(f"a document is an object with sweep and trials, not {type(document).__name__}")
    if (given := document.get("format", FORMAT)) != FORMAT:
        raise BadDocument(f"the format {given!r} is not known: {FORMAT} is, and documents without one")
    sweep, trials = document.get("sweep"), document.get("trials")
    if not isinstance(sweep, Mapping) or not isinstance(trials, list):
        raise BadDocument("it has no sweep (an object) and trials (a list), as a file written by sweep --json has")
    verdicts = document.get("verdicts") or []
    check_rows(sweep, trials, verdicts)
    found = {
        "stacks": tuple(dict.fromkeys(trial["stack"] for trial in trials)) or Plan.stacks,
        "sizes": tuple(sorted({trial["size"] for trial in trials})) or Plan.sizes,
        "repeats": max((trial["repeat"] for trial in trials), default=Plan.repeats),
    }
    own = _told(sweep)
    found |= {name: own[name] for name in found if own.get(name)}  # a plan of nothing is what was measured
    try:
        check_margin(own.get("margin", MARGIN))
        if isinstance(own.get("slo"), str):
            own["slo"] = [asdict(limit) for limit in parse_slo(own["slo"])]
    except ValueError as error:
        raise BadDocument(f"the sweep has {error}") from error
    try:
        return SweepResult.from_dict(
            {
                "sweep": own | found | {"conditions": _told(own.get("conditions") or {})},
                "trials": list(map(_told, trials)),
                "verdicts": list(map(verdict_told, verdicts)),
            }
        )
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        told = error if isinstance(error, ValueError) else repr(error)
        raise BadDocument(f"it is not as sweep --json writes it: {told}") from error


def _plain(value: Any) -> Any:
    """With lists for tuples, as JSON has them."""
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    """Without the keys that say nothing: they are left at their defaults."""
    return {name: value for name, value in row.items() if value is not None}
