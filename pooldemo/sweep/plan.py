"""What to run, and in which order: the sweep's options read and checked, its trials shuffled. Pure.

Whether this machine can run a stack is asked of the stack, and of PostgreSQL how many connections it takes: both come
in.
"""

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

from pooldemo.sweep.facts import OWN, Conditions, Plan, TrialPlan
from pooldemo.sweep.workloads import CHOICES, WORKLOADS

MAX_MS = 60_000.0  # the workloads' own limit: longer queries are refused with a 400
MAX_USERS = 10_000
MAX_REPEATS, MAX_DURATION_S, MAX_WARMUP_S = 100, 3600, 600
MAX_SIZE = 1_000_000  # of a stack without a cap; a capped one may have what PostgreSQL takes
MAX_SEED = 2**63 - 1  # as the rows keep it
VARIANT = "@"  # stands in the name of a stack that is another one at a commit, or with other settings
CYCLES = 1.2  # of warm-up and of window, where nobody says how long: requests are a little longer than their queries
MOST_S = 30.0  # whatever its cycles come to
MOST_LAST_S = 20.0  # of load behind a window
SEARCH_STEPS, STEP_OVERHEAD_S = 6, 1.5  # rates that a search tries in each trial at most, beside the closed loop
TRIAL_OVERHEAD_S = 2.0  # what a trial costs beside its warm-up and window; for estimates


class PlanError(ValueError):
    """The sweep that was asked for cannot be run; the text says what was given, what is accepted and what to do."""


def default(workload: str = Plan.workload) -> Plan:
    """What a sweep of that workload is that is told nothing else."""
    own_ms = WORKLOADS[workload].swept_ms if workload in WORKLOADS else None
    ms = Plan.ms if own_ms is None else own_ms
    return Plan(workload=workload, ms=ms, warmup_cycles=CYCLES, window_cycles=CYCLES)


def parse_sizes(text: str) -> tuple[int, ...]:
    """`1,2,4-8` as (1, 2, 4, 5, 6, 7, 8): rising, each once.

    Raises PlanError on anything that is not a whole number of at least 1.
    """
    sizes: set[int] = set()
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        is_number = low.isdecimal() and (high.isdecimal() or not dash) and len(part) < 40
        if not is_number or int(low) < 1:
            raise PlanError(
                f"--sizes {text}: {part.strip()!r} is no pool size; give whole numbers from 1, as in 1,2,4,8"
            )
        if int(high or low) < int(low):
            raise PlanError(f"--sizes {text}: the range {part.strip()!r} is empty; give the smaller number first")
        if int(high or low) - int(low) > 1000:
            raise PlanError(f"--sizes {text}: {part.strip()!r} is more than 1000 sizes; give the few that matter")
        sizes.update(range(int(low), int(high or low) + 1))
    return tuple(sorted(sizes))


def with_repeats(plan: Plan, repeats: int) -> Plan:
    """The plan with so many repeats of each size. Raises PlanError when it has them."""
    least = repeats_of(plan)
    if repeats <= least:
        raise PlanError(f"--repeats {repeats}: this sweep has {least}; give more to go on with it")
    if not plan.blocks:
        return replace(plan, repeats=repeats)
    return with_blocks(plan, (plan.sizes,) * (repeats - least))


def repeats_of(plan: Plan, sizes: Collection[int] = ()) -> int:
    """How often each size (of those given) is measured at least; neighbours of sizes that were added later are more
    often."""
    return min((sum(size in repeated for repeated in plan.repeated) for size in sizes or plan.sizes), default=0)


def more_repeats(plan: Plan, trials: int) -> int:
    """The fewest repeats that a sweep may ask for which has so many `trials`, failed ones included: those planned while
    some are to come, else one more."""
    return repeats_of(plan) + (trials >= len(plan.worker_counts) * sum(map(len, plan.repeated)))


def with_sizes(plan: Plan, text: str) -> Plan:
    """The plan with the sizes of `+5,6` as well, as often as the others, each time with their neighbours again: repeats
    of another hour can be compared by what they share alone.

    Raises PlanError where there is nothing to add.
    """
    if not text.startswith("+"):
        raise PlanError(f"--sizes {text}: to a sweep that is there sizes are added, as in --sizes +5,6")
    added = set(parse_sizes(text[1:])) - set(plan.sizes)
    if not added:
        raise PlanError(f"--sizes {text}: this sweep has {', '.join(map(str, plan.sizes))}; give others")
    repeats = max(sum(size in sizes for sizes in plan.repeated) for size in plan.sizes)
    return with_blocks(plan, (linked(plan.sizes, added),) * repeats)


def linked(measured: Collection[int], added: Collection[int]) -> tuple[int, ...]:
    """The sizes to measure together: those `added`, and the nearest that were `measured` below and above them."""
    below = max((size for size in measured if size < min(added)), default=None)
    above = min((size for size in measured if size > max(added)), default=None)
    neighbours = {size for size in (below, above) if size is not None}
    return tuple(sorted({*added, *(neighbours or measured)}))


