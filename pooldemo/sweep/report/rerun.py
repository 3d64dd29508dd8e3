"""The command that runs a sweep again: its plan as somebody would type it. Pure."""

import shlex
from dataclasses import fields

from pooldemo.sweep import plan as planning
from pooldemo.sweep.analyse import slo
from pooldemo.sweep.facts import OWN, Plan, SweepResult

FLAGS = {"stacks": "stack", "duration_s": "duration", "warmup_s": "warmup", "think_ms": "think-ms", "rate": "arrivals"}
"""Options that are not named like their field."""


LEFT_OUT = ("blocks", "warmup_cycles", "splits", "poisson")
"""Of how it was come to: the command measures all sizes in each repeat; without --warmup it takes as many cycles."""


def again(sweep: SweepResult) -> str:
    """What to type to run it again, or to run what is missing of it."""
    if sweep.id is not None and sweep.status == "interrupted":
        return f"python manage.py sweep --resume {sweep.id}"
    return command(sweep.plan)


def command(plan: Plan) -> str:
    """`python manage.py sweep --sizes 1,2,4 ...`, without what is the default anyway."""
    words = ["python", "manage.py", "sweep"]
    for each in fields(Plan):
        value = getattr(plan, each.name)
        own = each.name == "workload" and value in OWN  # --url says it already
        if own or each.name in LEFT_OUT or (each.name == "warmup_s" and plan.warmup_cycles):
            continue
        if value == each.default and each.name not in ("stacks", "sizes", "workload", "users"):
            continue
        if each.name == "urls":
            words += [word for url in value for word in ("--url", url)]
            continue
        if each.name == "workers" and plan.splits:
            value = plan.splits
        if each.name == "search":
            words += ["--arrivals", "max"]
            continue
        if each.name == "stacks":
            words += _of_stacks(plan)
            continue
        words.append(f"--{FLAGS.get(each.name, each.name)}")
        if not isinstance(value, bool):
            words.append(slo.typed(plan.slo) if each.name == "slo" else _typed(value))
        if each.name == "rate" and not plan.poisson:
            words += ["--spacing", "even"]
    return shlex.join(words)


def _of_stacks(plan: Plan) -> list[str]:
    """A variant is named by what it is against; its stack stands beside it."""
    own = [stack for stack in plan.stacks if not planning.label(stack)]
    labels = {planning.label(stack) for stack in plan.stacks} - {""}
    return ["--stack", ",".join(own), *(word for label in sorted(labels) for word in ("--against", label))]


def _typed(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_typed, value))
    return f"{value:.10g}" if isinstance(value, float) else str(value)
