"""The command that runs a sweep again: its plan as somebody would type it. Pure."""

import shlex
from dataclasses import fields

from pooldemo.sweep import plan as planning
from pooldemo.sweep.analyse import slo
from pooldemo.sweep.facts import OWN, Plan, SweepResult

NAMES = {"stacks": "stack", "duration_s": "duration", "warmup_s": "warmup", "urls": "url", "rate": "arrivals"}
"""Options that are not named like their field."""

LEFT_OUT = ("blocks", "warmup_cycles", "window_cycles", "splits", "poisson", "search")
"""Of how it was come to: the command measures all sizes in each repeat; without --warmup and --duration it takes as
many cycles. Or told by another option."""
CYCLES = {"warmup_s": "warmup_cycles", "duration_s": "window_cycles"}
"""Seconds that are the least, and by what they become more: then no option said them."""
ALWAYS = ("stack", "sizes", "workload", "users")
"""Options that stand in the command even where they say what is the default."""


def again(sweep: SweepResult) -> str:
    """What to type to run it again, or to run what is missing of it."""
    if sweep.id is not None and sweep.status == "interrupted":
        return f"python manage.py sweep --resume {sweep.id}"
    return command(sweep.plan)


def command(plan: Plan) -> str:
    """`python manage.py sweep --sizes 1,2,4 ...`, without what is the default anyway."""
    default = options(planning.default(plan.workload))
    words = ["python", "manage.py", "sweep"]
    for name, values in options(plan).items():
        if name in ALWAYS or values != default[name]:
            words += [word for value in values for word in (f"--{name}", value) if word]
    return shlex.join(words)


def options(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Each option of the command that asks for this plan, with its values as typed: none where it is not given, an
    empty one of a flag."""
    found: dict[str, tuple[str, ...]] = {}
    for each in fields(Plan):
        if each.name not in LEFT_OUT:
            found[NAMES.get(each.name, each.name.replace("_", "-"))] = _values(plan, each.name)
        if each.name == "stacks":
            found["against"] = tuple(sorted({planning.label(stack) for stack in plan.stacks} - {""}))
        if each.name == "rate":
            found["spacing"] = ("even",) if plan.rate is not None and not plan.poisson else ()
    return found


def _values(plan: Plan, name: str) -> tuple[str, ...]:
    value = getattr(plan, name)
    if name == "stacks":  # a variant is named by what it is against
        value = tuple(stack for stack in value if not planning.label(stack))
    elif name == "urls":
        return tuple(value)
    elif name == "repeats":
        value = planning.repeats_of(plan)
    elif name == "slo":
        value = slo.typed(value)
    elif name == "rate" and plan.search:
        value = "max"
    elif name == "workers" and plan.splits:
        value = plan.splits
    elif (name == "workload" and value in OWN) or (name in CYCLES and getattr(plan, CYCLES[name])):
        return ()
    if isinstance(value, bool):
        return ("",) if value else ()
    return () if value in (None, "") else (_typed(value),)


def _typed(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_typed, value))
    return f"{value:.10g}" if isinstance(value, float) else str(value)