def with_blocks(plan: Plan, blocks: Collection[tuple[int, ...]]) -> Plan:
    """The plan with further repeats, of these sizes."""
    every = (*plan.repeated, *blocks)
    return replace(plan, sizes=tuple(sorted({*plan.sizes, *chain(*blocks)})), repeats=len(every), blocks=every)


def against(stacks: Collection[str], label: str) -> tuple[str, ...]:
    """Each stack, and itself at the commit or with the settings that `label` says."""
    return tuple(name for stack in stacks for name in (stack, f"{stack}{VARIANT}{label}"))


def base(stack: str) -> str:
    """The stack that it is a variant of: itself, where it is none."""
    return stack.partition(VARIANT)[0]


def label(stack: str) -> str:
    """The commit or the settings of a variant; empty where it is none."""
    return stack.partition(VARIANT)[2]


def pairs(stacks: Collection[str]) -> dict[str, str]:
    """Each variant among the stacks, A, with what it is a variant of, B."""
    return {stack: base(stack) for stack in stacks if label(stack) and base(stack) in stacks}


def check(plan: Plan, processes: str = "processes") -> None:
    """Raises PlanError, which names the option, when a number of `plan` is out of its range. `processes` is the option
    by which those of the load were counted."""
    ranges: Mapping[str, tuple[float, float, float, str]] = {
        "users": (plan.users, 1, MAX_USERS, ""),
        "workers": (max(plan.worker_counts), 1, 64, ""),
        "repeats": (repeats_of(plan), 1, MAX_REPEATS, ""),
        processes: (plan.processes, 1, 64, ""),
        "duration": (plan.duration_s, 1, MAX_DURATION_S, " seconds"),
        "warmup": (plan.warmup_s, 0, MAX_WARMUP_S, " seconds"),
        "sizes": (max(plan.sizes), 1, MAX_SIZE, ""),
        "seed": (plan.seed, -MAX_SEED, MAX_SEED, ""),
        "ms": (plan.ms, 0, MAX_MS, " milliseconds"),
        "think-ms": (plan.think_ms, 0, MAX_MS, " milliseconds"),
        "arrivals": (1 if plan.rate is None else plan.rate, 0.1, 1_000_000, " requests a second"),
    }
    for option, (given, low, high, unit) in ranges.items():
        if not low <= given <= high:
            raise PlanError(f"--{option} {given:g} is out of range: {low:g} to {high:g}{unit} are accepted")
    check_margin(plan.margin)
    if plan.workload not in (*CHOICES, *OWN):
        raise PlanError(f"--workload {plan.workload} is unknown: known are {', '.join(CHOICES)}")
    if plan.search and not plan.slo:
        raise PlanError("--arrivals max searches for the highest rate that meets an SLO: give one, as in --slo p95=300")
    if plan.users < plan.processes:
        raise PlanError(f"--{processes} {plan.processes} is more than --users {plan.users}: each needs a user at least")


def parse_arrivals(text: str, spacing: str | None) -> dict[str, Any]:
    """`200` requests a second, or `max` to search for the most that meets the SLO, as fields of a plan. Raises
    PlanError."""
    if text == "max":
        if spacing == "even":
            raise PlanError("--arrivals max comes at random, as users do: leave out --spacing")
        return {"search": True, "poisson": True}
    try:
        rate = float(text)
    except ValueError:
        raise PlanError(
            f"--arrivals {text}: give requests a second, as in 200, or max for the most that meets --slo"
        ) from None
    return {"rate": rate, "poisson": spacing != "even"}


def parse_workers(text: str) -> dict[str, Any]:
    """`2`, or `1,2,4` to measure each of them, as fields of a plan. Raises PlanError as `parse_sizes` does."""
    try:
        counts = parse_sizes(text)
    except PlanError as error:
        raise PlanError(str(error).replace("--sizes", "--workers").replace("pool size", "number of workers")) from None
    return {"workers": counts[-1], "splits": counts if len(counts) > 1 else ()}


def parse_margin(text: str) -> float:
    """A margin in percent, as typed. Raises PlanError."""
    try:
        margin = float(text)
    except ValueError:
        raise PlanError(f"--margin {text}: {text!r} is no number; give percent, as in 5") from None
    check_margin(margin)
    return margin


def check_margin(margin: float) -> None:
    """Raises PlanError when a size could not be worse than the best by so many percent."""
    if not 0.1 <= margin <= 50:
        raise PlanError(f"--margin {margin:g} is out of range: 0.1 to 50 percent are accepted")


