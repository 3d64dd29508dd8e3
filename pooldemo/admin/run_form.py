"""The form that a sweep is started by: the command's own options and defaults. Pure but for what stacks there are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pooldemo.sweep import plan as planning
from pooldemo.sweep import stacks
from pooldemo.sweep.facts import Plan
from pooldemo.sweep.report import rerun
from pooldemo.sweep.workloads import CHOICES


@dataclass(frozen=True)
class Field:
    """One option of the command, by its `name`: what it is called, and an example or a word of help. `choices`: of
    these alone; `is_flag`: on or off; `is_rare`: most sweeps leave it."""

    name: str
    label: str
    hint: str = ""
    choices: tuple[str, ...] = ()
    is_flag: bool = False
    is_rare: bool = False


FIELDS = (
    Field("stack", "Stacks", "with commas between, or all"),
    Field("workload", "Workload", choices=CHOICES),
    Field("url", "or pages of this site", "/orders/ /search/?q=x"),
    Field("ms", "Length of its query, ms"),
    Field("users", "Users, who ask at once"),
    Field("sizes", "MAX_CONNS to try", "1,2,4-8"),
    Field("workers", "Workers", "1,2,4 finds the cheapest split"),
    Field("duration", "Seconds of a trial", "empty: longer if its requests need it"),
    Field("repeats", "Repeats of each"),
    Field("slo", "SLO", "the limits to keep, as in p95=300,errors=0.1%"),
    Field("warmup", "Seconds of warm-up", "empty: until each user was served", is_rare=True),
    Field("think-ms", "Time after its query, ms", "of hold and think", is_rare=True),
    Field("arrivals", "Open loop, requests/s", "answered or not; max: the most that meets the SLO", is_rare=True),
    Field("spacing", "Between arrivals", choices=("random", "even"), is_rare=True),
    Field("margin", "Margin, %", "a size may carry so much less than the best", is_rare=True),
    Field("seed", "Seed", "of the random order", is_rare=True),
    Field("processes", "Load generators", is_rare=True),
    Field("adaptive", "Powers of two first, then around the knee", is_flag=True, is_rare=True),
)
"""What the form asks. Not here is what runs another program than this site, or loads another machine."""


def options(given: Mapping[str, str]) -> list[str]:
    """The command's options for what the form says. Each is one word, so that no value can be an option of its own."""
    words = []
    for field in FIELDS:
        value = given.get(field.name, "").strip()
        if field.is_flag:
            words += [f"--{field.name}"] * bool(value)
        else:
            values = value.split() if field.name == "url" else filter(None, [value])
            words += [f"--{field.name}={each}" for each in values]
    return words


def filled(plan: Plan) -> dict[str, str]:
    """What somebody would type into the form for this plan."""
    found, default = rerun.options(plan), rerun.options(planning.default(plan.workload))
    told = (each for each in FIELDS if each.name in rerun.ALWAYS or found[each.name] != default[each.name])
    return {each.name: "on" if each.is_flag else " ".join(found[each.name]) for each in told if found[each.name]}


def is_for_page(plan: Plan) -> bool:
    """Whether the form can say all of it."""
    found, default = rerun.options(plan), rerun.options(planning.default())
    return not any(found[name] != default[name] for name in found.keys() - {each.name for each in FIELDS})


def shown(given: Mapping[str, str]) -> dict[str, Any]:
    """What the form's template needs: the fields with their values, and the defaults beside them."""
    defaults = {name: " ".join(values) for name, values in rerun.options(Plan()).items()}
    defaults["spacing"] = "random"
    rows = [(field, given.get(field.name, "").strip(), defaults.get(field.name, "")) for field in FIELDS]
    lengths = [(name, f"{planning.default(name).ms:g}") for name in CHOICES]
    return {
        "fields": [row for row in rows if not row[0].is_rare],
        "rare": [row for row in rows if row[0].is_rare],
        "opened": any(value for field, value, _ in rows if field.is_rare),
        "lengths": lengths,
        "stacks": ("all", *stacks.names()),
    }