def check_room(plan: Plan, conditions: Conditions, capped: Callable[[str], bool]) -> None:
    """Raises PlanError when the largest size of a capped stack would open more than PostgreSQL takes."""
    room, asked = conditions.room, max(plan.sizes) * plan.workers
    if room and asked > room and any(map(capped, plan.stacks)):
        each = room // plan.workers
        fewer = f"give sizes up to {each}" if each else "give fewer workers"
        raise PlanError(
            f"--sizes {max(plan.sizes)} x --workers {plan.workers} = {asked} connections, and PostgreSQL takes {room}: "
            f"{fewer}, or raise {conditions.room_limit}"
        )


def order(plan: Plan, done: Collection[TrialPlan] = ()) -> list[TrialPlan]:
    """The trials to run, without those `done`: whole repeats one after the other, each in a seeded random order.

    Stacks and sizes are shuffled together, so that a drift of the machine hits none of them more than the rest, and
    whoever interrupts a sweep keeps whole repeats. The order of a repeat depends on the seed and its number alone.
    """
    trials: list[TrialPlan] = []
    for repeat, sizes in enumerate(plan.repeated, start=1):
        block = [
            TrialPlan(stack, size, repeat, workers)
            for stack in plan.stacks
            for workers in plan.worker_counts
            for size in sizes
        ]
        random.Random(f"{plan.seed}/{repeat}").shuffle(block)
        trials += [trial for trial in block if trial not in done]
    return trials


def hold_ms(plan: Plan) -> float:
    """How long a request of the workload holds its slot, where that is known: 0 elsewhere, as of a project's pages."""
    lengths = {"slow": plan.ms, "cpu": plan.ms, "lock": plan.ms}
    lengths |= dict.fromkeys(("hold", "think"), plan.ms + plan.think_ms)
    return lengths.get(plan.workload, 0.0)


def _slots(plan: Plan, size: int) -> int:
    """How many requests hold one at the same time."""
    return min(size * plan.workers, plan.users)


def _served_at_once(plan: Plan, size: int) -> int:
    return 1 if plan.workload == "lock" else _slots(plan, size)


def _cycle_s(plan: Plan, size: int) -> float:
    """In a cycle each user is served once: users x hold / slots. 0 where none waits in turn, or no length is known."""
    return plan.users * hold_ms(plan) / 1000 / _served_at_once(plan, size) if plan.rate is None else 0.0


def warmup_s(plan: Plan, size: int) -> float:
    """How long a trial at `size` warms up: the seconds of the plan, or as many cycles as it says.

    Before the first is over the line has not its length yet, and answers come faster than they will. Only the workloads
    of a known length have cycles; half a minute is enough.
    """
    return max(plan.warmup_s, min(MOST_S, plan.warmup_cycles * _cycle_s(plan, size)))


def window_s(plan: Plan, size: int) -> float:
    """How long a trial at `size` measures: the seconds of the plan, or as long as its requests need.

    That is a cycle, so that the latencies are those of each user, and five services one after the other: what
    `short-window` asks. A service is a hold, and with `lock` that of all who wait for the lock.
    """
    users = plan.users if plan.rate is None else 0
    needed_s = hold_ms(plan) / 1000 * max(users, 5 * _slots(plan, size)) / _served_at_once(plan, size)
    return max(plan.duration_s, min(MOST_S, plan.window_cycles * needed_s))


def last_s(plan: Plan, size: int, measured_hold_ms: float | None) -> float:
    """How long the load goes on behind the window: who is served when that ends belongs to it by a part, and only ended
    requests count. That is a service; of who does not tell the wait, as a project's pages, the whole answer counts."""
    most_s = min(MOST_LAST_S, max(2.0, plan.duration_s / 4))
    is_told = measured_hold_ms is not None and not plan.urls
    known_s = (measured_hold_ms or 0.0) / 1000 if is_told else max(_cycle_s(plan, size), hold_ms(plan) / 1000)
    return min(most_s, CYCLES * known_s) if known_s else most_s


def timed(plan: Plan, size: int) -> Plan:
    """The plan with the seconds of a trial at `size`."""
    return replace(plan, warmup_s=warmup_s(plan, size), duration_s=window_s(plan, size))


def total_s(plan: Plan, trials: int | None = None) -> float:
    """Seconds that so many `trials` (None: all of the plan's) take, estimated."""
    count = len(order(plan)) if trials is None else trials
    views = [plan.at(workers) for workers in plan.worker_counts]
    each_s = [_trial_s(view, size) for view in views for sizes in plan.repeated for size in sizes]
    return count * sum(each_s) / len(each_s)


def _trial_s(plan: Plan, size: int) -> float:
    first, step = timed(plan, size), timed(replace(plan, rate=1.0), size)
    after_s = last_s(first, size, None) if plan.urls else 0.0  # of others it is short
    steps_s = SEARCH_STEPS * (step.warmup_s + step.duration_s + after_s + STEP_OVERHEAD_S) if plan.search else 0.0
    return first.warmup_s + first.duration_s + after_s + TRIAL_OVERHEAD_S + steps_s
